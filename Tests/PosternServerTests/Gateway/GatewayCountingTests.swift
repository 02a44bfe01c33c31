import Logging
import PosternCore
import PosternEngine
import PosternStorage
import Testing

@testable import PosternServer

/// Which messages count for their client: those that a backend has taken.
@Suite(.serialized) struct GatewayCountingTests {
    private let delay = WallTime.Span.milliseconds(50)

    private func gateway(
        _ backend: ScriptedBackend, harvest: HarvestService? = nil, store: any Store = MemoryStore(), provenAfter: UInt32
    ) async throws -> TestGateway {
        try await TestGateway(
            [backend.address], store: store, harvest: harvest,
            engine: { [delay] settings in
                settings.greylist.mode = .on
                settings.greylist.delay = delay
                settings.greylist.provenAfter = provenAfter
                settings.harvest.whiteAfter = 3
                settings.profile = .classic
            })
    }

    /// Says MAIL and RCPT for each, and DATA where something was accepted and `sends` says so.
    private func send(
        _ gateway: TestGateway, from source: String = "127.0.1.1", to recipients: [String], sends: Bool = true
    ) async throws -> [Substring] {
        let client = try await gateway.greeted(source: source)
        _ = try await client.ask("MAIL FROM:<sender@example.com>")
        var replies: [Substring] = []
        for recipient in recipients { replies.append(try #require(try await client.ask("RCPT TO:<\(recipient)@example.org>")).prefix(3)) }
        if sends, replies.contains("250") {
            _ = try await client.ask("DATA")
            replies.append(try #require(try await client.ask("Subject: x\r\n\r\nx\r\n.")).prefix(3))
        }
        _ = try await client.ask("QUIT")
        return replies
    }

    private func passes(_ gateway: TestGateway) async throws -> UInt32 {
        let network = Identity.network(Prefix("127.0.1.0/24")!)
        return try await gateway.store.read(Needs(identities: [network])).identities[0]?.passes ?? 0
    }

    private func eventually(_ passes: UInt32, _ gateway: TestGateway) async throws {
        for _ in 0..<1000 where try await self.passes(gateway) < passes { try await Task.sleep(for: .milliseconds(5)) }
        #expect(try await self.passes(gateway) == passes)
    }

    @Test func whatWasNotTakenProvesNobody() async throws {
        let backend = try ScriptedBackend()
        let gateway = try await gateway(backend, provenAfter: 3)
        for recipient in "abcdef" { #expect(try await send(gateway, to: ["\(recipient)"]) == ["451"]) }
        try await Task.sleep(for: .milliseconds(2 * delay.milliseconds))
        // It leaves behind RCPT.
        #expect(try await send(gateway, to: ["a"], sends: false) == ["250"])
        // The backend refuses the content, or puts it off.
        backend.change { $0.final = "554 5.7.1 spam" }
        #expect(try await send(gateway, to: ["b"]) == ["250", "554"])
        backend.change { $0.final = "451 4.3.0 later" }
        #expect(try await send(gateway, to: ["b"]) == ["250", "451"])
        // The backend refuses the recipient by whom the message would have passed, and takes it for another.
        backend.change { script in
            script.final = "250 2.0.0 Ok"
            script.replies = [("RCPT TO:<c@", "550 5.2.1 disabled")]
        }
        #expect(try await send(gateway, to: ["c"]) == ["550"])
        #expect(try await send(gateway, to: ["postmaster", "c"]) == ["250", "550", "250"])
        #expect(try await send(gateway, to: ["postmaster"]) == ["250", "250"])
        // One message, however many recipients are taken, and whoever is refused behind them.
        #expect(try await send(gateway, to: ["c", "d", "e", "c"]) == ["550", "250", "250", "550", "250"])
        try await eventually(1, gateway)
        #expect(try await send(gateway, to: ["new"]) == ["451"])
        for count in UInt32(2)...3 {
            #expect(try await send(gateway, to: ["f"]) == ["250", "250"])
            try await eventually(count, gateway)
        }
        #expect(try await send(gateway, to: ["newer"]) == ["250", "250"])
        try await eventually(3, gateway)
        await gateway.stop()
    }

    /// What its network is known for says nothing of an address.
    @Test func anAddressIsWhiteForItsOwnMessages() async throws {
        let (store, clock) = (MemoryStore(), ServiceClock(after: nil))
        var settings = HarvestSettings()
        settings.whiteAfter = 3
        let harvest = HarvestService(
            Harvest(settings: settings, seesPrimary: true, seed: 1, now: clock.now().steady - .hours(1)), store: store, clock: clock,
            log: DecisionLog(writer: try LineCapture().writer, isEnabled: false), logger: Logger(label: "test"))
        func colour(_ address: String) -> ListColour? { harvest.colour(of: IPAddress(address)!) }
        let backend = try ScriptedBackend()
        let gateway = try await gateway(backend, harvest: harvest, store: store, provenAfter: 1)
        #expect(try await send(gateway, to: ["a"]) == ["451"])
        try await Task.sleep(for: .milliseconds(2 * delay.milliseconds))
        for _ in 0..<2 { #expect(try await send(gateway, to: ["a"]) == ["250", "250"]) }
        try await eventually(1, gateway)
        for _ in 0..<4 { #expect(try await send(gateway, to: ["a"], sends: false) == ["250"]) }
        harvest.countMessages(keptFor: .days(1))
        // A neighbour is proven, and no more.
        #expect(try await send(gateway, from: "127.0.1.2", to: ["b"], sends: false) == ["250"])
        for _ in 0..<2 { #expect(try await send(gateway, from: "127.0.1.2", to: ["b"]) == ["250", "250"]) }
        harvest.countMessages(keptFor: .days(1))
        _ = try await store.statistics()
        #expect(colour("127.0.1.1") == nil && colour("127.0.1.2") == nil)
        for address in ["127.0.1.1", "127.0.1.2"] {
            #expect(try await send(gateway, from: address, to: ["a"]) == ["250", "250"])
            harvest.countMessages(keptFor: .days(1))
            try await PosternServerTests.eventually("the third was taken") { colour(address) == .white }
        }
        await gateway.stop()
    }
}
