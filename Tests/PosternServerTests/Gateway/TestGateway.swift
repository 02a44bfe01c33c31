import Glibc
import Logging
import NIOConcurrencyHelpers
import NIOPosix
import PosternCore
import PosternEngine
import PosternStorage
import Testing

@testable import PosternServer

/// Keeps the lines that a logger writes.
final class LogCapture: Sendable {
    private let box = NIOLockedValueBox<[String]>([])
    var lines: [String] { box.withLockedValue { $0 } }

    var logger: Logger { Logger(label: "test") { _ in Handler(capture: self) } }

    private struct Handler: LogHandler {
        let capture: LogCapture
        var logLevel = Logger.Level.debug
        var metadata: Logger.Metadata = [:]

        init(capture: LogCapture) { self.capture = capture }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let metadata = (event.metadata ?? [:]).map { "\($0.key)=\($0.value)" }.sorted().joined(separator: " ")
            capture.box.withLockedValue { $0.append("\(event.message) \(metadata)") }
        }
    }
}

/// Keeps the lines that a `LogWriter` writes, in a file that has no name.
final class LineCapture: Sendable {
    let writer: LogWriter
    private let descriptor: Int32

    init() throws {
        var name = Array("/tmp/postern-lines.XXXXXX".utf8CString)
        descriptor = mkstemp(&name)
        try #require(descriptor >= 0)
        unlink(&name)
        writer = LogWriter(descriptor: descriptor, format: .logfmt)
    }

    deinit { close(descriptor) }

    var lines: [String] {
        writer.flush()
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self).split(separator: "\n").map(String.init)
    }
}

/// A gateway on a port of the kernel's choice. Greylisting is off and there are no delays unless a test wants them.
final class TestGateway {
    let listener: GatewayListener
    let decisions: DecisionService
    let log = LogCapture()
    /// The lines about decisions, messages and sessions.
    let lines: LineCapture
    let store: any Store

    convenience init(
        _ backends: [ListenAddress], lists: Lists = Lists(), group: MultiThreadedEventLoopGroup = .singleton,
        configure: (inout GatewaySettings) -> Void = { _ in }
    ) async throws {
        try await self.init(backends, lists: lists, group: group, engine: { _ in }, configure: configure)
    }

    init(
        _ backends: [ListenAddress], lists: Lists = Lists(), store: any Store = MemoryStore(), clientName: ClientNameLookup? = nil,
        group: MultiThreadedEventLoopGroup = .singleton, evidence: (any EvidenceSource)? = nil, harvest: HarvestService? = nil,
        engine: (inout EngineSettings) -> Void, configure: (inout GatewaySettings) -> Void = { _ in }
    ) async throws {
        self.store = store
        lines = try LineCapture()
        decisions = Self.decisions(lists: lists, store: store, lines, evidence, harvest, engine)
        let settings = Self.settings(backends, configure)
        let (descriptor, bound) = try ListeningSocket.open(.tcp(IPAddress("127.0.0.1")!, port: 0))
        listener = try await GatewayListener.start(
            name: "mx", address: bound, descriptor: descriptor, group: group, settings: settings,
            decisions: decisions, clientName: clientName, logger: log.logger)
    }

    static func settings(_ backends: [ListenAddress], _ configure: (inout GatewaySettings) -> Void) -> GatewaySettings {
        var settings = GatewaySettings(hostname: "mx.example.org", backends: backends)
        settings.clientInformation = .none
        settings.domains = .listed([DomainName("example.org")!])
        settings.probe.isOn = false
        configure(&settings)
        return settings
    }

    private static func decisions(
        lists: Lists, store: any Store, _ lines: LineCapture, _ evidence: (any EvidenceSource)?, _ harvest: HarvestService?,
        _ engine: (inout EngineSettings) -> Void
    ) -> DecisionService {
        var settings = EngineSettings()
        settings.hostname = "mx.example.org"
        settings.greylist.mode = .off
        settings.delays.greeting = .fixed(.zero)
        engine(&settings)
        return DecisionService(
            engine: Engine(settings: settings, lists: lists, domains: LastLabelDomains()), store: store, clock: ServiceClock(after: nil),
            log: DecisionLog(writer: lines.writer, isEnabled: true), counters: Counters(), evidence: evidence,
            harvest: harvest, limits: LimitService(throttle: settings.throttle, accounts: settings.accounts, seed: (1, 2)))
    }

    var counters: GatewayCounters.Values { listener.counters.values }

    func client(source: String? = nil) async throws -> SMTPTestClient { try await SMTPTestClient(listener.address, source: source) }

    /// A client that was greeted and has said EHLO.
    func greeted(source: String? = nil) async throws -> SMTPTestClient {
        let client = try await client(source: source)
        #expect(try await client.reply() == "220 mx.example.org ESMTP")
        _ = try #require(try await client.ask("EHLO client.example"))
        return client
    }

    func stop() async {
        await listener.drain(patience: .milliseconds(200), forAnswers: .milliseconds(800))
        await store.close()
    }
}

/// Waits until `condition` holds, for at most a minute.
func eventually(_ what: String = "", _ condition: () -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(60)
    while !condition() {
        guard ContinuousClock.now < end else {
            Issue.record("not in time: \(what)")
            return
        }
        try await Task.sleep(for: .milliseconds(5))
    }
}

extension EngineSettings {
    /// Messages come with both of our fields: that of a delay, which is short, and that of SPF.
    mutating func putsBothFields() {
        greylist.mode = .on
        greylist.delay = .milliseconds(100)
        profile = .classic
        looksUp = true
        spfHeader = .receivedSPF
    }
}
