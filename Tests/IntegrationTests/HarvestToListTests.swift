import Foundation
import IntegrationSupport
import Testing

/// The whole way of a bot: it hangs up on a fake MX, is harvested, published over DNS and in an export, takes itself off, and is gone.
@Suite("from the fake MX to the list", .serialized, .servers("bind9-dnsutils", "rbldnsd"), .timeLimit(.minutes(2)))
struct HarvestToListTests {
    private static let bot = "127.0.0.66"
    private static let name = "66.0.0.127.bl.example.net"

    /// Names a recipient, hears 451, and hangs up.
    private func hangUp(on port: UInt16) throws {
        guard let text = LoopbackConnection.hangUp(port: port, from: Self.bot) else { throw TestFailure("the fake MX does not listen") }
        #expect(text.hasPrefix("451 4.7.1 "), "\(text)")
    }

    /// What a real rbldnsd answers from our export.
    private func rbldnsd(_ postern: PosternProcess, _ type: String) async throws -> String {
        let folder = try TemporaryFolder("rbldnsd")
        let zone = folder.file("bl.zone")
        #expect(try await postern.verb("export", "rbldnsd", "--output", zone, "--source", "harvest").status == 0)
        let root = try PrivateRoot("rbldnsd", folder: folder)
        let port = try FreePort.next()
        let process = try root.start([
            "/usr/sbin/rbldnsd", "-n", "-f", "-u", "nobody", "-b", "127.0.0.1/\(port)", "bl.example.net:combined:\(zone)",
        ])
        defer { process.kill() }
        try await process.waitUntilReady("started") { process.log.contains("rbldnsd version") && process.log.contains("started") }
        return try await DNSClient(port: port).dig(Self.name, type, "+short")
    }

    @Test("a bot is harvested, published and exported; it takes itself off, and is gone everywhere, and again only by new evidence")
    func wholeWay() async throws {
        let (lists, spare) = (try FreePort.next(), try FreePort.next())
        let postern = try PosternProcess(
            """
            domains: [example.test]
            greylist: { delay: 1s }
            delays: { greeting: 0s, clean: 0s }
            harvest: { quiet: 1s, settle: 1s, apart: 2s }
            """,
            further: [
                "{ name: spare, role: trap, mode: defer-rcpt, address: \"127.0.0.1:\(spare)\" }",
                "{ name: lists, role: dnsbl, address: \"127.0.0.1:\(lists)\", zone: bl.example.net, contact: dnsbl@example.org, lookup: \"https://example.net/$\" }",
            ])
        try await postern.start()
        try await waitUntil("the DNS service listens") { FreePort.isListening(lists) && FreePort.isListening(spare) }
        let client = DNSClient(port: lists)
        // The primary lives: its mail server asks all the while.
        let primary = Task {
            let policy = try postern.client()
            while !Task.isCancelled {
                _ = try policy.ask([
                    ("client_address", "192.0.2.7"), ("helo_name", "mail.example.org"), ("sender", "a@example.org"),
                    ("recipient", "bob@example.test"), ("instance", UUID().uuidString),
                ])
                try await Task.sleep(for: .milliseconds(200))
            }
        }
        defer { primary.cancel() }
        try await Task.sleep(for: .milliseconds(1500))
        #expect(try await client.dig(Self.name, "A").contains("status: NXDOMAIN"))
        func evidence() async throws {
            for _ in 0..<2 {
                try hangUp(on: spare)
                try await Task.sleep(for: .milliseconds(2500))
            }
        }
        try await evidence()
        try await waitUntil("the bot is published\n\(postern.log.suffix(3000))", within: .seconds(10)) {
            try await client.dig(Self.name, "A", "+short") == "127.0.0.2\n"
        }
        let text = try await client.dig(Self.name, "TXT", "+short")
        #expect(
            text.contains("\(Self.bot) is listed black: came only to a stand-in") && text.contains("https://example.net/\(Self.bot)"),
            "\(text)")
        #expect(try await rbldnsd(postern, "A") == "127.0.0.2\n")
        #expect(try await rbldnsd(postern, "TXT").contains("came only to a stand-in"))
        let block = try await postern.verb("block", "list", "--json")
        #expect(block.output.contains("\"colour\" : \"black\"") && block.output.contains("\"spare\""), "\(block.output)")

        // Nobody speaks for another.
        #expect(try await postern.verb("block", "remove-self", Self.bot, "--requester", "127.0.0.67").status == 77)
        #expect(try await client.dig(Self.name, "A", "+short") == "127.0.0.2\n")
        #expect(try await postern.verb("block", "remove-self", Self.bot, "--requester", Self.bot).status == 0)
        try await waitUntil("it is gone", within: .seconds(1)) { try await client.dig(Self.name, "A").contains("status: NXDOMAIN") }
        #expect(try await rbldnsd(postern, "A").isEmpty)
        #expect(try await !postern.verb("block", "list").output.contains(Self.bot))
        // New evidence lists it again, and then a person must decide.
        try await evidence()
        try await waitUntil("it is back", within: .seconds(10)) { try await client.dig(Self.name, "A", "+short") == "127.0.0.2\n" }
        #expect(try await postern.verb("block", "remove-self", Self.bot, "--requester", Self.bot).status == 77)
        // What traps have found is in the store, and exported from there as well.
        func exports() async throws -> [String] {
            let text = try await postern.verb("export", "text")
            let csv = try await postern.verb("export", "csv", "--source", "harvest")
            #expect(text.status == 0 && csv.status == 0, "\(text) \(csv)")
            return [text.output, csv.output]
        }
        let whileItRuns = try await exports()
        #expect(whileItRuns[0] == "\(Self.bot)\n")
        #expect(try await postern.stop() == .status(0))
        let afterwards = try await exports()
        #expect(zip(afterwards, whileItRuns).allSatisfy { $0.hasSuffix($1) }, "\(afterwards)")
    }
}
