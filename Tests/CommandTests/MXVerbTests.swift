import Foundation
import IntegrationSupport
import Testing

/// `postern mx` with a real unbound, and hosts of every kind on addresses of the loopback network.
@Suite(.enabled(if: requireServer("unbound")), .serialized)
struct MXVerbTests {
    private func check(_ records: [String], hosts: [ScriptedMailHost], _ arguments: String...) async throws -> Workplace.Outcome {
        let server = try await UnboundServer.start(records: records, zones: ["test", "other"])
        let place = try Workplace()
        let config = try place.write("hostname: probe.example.net\ndns: { resolvers: [\"127.0.0.1:\(server.port)\"] }\n", to: "c.yaml")
        let port = hosts.first?.port ?? 1
        let outcome = try await place.run(
            ["mx", "check", "a.test", "--config", config, "--port", "\(port)", "--timeout", "1500ms", "--also-public", "127.77.0.0/16"]
                + arguments)
        for host in hosts { host.stop() }
        try await server.stop()
        return outcome
    }

    private func codes(_ outcome: Workplace.Outcome) -> [String] {
        (outcome.object["pitfalls"] as? [[String: Any]] ?? []).map { "\($0["severity"] ?? "") \($0["code"] ?? "")" }
    }

    private static let a = "300 IN A"

    @Test func aPlanThatIsCarriedOutWell() async throws {
        let port = try FreePort.next()
        let real = try ScriptedMailHost("127.77.0.2", port: port)
        let fake = try ScriptedMailHost("127.77.0.3", port: port, at: ["RCPT": "451 4.7.1 Not now"])
        let records = [
            "a.test. 300 IN MX 10 mx0.a.test.", "a.test. 300 IN MX 20 mx1.a.test.", "a.test. 300 IN MX 90 mx9.a.test.",
            "mx0.a.test. \(Self.a) 127.77.0.1", "mx1.a.test. \(Self.a) 127.77.0.2", "mx9.a.test. \(Self.a) 127.77.0.3",
        ]
        let outcome = try await check(records, hosts: [real, fake], "--json")
        #expect(outcome.code == 0, "\(outcome)")
        #expect(codes(outcome) == ["note nolisting", "note fake-last"], "\(outcome.output)")
        let exchangers = try #require(outcome.object["exchangers"] as? [[String: Any]])
        let behaviours = exchangers.map { ($0["addresses"] as? [[String: Any]])?.first?["behaviour"] as? String }
        #expect(behaviours == ["refuses", "accepts", "defers"])
        #expect(real.heard == ["EHLO probe.example.net", "MAIL FROM:<>", "RCPT TO:<postmaster@a.test>", "QUIT"])
    }

