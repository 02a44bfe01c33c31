import NIOConcurrencyHelpers

/// Texts that nobody can guess.
enum Secret {
    /// 192 bits from the system, in hexadecimal.
    static func make() -> String {
        var generator = SystemRandomNumberGenerator()
        return (0..<3).map { _ in
            let digits = String(generator.next() as UInt64, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }

    /// Compares in a time that does not tell how much of it was right.
    static func equal(_ a: some StringProtocol, _ b: some StringProtocol) -> Bool {
        let (a, b) = (Array(a.utf8), Array(b.utf8))
        var difference = a.count ^ b.count
        for index in 0..<max(a.count, b.count) {
            difference |= Int((index < a.count ? a[index] : 0) ^ (index < b.count ? b[index] : 0))
        }
        return difference == 0
    }
}

/// Browsers that have shown the token, each known by a cookie.
final class BrowserSessions: Sendable {
    /// The oldest makes room.
    static let maximum = 100
    static let lifetime = Duration.seconds(12 * 3600)

    private let open = NIOLockedValueBox<[(id: String, until: ContinuousClock.Instant)]>([])

    func begin() -> String {
        let id = Secret.make()
        open.withLockedValue { open in
            open.removeAll { $0.until <= .now }
            if open.count >= Self.maximum { open.removeFirst() }
            open.append((id, .now + Self.lifetime))
        }
        return id
    }

    func holds(_ id: String) -> Bool {
        open.withLockedValue { open in open.contains { Secret.equal($0.id, id) && $0.until > .now } }
    }

    func endAll() { open.withLockedValue { $0 = [] } }
}
