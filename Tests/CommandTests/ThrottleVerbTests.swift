import Foundation
import Testing

/// Who is past a limit, as the command tells it.
struct ThrottleVerbTests {
    private let place: Workplace
    private let file: String

    init() throws {
        place = try Workplace()
        file = place.path("c.yaml")
    }

    private func configure(hold: String, limit: String = "address attempts 4/1h") throws {
        try place.write(
            """
            hostname: mx.example.net
            data_directory: ./data
            dns: { resolvers: [] }
            greylist: { mode: off }
            listeners: [{ name: policy, role: policy, address: "127.0.0.1:0" }]
            throttle: { mode: on, hold: \(hold), refuse_for: 1h, limits: [\(limit)] }

            """, to: "c.yaml")
    }

    private func list() async throws -> [Substring] {
        try await place.run("throttle", "list", "--config", file).output.split(separator: "\n")
    }

    @Test func whoIsPastALimitIsToldOverAReloadAndARestart() async throws {
        try configure(hold: "600ms")
        try await place.withDaemon(["--config", file]) { daemon in
            for _ in 0..<5 { _ = try await place.policy(daemon.port, sender: "a@example.com", recipient: "b@example.net") }
            for _ in 0..<18 {
                _ = try await place.policy(daemon.port, sender: "a@example.com", recipient: "b@example.net", address: "198.51.100.9")
            }
            var lines = try await list()
            #expect(lines.count == 3 && lines[1].contains("198.51.100.9") && lines[2].contains("192.0.2.7"), "\(lines)")
            #expect(lines[1].contains("refused") && lines[1].contains("18 of 4"), "\(lines)")
            // The sixth: half way to twice the limit.
            #expect(lines[2].contains("held") && lines[2].contains("300 ms a reply"), "\(lines)")
            try configure(hold: "5s")
            #expect(try await place.run("reload", "--config", file).code == 0)
            lines = try await list()
            #expect(lines.count == 3 && lines[2].contains("2.5 s a reply"), "\(lines)")
        }
        try await place.withDaemon(["--config", file]) { _ in
            let lines = try await list()
            #expect(lines.count == 3 && lines[1].contains("refused") && lines[2].contains("2.5 s a reply"), "\(lines)")
            let explained = try await place.run(
                "explain", "--ip", "192.0.2.7", "--helo", "h.example", "--from", "a@example.com", "--to", "b@example.net", "--config", file)
            #expect(explained.output.contains("address attempts 4/1h"), "\(explained.output)")
        }
    }
}
