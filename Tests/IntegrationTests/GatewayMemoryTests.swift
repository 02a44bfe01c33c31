import Foundation
import IntegrationSupport
import Testing

/// What large messages cost a gateway that keeps none of them.
@Suite("memory of the gateway", .serialized, .servers("postfix"))
struct GatewayMemoryTests {
    @Test("twenty messages of 50 MB at once: resident memory grows by less than 50 MB")
    func largeMessages() async throws {
        let sink = try await SMTPSink.start()
        let port = try FreePort.next()
        let postern = try PosternProcess(
            "domains: [\"*\"]\ngreylist: { mode: off }\ndelays: { greeting: 0s }",
            listener:
                "address: \"127.0.0.1:0\" }, { name: mx, role: gateway, address: \"127.0.0.1:\(port)\", backend: \"127.0.0.1:\(sink.port)\", backend_client_info: none"
        )
        try await postern.start()
        let source = try SMTPSource(port: port)
        // Once around, so that what every start needs is there.
        try await source.send(messages: 200, sessions: 20, size: 4096)
        let before = try resident(postern)
        try await source.send(messages: 20, sessions: 20, size: 50_000_000, within: .seconds(180))
        let growth = try resident(postern, "VmHWM") - before
        try await waitUntil("all messages in the sink") { sink.counters.messages == 220 }
        print("memory of the gateway: \(before / 1024) MiB, and at most \(growth / 1024) MiB more with twenty messages of 50 MB")
        #expect(growth < 50_000_000 / 1024)
        #expect(try await postern.stop().code == 0)
    }

    /// In KiB: `VmRSS` now, `VmHWM` at most so far.
    private func resident(_ postern: PosternProcess, _ field: String = "VmRSS") throws -> Int {
        let pid = try #require(postern.pid)
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix(field) })
        return try #require(line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) })
    }
}
