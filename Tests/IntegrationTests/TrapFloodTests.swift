import Foundation
import IntegrationSupport
import Testing

/// Whoever floods a trap fills no memory, and mail on the gateway beside it goes on.
@Suite("traps under floods", .serialized, .servers("postfix"))
struct TrapFloodTests {
    private func connect(_ port: UInt16, receiveBuffer: Int32? = nil) -> Int32? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        if var size = receiveBuffer { setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4) }
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }

    /// Octets of memory that the process has of its own.
    private func resident(_ pid: pid_t) -> Int {
        let status = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("RssAnon:") }
        return (line?.split { !$0.isNumber }.first.flatMap { Int($0) } ?? 0) * 1024
    }

    @Test(
        "connections that say nothing, that send without end, that never read: bounded, and the gateway answers",
        arguments: ["defer-rcpt", "defer-data", "sink", "tarpit"])
    func flood(mode: String) async throws {
        let sink = try await SMTPSink.start()
        let (trap, mx) = (try FreePort.next(), try FreePort.next())
        let postern = try PosternProcess(
            "greylist: { mode: off }\ndelays: { greeting: 0s }\ndomains: [example.test]",
            listener:
                "address: \"127.0.0.1:0\" }, { name: trap, role: trap, mode: \(mode), address: \"127.0.0.1:\(trap)\", capacity: 500 }, { name: mx, role: gateway, address: \"127.0.0.1:\(mx)\", backend: \"127.0.0.1:\(sink.port)\", backend_client_info: none, probe: false"
        )
        try await postern.start()
        let pid = try #require(postern.pid)
        let source = try SMTPSource(port: mx)
        try await source.send(messages: 100, sessions: 5)
        let before = resident(pid)

        var held: [Int32] = []
        // Four times as many as there is room for; two of three say something, one of three never reads it.
        let lines = "EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@example.test>\r\nDATA\r\n"
        let garbage = String(repeating: "HELP\r\n", count: 2000) + String(repeating: "x", count: 50_000)
        for number in 0..<2000 {
            guard let descriptor = connect(trap, receiveBuffer: number % 3 == 0 ? 1024 : nil) else { continue }
            held.append(descriptor)
            let text = number % 3 == 1 ? lines : number % 3 == 0 ? garbage : ""
            _ = text.withCString { send(descriptor, $0, strlen($0), Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)) }
        }
        let flooding = Task.detached {
            for _ in 0..<20 {
                for descriptor in held {
                    _ = garbage.withCString { send(descriptor, $0, strlen($0), Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)) }
                }
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
        // Mail goes on meanwhile.
        try await source.send(messages: 200, sessions: 5, within: .seconds(180))
        await flooding.value
        try await waitUntil("the sink's count") { sink.counters.messages == 300 }
        let grown = resident(pid) - before
        #expect(grown < 64_000_000, "\(grown) octets for 500 clients")
        let status = try await postern.verb("status", "--json")
        let object = try #require(try JSONSerialization.jsonObject(with: Data(status.output.utf8)) as? [String: Any])
        let report = try #require((object["traps"] as? [[String: Any]])?.first)
        #expect((report["held_now"] as? Int ?? -1) <= 500 && (report["held_ever"] as? Int ?? 0) >= 1900, "\(report)")
        #expect((report["shed"] as? Int ?? 0) > 0, "\(report)")
        for descriptor in held { close(descriptor) }
        #expect(try await postern.stop().code == 0)
        sink.kill()
    }
}
