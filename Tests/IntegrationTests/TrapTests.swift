import Foundation
import IntegrationSupport
import Testing

/// `postern serve` with a trap, as a bot meets it.
@Suite("trap", .serialized)
struct TrapTests {
    private func start(_ port: UInt16, _ lines: String = "") async throws -> PosternProcess {
        let postern = try PosternProcess(
            lines,
            listener:
                "address: \"127.0.0.1:0\" }, { name: trap, role: trap, address: \"127.0.0.1:\(port)\", mode: tarpit, pace: 20ms, greeting_pace: 1ms, hold: 1s"
        )
        try await postern.start()
        try await waitUntil("the trap listens") { FreePort.isListening(port) }
        return postern
    }

    private func connect(_ port: UInt16) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw TestFailure("connect: \(String(cString: strerror(errno)))") }
        var patience = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        return descriptor
    }

    private func rest(of descriptor: Int32) -> String {
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = recv(descriptor, &buffer, buffer.count, 0), count > 0 { text += buffer[..<count] }
        close(descriptor)
        return String(decoding: text, as: UTF8.self)
    }

    @Test("a thousand clients are held, let go with 421, and leave nothing but address and times")
    func privacy() async throws {
        let port = try FreePort.next()
        let postern = try await start(port)
        let words = ["secret-bot.example", "victim@example.org", "spammer@example.com", "BUY-NOW-7731"]
        for _ in 0..<4 {
            let lines = "EHLO \(words[0])\r\nMAIL FROM:<\(words[2])>\r\nRCPT TO:<\(words[1])>\r\nDATA\r\n\(words[3])\r\n.\r\n"
            let clients = try (0..<250).map { _ in
                let client = try connect(port)
                _ = lines.withCString { send(client, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
                return client
            }
            for client in clients {
                let text = rest(of: client)
                #expect(text.hasPrefix("220 ") && text.contains("\r\n250-") && text.contains("421 4.3.2 "), "\(text)")
            }
        }
        // The trap's loop may count the last of them a moment after they have gone.
        try await waitUntil("a thousand were held, and nobody is") {
            let status = try await postern.verb("status", "--json")
            return status.output.contains("\"held_ever\" : 1000") && status.output.contains("\"held_now\" : 0")
        }
        try await postern.stop()
        #expect(postern.log.components(separatedBy: "msg=trapped").count == 1001)
        let files = try #require(FileManager.default.enumerator(atPath: postern.folder.path)).compactMap { $0 as? String }
        for file in files {
            guard let data = FileManager.default.contents(atPath: postern.folder.file(file)) else { continue }
            for word in words { #expect(data.range(of: Data(word.utf8)) == nil, "\(word) stands in \(file)") }
        }
    }

    @Test("whoever is blocked stays, whoever is allowed is let go at once")
    func standing() async throws {
        let port = try FreePort.next()
        let postern = try await start(port)
        #expect(try await postern.verb("block", "add", "127.0.0.1").status == 0)
        let held = try connect(port)
        try await Task.sleep(for: .seconds(5))
        #expect(try await postern.verb("status", "--json").output.contains("\"held_now\" : 1"))
        close(held)
        #expect(try await postern.verb("block", "remove", "127.0.0.1").status == 0)
        #expect(try await postern.verb("allow", "add", "127.0.0.1").status == 0)
        let begun = ContinuousClock.now
        #expect(rest(of: try connect(port)).contains("421 "))
        #expect(ContinuousClock.now - begun < .seconds(4))
        try await postern.stop()
    }
}
