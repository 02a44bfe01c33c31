import Dispatch
import PosternCore
import SPF

/// A whole check, in a world where every name has the records that the input spells. Lines of the input: the record of the
/// sender's domain, that of every other name, an explanation, the local part, the HELO name.
enum SPFRecordCheck {
    static func run(_ input: UnsafeRawBufferPointer) {
        guard let (octet, rest) = input.settingsAndRest else { return }
        var lines = rest.split(separator: UInt8(ascii: "\n"), maxSplits: 4, omittingEmptySubsequences: false).map { Array($0) }
        while lines.count < 5 { lines.append([]) }
        let world = World(lines: lines, hasAddresses: octet.has(0), hasAnswers: !octet.has(1))
        let address = octet.has(2) ? IPAddress(v6High: 0x2001_0db8_0000_0000, low: 1) : IPAddress(v4: 0xc000_0201)
        let sender = octet.has(3) ? ReversePath.null : ReversePath("\(String(decoding: lines[3], as: UTF8.self))@example.org")
        let helo = octet.has(4) ? "example.org" : String(decoding: lines[4], as: UTF8.self)
        let outcome = wait {
            await SPFCheck.mailFrom(
                sender, helo: helo, address: address, receiver: helo, time: WallTime(seconds: 1_795_161_600), resolver: world)
        }

        check(outcome.lookups <= SPFLimits.lookups && outcome.voidLookups <= SPFLimits.voidLookups + 1, "over a limit")
        check((outcome.problem?.result ?? outcome.result) == outcome.result, "\(outcome)")
        check(outcome.weakness == nil || outcome.result == .pass, "\(outcome)")
        check((outcome.explanation?.utf8.count ?? 0) <= SPFLimits.explanationOctets, "a long explanation")
        check(outcome.receivedSPF.utf8.count <= SPFOutcome.lineOctets, "a long line")
        for text in [outcome.receivedSPF, outcome.authenticationResult, outcome.explanation ?? "", outcome.problem?.description ?? ""] {
            check(text.utf8.allSatisfy { $0 >= 0x20 && $0 <= 0x7e }, "not printable: \(text.debugDescription)")
        }
        check(endsOutsideQuotes(outcome.receivedSPF), outcome.receivedSPF)
        check(endsOutsideQuotes(outcome.authenticationResult), outcome.authenticationResult)
    }

    /// Whether each comment and quoted string (RFC 5322 §3.2.2, §3.2.4) has its end.
    private static func endsOutsideQuotes(_ line: String) -> Bool {
        var end: UInt8?
        var isEscaped = false
        for octet in line.utf8 {
            if isEscaped {
                isEscaped = false
            } else if let closing = end {
                if octet == UInt8(ascii: "\\") { isEscaped = true }
                if octet == closing { end = nil }
            } else if octet == UInt8(ascii: "\"") {
                end = octet
            } else if octet == UInt8(ascii: "(") {
                end = UInt8(ascii: ")")
            }
        }
        return end == nil && !isEscaped
    }

    /// Runs a task to its end on another thread.
    private static func wait(_ body: @escaping @Sendable () async -> SPFOutcome) -> SPFOutcome {
        let done = DispatchSemaphore(value: 0)
        let box = Box()
        Task.detached {
            box.outcome = await body()
            done.signal()
        }
        done.wait()
        guard let outcome = box.outcome else { fatalError("no outcome") }
        return outcome
    }

    // The semaphore orders the one write and the one read.
    private final class Box: @unchecked Sendable {
        var outcome: SPFOutcome?
    }

    private struct World: SPFResolver {
        let lines: [[UInt8]]
        let hasAddresses: Bool
        let hasAnswers: Bool

        private func expectName(_ name: QueryName) {
            let labels = name.text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
            check(name.text.utf8.count <= 253 && labels.allSatisfy { (1...63).contains($0.count) }, "no name: \(name)")
        }

        func texts(of name: QueryName) async -> SPFAnswer<[[UInt8]]> {
            expectName(name)
            if name.text == "example.org" { return .records([[lines[0]]]) }
            if name.text.hasPrefix("why") { return .records([[lines[2]]]) }
            // Its strings are cut anywhere.
            let half = lines[1].count / 2
            return .records([[Array(lines[1][..<half]), Array(lines[1][half...])]])
        }

        func addresses(of name: QueryName, family: IPAddress.Family) async -> SPFAnswer<IPAddress> {
            expectName(name)
            guard hasAnswers else { return .temporaryFailure }
            guard hasAddresses else { return .noSuchDomain }
            return .records([family == .v4 ? IPAddress(v4: 0xc000_02ff) : IPAddress(v6High: 0x2001_0db8_0000_0000, low: 2)])
        }

        func mailExchangers(of name: QueryName) async -> SPFAnswer<String> {
            expectName(name)
            return .records([String(decoding: lines[4], as: UTF8.self), "mx.example.org", ""])
        }

        func reverseNames(of address: IPAddress) async -> SPFAnswer<String> {
            .records([String(decoding: lines[3], as: UTF8.self), "mail.example.org", String(decoding: lines[4], as: UTF8.self)])
        }
    }
}