    @Test func everyWrongHostIsTold() async throws {
        let port = try FreePort.next()
        let hosts = [
            try ScriptedMailHost("127.77.0.1", port: port, greeting: "421 4.3.2 busy"),
            try ScriptedMailHost("127.77.0.2", port: port), try ScriptedMailHost("127.77.0.9", port: port, at: ["RCPT": "550 5.7.1 never"]),
            try ScriptedMailHost("127.77.0.5", port: port, at: ["RCPT": "451 4.7.1 later"]),
        ]
        let records = [
            "a.test. 300 IN MX 10 mx0.a.test.", "a.test. 300 IN MX 20 mx1.a.test.", "a.test. 300 IN MX 30 alias.a.test.",
            "a.test. 300 IN MX 40 bogus.a.test.", "a.test. 300 IN MX 50 gone.a.test.", "a.test. 300 IN MX 60 trap.other.",
            "a.test. 300 IN MX 90 mx9.a.test.", "mx0.a.test. \(Self.a) 127.77.0.1", "mx1.a.test. \(Self.a) 127.77.0.2",
            "alias.a.test. 300 IN CNAME mx1.a.test.", "bogus.a.test. \(Self.a) 192.0.2.1", "bogus.a.test. \(Self.a) 10.0.0.1",
            "bogus.a.test. 300 IN AAAA fe80::1", "trap.other. \(Self.a) 127.77.0.5", "mx9.a.test. \(Self.a) 127.77.0.9",
        ]
        let outcome = try await check(records, hosts: hosts, "--json")
        #expect(outcome.code == 65)
        let found = codes(outcome)
        for code in [
            "error first-defers", "error alias", "error no-address", "error last-rejects", "warning foreign-fake",
        ] { #expect(found.contains(code), "\(code): \(outcome.output)") }
        #expect(found.count { $0 == "error special-address" } == 3)
        let exchangers = try #require(outcome.object["exchangers"] as? [[String: Any]])
        let bogus = try #require(exchangers.first { $0["host"] as? String == "bogus.a.test" }?["addresses"] as? [[String: Any]])
        #expect(bogus.allSatisfy { $0["behaviour"] == nil && $0["is_public"] as? Bool == false }, "nobody connects there")
    }

    @Test func theTrapItselfIsKnownForOne() async throws {
        let port = try FreePort.next()
        let place = try Workplace()
        let config = try place.write(
            """
            data_directory: \(place.folder)/data
            dns: { resolvers: [] }
            listeners: [ { name: trap, role: trap, mode: tarpit, address: "127.77.0.9:\(port)", greeting_pace: 10ms, pace: 100ms } ]

            """, to: "trap.yaml")
        let real = try ScriptedMailHost("127.77.0.2", port: port)
        let records = [
            "a.test. 300 IN MX 20 mx1.a.test.", "a.test. 300 IN MX 90 mx9.a.test.", "mx1.a.test. \(Self.a) 127.77.0.2",
            "mx9.a.test. \(Self.a) 127.77.0.9",
        ]
        let trap = try RunningProcess(executable: Workplace.executable.path, ["serve", "--config", config], log: place.path("trap.log"))
        try await waitUntil("the trap listens") { place.read("trap.log").contains("msg=ready") }
        let outcome = try await check(records, hosts: [real], "--json")
        trap.signal(SIGTERM)
        _ = try await trap.waitForExit()
        #expect(outcome.code == 0 && codes(outcome) == ["note tarpit"], "\(outcome)")
    }

    @Test func hostsThatSayNothingAreGivenUpInTime() async throws {
        let port = try FreePort.next()
        let hosts = [
            try ScriptedMailHost("127.77.0.1", port: port, greeting: nil), try ScriptedMailHost("127.77.0.2", port: port),
            try ScriptedMailHost("127.77.0.3", port: port, greeting: "SSH-2.0-x"),
            try ScriptedMailHost("127.77.0.4", port: port, backlogFull: true),
        ]
        let records = (1...4).flatMap { ["a.test. 300 IN MX \($0)0 mx\($0).a.test.", "mx\($0).a.test. \(Self.a) 127.77.0.\($0)"] }
        let start = ContinuousClock.now
        let outcome = try await check(records, hosts: hosts)
        #expect(ContinuousClock.now - start < .seconds(19))
        #expect(outcome.code == 65)
        for text in [
            "takes the connection, but sends no greeting", "does not speak SMTP: SSH-2.0-x", "times out", "127.77.0.2: takes mail",
            "ERRORS\n- the first MX",
        ] { #expect(outcome.output.contains(text), "\(text): \(outcome.output)") }
    }

    @Test(arguments: [
        (["a.test. 300 IN MX 0 ."], Int32(0), "note null-mx"), (["b.test. 300 IN A 9.9.9.9"], 65, "error no-such-domain"),
        (["a.test. 300 IN TXT \"x\""], 65, "error no-mail"), (["a.test. 300 IN A 9.9.9.9"], 0, "warning no-mx"),
        (["a.test. 300 IN MX 10 mx.a.test.", "mx.a.test. 300 IN A 169.254.7.7"], 65, "error special-address"),
    ])
    func whatTheDNSAloneTells(records: [String], code: Int32, pitfall: String) async throws {
        let outcome = try await check(records, hosts: [], "--json", "--no-connect")
        #expect(outcome.code == code && codes(outcome) == [pitfall], "\(outcome)")
        #expect(outcome.object["connected"] as? Bool == false)
    }

    @Test func planNamesTheHostsThatTakeMailNow() async throws {
        let server = try await UnboundServer.start(
            records: ["a.test. 300 IN MX 5 mail.a.test.", "a.test. 300 IN MX 90 mx9.a.test.", "mail.a.test. 300 IN A 9.9.9.9"],
            zones: ["test"])
        let place = try Workplace()
        let config = try place.write("dns: { resolvers: [\"127.0.0.1:\(server.port)\"] }\n", to: "c.yaml")
        let outcome = try await place.run("mx", "plan", "a.test", "--config", config, "--trap", "9.9.9.10", "--json")
        let records = (outcome.object["records"] as? [[String: Any]] ?? []).map { "\($0["type"] ?? "") \($0["value"] ?? "")" }
        #expect(
            records == [
                "MX 10 mx0.a.test.", "A ADDRESS-WITH-PORT-25-CLOSED", "MX 20 mail.a.test.", "MX 100 mx9.a.test.", "A 9.9.9.10",
            ], "\(outcome)")
        #expect(outcome.output.contains("published now; name those that take mail with --real"))
        let text = try await place.run("mx", "plan", "a.test", "--config", config, "--real", "mail.a.test").output
        #expect(text.contains("JavaMail") && text.contains("qmail") && text.contains("3600 IN MX 20 mail.a.test."), "\(text)")
        #expect(try await place.run("mx", "plan", "b.test", "--config", config).code == 65)
        #expect(try await place.run("mx", "plan", "a.test", "--config", config, "--trap", "192.0.2.9").code == 64)
        try await server.stop()
        let dead = try await place.run("mx", "check", "a.test", "--config", config, "--no-connect")
        #expect(dead.code == 69 && dead.output.contains("does not say where a.test takes mail"), "\(dead)")
        #expect(try await place.run("mx", "check", "192.0.2.1").code == 64)
    }
}
