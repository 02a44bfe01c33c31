import Foundation
import Testing

/// An account that is stolen, stopped and given back.
struct AccountVerbTests {
    private let place: Workplace
    private let file: String

    init() throws {
        place = try Workplace()
        // What it is told on: the notice as a line of a file.
        let program = try place.write("#!/bin/sh\ncat >> \(place.path("notices.txt"))\necho >> \(place.path("notices.txt"))\n", to: "tell")
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: program)
        file = try place.write(
            """
            hostname: mx.example.net
            data_directory: ./data
            dns: { resolvers: [] }
            listeners: [{ name: policy, role: policy, address: "127.0.0.1:0" }]
            accounts:
              mode: on
              suspend: [account attempts 3/1h]
              command: ["\(program)"]

            """, to: "c.yaml")
    }

    private func run(_ arguments: String...) async throws -> Workplace.Outcome {
        try await place.run(arguments + ["--config", file])
    }

    @Test func aStolenAccount() async throws {
        func send(_ port: UInt16) async throws -> String {
            try await place.policy(port, sender: "ann@example.net", recipient: "b@example.org", account: "Ann@example.net")
        }
        try await place.withDaemon(["--config", file]) { daemon in
            #expect(try await run("account", "list").output == "no account is suspended\n")
            // The one that is too many stops it: the next is refused.
            for _ in 0..<4 { #expect(try await send(daemon.port) == "action=DUNNO") }
            #expect(try await send(daemon.port).hasPrefix("action=554 5.7.1 "), "never a 4xx: a mail program would try for ever")
            let listed = try await run("account", "list")
            #expect(listed.output.hasPrefix("ACCOUNT ") && listed.output.contains("\nann@example.net  "), "\(listed.output)")
            #expect(listed.output.contains("account attempts 3/1h"))
            let limits = try await run("status", "--json").object["limits"] as? [String: Any]
            #expect(limits?["suspended_accounts"] as? Int == 1)
            for _ in 0..<500 where !place.read("notices.txt").hasSuffix("\n") { try await Task.sleep(for: .milliseconds(10)) }
            let notice = place.read("notices.txt")
            #expect(notice.contains("\"account\":\"ann@example.net\"") && notice.contains("account-suspended"), "\(notice)")
        }
        // It stays so over a restart, and the owner is not told again.
        try await place.withDaemon(["--config", file]) { daemon in
            #expect(try await send(daemon.port).hasPrefix("action=554 5.7.1 "))
            #expect(try await run("account", "release", "nobody").code == 65)
            let released = try await run("account", "release", "ANN@example.net")
            #expect(released.code == 0 && released.output == "released: ann@example.net\n", "\(released.errors)")
            #expect(try await run("account", "list", "--json").array.isEmpty)
            #expect(try await send(daemon.port) == "action=DUNNO", "what was counted is forgotten")
            #expect(place.read("notices.txt").split(separator: "\n").count == 1)
        }
        // By its id, where its name is told to nobody.
        let redacted = try place.write("\(place.read("c.yaml"))log: { redact: true }\n", to: "redacted.yaml")
        try await place.withDaemon(["--config", redacted]) { daemon in
            for _ in 0..<4 { _ = try await send(daemon.port) }
            let listed = try await place.run("account", "list", "--config", redacted).output
            #expect(!listed.contains("ann@") && listed.contains("…@example.net"), "\(listed)")
            let id = try #require(listed.split(separator: "\n").last?.split(separator: " ").last.map(String.init))
            let released = try await place.run("account", "release", id, "--config", redacted)
            #expect(released.code == 0 && released.output == "released: …@example.net\n", "\(released.errors)")
            #expect(try await send(daemon.port) == "action=DUNNO")
        }
        // The store is asked where no daemon runs.
        try await place.withDaemon(["--config", file]) { daemon in
            for _ in 0..<4 { _ = try await send(daemon.port) }
        }
        let kept = try await run("account", "list", "--json").array
        #expect(kept.map { $0["account"] as? String } == ["ann@example.net"])
        #expect(try await run("account", "release", "ann@example.net").code == 0)
        try await place.withDaemon(["--config", file]) { _ in
            let left = try await run("account", "list", "--json").array
            #expect(left.isEmpty)
        }
    }
}
