import Glibc
import IntegrationSupport
import NIOConcurrencyHelpers
import PosternCore
import PosternTarpit

/// A tarpit on a loopback port of the kernel's choice.
final class TestTarpit: Sendable {
    let tarpit: Tarpit
    let source: Tarpit.Source
    let port: UInt16
    let settings: TarpitSettings
    private let seen: NIOLockedValueBox<[TarpitVisit]>

    init(
        pace: WallTime.Span, hold: WallTime.Span = .minutes(10), capacity: Int = 1000, host: String = "127.0.0.1", listens: Bool = true,
        standing: @escaping @Sendable (IPAddress) -> TarpitStanding = { _ in .unlisted }
    ) throws {
        var settings = TarpitSettings(hostname: "tarpit.example.test")
        settings.pace = pace
        settings.greetingPace = min(pace, .milliseconds(20))
        settings.hold = hold
        settings.capacity = capacity
        self.settings = settings
        let seen = NIOLockedValueBox<[TarpitVisit]>([])
        self.seen = seen
        guard let tarpit = Tarpit(standing: standing, departed: { visits in seen.withLockedValue { $0 += visits } }) else {
            throw TestFailure("no tarpit")
        }
        self.tarpit = tarpit
        let listener = listens ? try Loopback.listen(host) : nil
        port = listener?.port ?? 0
        guard let source = tarpit.open("trap", descriptor: listener?.descriptor, settings) else { throw TestFailure("no source") }
        self.source = source
    }

    deinit { tarpit.end() }

    var totals: TarpitTotals { tarpit.totals(of: source) }
    var visits: [TarpitVisit] { seen.withLockedValue { $0 } }
}

/// A client as a bot might be.
final class TarpitClient: Sendable {
    private let descriptor: NIOLockedValueBox<Int32>

    init(descriptor: Int32) { self.descriptor = NIOLockedValueBox(descriptor) }

    convenience init(port: UInt16, from source: String? = nil, to host: String = "127.0.0.1", receiveBuffer: Int32? = nil) throws {
        self.init(descriptor: try Loopback.connect(host, port, from: source, receiveBuffer: receiveBuffer))
    }

    deinit { close() }

    private var socket: Int32 { descriptor.withLockedValue { $0 } }

    func close() {
        descriptor.withLockedValue {
            if $0 >= 0 { Glibc.close($0) }
            $0 = -1
        }
    }

    func shutdownWriting() { shutdown(socket, Int32(SHUT_WR)) }

    /// Closes with a reset.
    func reset() {
        var now = linger(l_onoff: 1, l_linger: 0)
        setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
        close()
    }

    func send(_ text: String) { _ = trySend(text) }

    /// How many octets the kernel took.
    func trySend(_ text: String) -> Int {
        var text = text
        return max(text.withUTF8 { Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)) }, 0)
    }

    /// What comes, up to and with this text.
    func read(until end: String, within limit: Duration = .seconds(60)) async throws -> String {
        var octets: [UInt8] = []
        let deadline = ContinuousClock.now + limit
        // By octets: as characters CR and LF are one.
        while !octets.suffix(end.utf8.count).elementsEqual(end.utf8) {
            var octet: UInt8 = 0
            let count = recv(socket, &octet, 1, Int32(MSG_DONTWAIT))
            if count == 1 {
                octets.append(octet)
                continue
            }
            guard count < 0, errno == EAGAIN else { throw TestFailure("closed after \(String(decoding: octets, as: UTF8.self))") }
            guard ContinuousClock.now < deadline else { throw TestFailure("no more after \(String(decoding: octets, as: UTF8.self))") }
            try await Task.sleep(for: .milliseconds(5))
        }
        return String(decoding: octets, as: UTF8.self)
    }

    func readToEnd(within limit: Duration = .seconds(60)) async throws -> String {
        var octets: [UInt8] = []
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline {
            var octet: UInt8 = 0
            let count = recv(socket, &octet, 1, Int32(MSG_DONTWAIT))
            if count == 0 { return String(decoding: octets, as: UTF8.self) }
            if count == 1 {
                octets.append(octet)
                continue
            }
            guard errno == EAGAIN else { throw TestFailure("reset after \(String(decoding: octets, as: UTF8.self))") }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw TestFailure("not closed after \(String(decoding: octets, as: UTF8.self))")
    }
}

enum Loopback {
    static func listen(_ host: String) throws -> (descriptor: Int32, port: UInt16) {
        let descriptor = socket(host.contains(":") ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
        let bound = try withAddress(host, 0) { bind(descriptor, $0, $1) }
        guard descriptor >= 0, bound == 0, Glibc.listen(descriptor, 1024) == 0 else { throw TestFailure("cannot listen on \(host)") }
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        _ = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        // The port stands at the same place for both families.
        return (descriptor, withUnsafeBytes(of: &storage) { UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self)) })
    }

    static func connect(_ host: String, _ port: UInt16, from source: String?, receiveBuffer: Int32?) throws -> Int32 {
        let descriptor = socket(host.contains(":") ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if var size = receiveBuffer { setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size)) }
        if let source, try withAddress(source, 0, { bind(descriptor, $0, $1) }) != 0 {
            close(descriptor)
            throw TestFailure("cannot come from \(source)")
        }
        guard try withAddress(host, port, { Glibc.connect(descriptor, $0, $1) }) == 0 else {
            close(descriptor)
            throw TestFailure("cannot connect to \(host):\(port)")
        }
        return descriptor
    }

    private static func withAddress<Result>(_ host: String, _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) throws
        -> Result
    {
        guard let address = IPAddress(host) else { throw TestFailure("\(host) is no address") }
        if address.family == .v4 {
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            withUnsafeMutableBytes(of: &name.sin_addr) { $0.copyBytes(from: address.octets) }
            return withUnsafePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
            }
        }
        var name = sockaddr_in6()
        name.sin6_family = sa_family_t(AF_INET6)
        name.sin6_port = port.bigEndian
        withUnsafeMutableBytes(of: &name.sin6_addr) { $0.copyBytes(from: address.octets) }
        return withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in6>.size)) }
        }
    }
}

/// Waits until something is so.
func eventually(within limit: Duration = .seconds(60), _ isSo: () -> Bool) async throws {
    let deadline = ContinuousClock.now + limit
    while !isSo() {
        guard ContinuousClock.now < deadline else { throw TestFailure("it did not come to be") }
        try await Task.sleep(for: .milliseconds(5))
    }
}
