import Logging
import PosternCore
import PosternEngine
import PosternStorage
import Testing

@testable import PosternServer

@Suite(.timeLimit(.minutes(10)))
struct TrapSessionTests {
    /// A trap would be told from a mailbox by what is said behind it. Another client of the same connection is another conversation.
    @Test func whatATrapTeachesBearsOnNoAnswerOfItsSession() async throws {
        let trap = ListEntry(.trap, .recipient, .mailbox("old@example.org"), added: WallTime(seconds: 0))
        let (store, clock) = (MemoryStore(), ServiceClock(after: nil))
        let harvest = HarvestService(
            Harvest(settings: EngineSettings().harvest, seesPrimary: true, seed: 1, now: clock.now().steady - .hours(1)), store: store,
            clock: clock, log: DecisionLog(writer: try LineCapture().writer, isEnabled: false), logger: Logger(label: "test"))
        let backend = try ScriptedBackend(ScriptedBackend.Script())
        let test = try await TestGateway(
            [backend.address], lists: Lists(entries: [trap]), store: store, harvest: harvest,
            engine: {
                $0.checks[.harvestedBlack] = CheckSetting(score: 12)
                $0.delays.stutter = .zero
            }
        ) { $0.xclient = PrefixSet([Prefix("127.0.0.66/32")!]) }
        let front = try await test.greeted(source: "127.0.0.66")
        func introduce(_ address: String) async throws {
            #expect(try await front.ask("XCLIENT ADDR=\(address)")?.prefix(3) == "220")
            _ = try #require(try await front.ask("EHLO client.example"))
        }
        func answer(to recipient: String) async throws -> Substring? {
            _ = try await front.ask("MAIL FROM:<a@b.example>")
            let reply = try await front.ask("RCPT TO:<\(recipient)>")
            _ = try await front.ask("RSET")
            return reply?.prefix(3)
        }

        try await introduce("192.0.2.66")
        #expect(try await answer(to: "old@example.org") == "250")
        try await eventually("the bot is listed") { harvest.colour(of: IPAddress("192.0.2.66")!) == .black }
        #expect(try await answer(to: "user@example.org") == "250")

        try await introduce("192.0.2.66")
        #expect(try await answer(to: "user@example.org") == "554")
        try await introduce("192.0.2.67")
        #expect(try await answer(to: "user@example.org") == "250")
        await test.stop()
    }
}
