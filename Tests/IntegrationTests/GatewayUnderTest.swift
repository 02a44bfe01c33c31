import Foundation
import IntegrationSupport
import Logging
import NIOCore
import NIOPosix
import PosternConfiguration
import PosternCore
import PosternEngine
import PosternStorage
import SMTPProtocol

@testable import PosternServer

/// A gateway in this process, in front of a real mail server. No greylisting and no delays unless a test wants them.
final class GatewayUnderTest: Sendable {
    let listener: GatewayListener
    private let store = MemoryStore()

    convenience init(
        backend: UInt16, _ information: BackendSettings.ClientInformation, configure: (inout GatewaySettings) -> Void = { _ in }
    ) async throws {
        try await self.init(backend: backend, information, engine: { _ in }, configure: configure)
    }

    init(
        backend: UInt16, _ information: BackendSettings.ClientInformation, clientName: ClientNameLookup? = nil,
        engine: (inout EngineSettings) -> Void, configure: (inout GatewaySettings) -> Void = { _ in }
    ) async throws {
        var engineSettings = EngineSettings()
        engineSettings.hostname = "mx.example.test"
        engineSettings.greylist.mode = .off
        engineSettings.delays.greeting = .fixed(.zero)
        engine(&engineSettings)
        let loopback = IPAddress(v4: 0x7f00_0001)
        var settings = GatewaySettings(hostname: "mx.example.test", backends: [.tcp(loopback, port: backend)])
        settings.clientInformation = information
        settings.domains = .listed([DomainName("example.test")].compactMap { $0 })
        configure(&settings)
        let null = LogWriter(descriptor: open("/dev/null", O_WRONLY), format: .logfmt)
        let decisions = DecisionService(
            engine: Engine(settings: engineSettings, domains: LabelDomains()), store: store, clock: ServiceClock(after: nil),
            log: DecisionLog(writer: null, isEnabled: true), counters: Counters())
        let (descriptor, bound) = try ListeningSocket.open(.tcp(loopback, port: 0))
        listener = try await GatewayListener.start(
            name: "mx", address: bound, descriptor: descriptor, group: MultiThreadedEventLoopGroup.singleton, settings: settings,
            decisions: decisions, clientName: clientName,
            logger: Logger(label: "gateway") { _ in LineLogHandler(writer: null, level: .info) })
    }

    var port: UInt16 {
        if case .tcp(_, let port) = listener.address { port } else { 0 }
    }

    var counters: GatewayCounters.Values { listener.counters.values }

    /// How many backends are taken for ill.
    var backendsOut: Int { listener.backendsOut }

    /// Waits until it knows what its backend offers: it starts without where that takes long to answer.
    func waitUntilLearnt() async throws {
        try await waitUntil("the gateway knows what its backend offers") { listener.gateway.directory.offered(to: nil, now: .now()) != nil }
    }

    func stop() async {
        await listener.drain(patience: .seconds(1))
        await store.close()
    }
}

private struct LabelDomains: OrganisationalDomains {
    func organisationalDomain(of name: DomainName) -> DomainName? {
        let labels = name.labels
        return labels.count < 2 ? nil : DomainName(labels.suffix(2).joined(separator: "."))
    }
}

/// An SMTP conversation, command by command, from a loopback address of choice. Every wait has a bound, and blocks a queue of
/// its own, never the threads that all tests share.
// What changes is touched on that queue only.
final class Dialogue: @unchecked Sendable {
    private let descriptor: Int32
    private let queue = DispatchQueue(label: "dialogue")
    private var buffer: [UInt8] = []
    private var isClosed = false

    /// Connects, takes the greeting and says EHLO.
    static func open(port: UInt16, source: String = "127.0.0.1") async throws -> Dialogue {
        let dialogue = try Dialogue(port: port, source: source)
        let greeting = await dialogue.reply()
        guard greeting.hasPrefix("220") else { throw TestFailure("greeting: \(greeting)") }
        guard await dialogue.ask("EHLO mail.sender.test").hasPrefix("250") else { throw TestFailure("EHLO was refused") }
        return dialogue
    }

    private init(port: UInt16, source: String) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var patience = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        guard Self.call(descriptor, source, 0, bind), Self.call(descriptor, "127.0.0.1", port, connect) else {
            throw TestFailure("connecting to \(port): \(String(cString: strerror(errno)))")
        }
    }

    deinit { if !isClosed { Glibc.close(descriptor) } }

    private static func call(
        _ descriptor: Int32, _ host: String, _ port: UInt16, _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Bool {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        guard inet_pton(AF_INET, host, &name.sin_addr) == 1 else { return false }
        return withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        } == 0
    }

    private func onQueue<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
        await withCheckedContinuation { continuation in queue.async { continuation.resume(returning: body()) } }
    }

    func close() async {
        await onQueue { [self] in
            guard !isClosed else { return }
            isClosed = true
            Glibc.close(descriptor)
        }
    }

    func send(_ text: String) async {
        let bytes = Array(text.utf8)
        await onQueue { [self] in
            var offset = 0
            while offset < bytes.count {
                let written = bytes.withUnsafeBytes {
                    Glibc.send(descriptor, $0.baseAddress! + offset, bytes.count - offset, Int32(MSG_NOSIGNAL))
                }
                guard written > 0 else { return }
                offset += written
            }
        }
    }

    /// The next reply with all of its lines; empty when the connection ended instead.
    func reply() async -> String { await onQueue { [self] in takeReply() } }

    private func takeReply() -> String {
        while true {
            var start = 0
            while let end = buffer[start...].firstIndex(of: 10) {
                if start + 3 >= end || buffer[start + 3] != UInt8(ascii: "-") {
                    defer { buffer.removeFirst(end + 1) }
                    return String(decoding: buffer[..<max(end - 1, 0)], as: UTF8.self)
                }
                start = end + 1
            }
            var chunk = [UInt8](repeating: 0, count: 4096)
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return count < 0 && errno == EAGAIN ? "no reply within a minute" : "" }
            buffer += chunk[..<count]
        }
    }

    func ask(_ command: String) async -> String {
        await send(command + "\r\n")
        return await reply()
    }

    /// The codes of the next replies.
    func codes(_ count: Int) async -> [Int] {
        var codes: [Int] = []
        for _ in 0..<count { codes.append(Int(await reply().prefix(3)) ?? 0) }
        return codes
    }
}
