import Foundation
import IntegrationSupport
import Testing

/// The daemon where the system lets it have few open files.
@Suite(.serialized) struct DescriptorTests {
    private let place: Workplace
    private let file: String

    init() throws {
        place = try Workplace()
        file = try place.write(
            """
            hostname: mx.example.net
            data_directory: ./data
            dns: { resolvers: [] }
            greylist: { delay: 1h }
            listeners:
              - { name: policy, role: policy, address: "127.0.0.1:0" }
              - { name: mx, role: gateway, address: "127.0.0.1:0", backend: "127.0.0.1:1" }
              - { name: spare, role: trap, address: "127.0.0.1:0", mode: defer-rcpt }
              - { name: tar, role: trap, address: "127.0.0.1:0", mode: tarpit }
              - { name: lists, role: dnsbl, address: "127.0.0.1:0", zone: bl.example.net }
              - { name: admin, role: admin, address: "127.0.0.1:0" }
            delays: { greeting: 0s }

            """, to: "c.yaml")
    }

    private func limited(_ files: Int) -> [String] { ["/bin/sh", "-c", "ulimit -n \(files); exec \"$0\" \"$@\""] }

    /// As many as it says that it needs.
    private func need() async throws -> Int {
        let outcome = try await place.run(["serve", "--config", file], through: limited(24))
        #expect(outcome.code == 71, "\(outcome)")
        let words = try #require(outcome.errors.firstMatch(of: /postern: this process may open 24 files and needs ([0-9]+) to start/))
        #expect(outcome.errors.contains("raise LimitNOFILE= of its service, or `ulimit -n`"))
        return try #require(Int(words.1))
    }

    @Test func withTooFewItDoesNotStartAndSaysSo() async throws {
        let need = try await need()
        for files in [10, 16, need - 1] {
            let outcome = try await place.run(["serve", "--config", file], through: limited(files))
            #expect(outcome.code == 71 && outcome.errors.contains("may open \(files) files and needs \(need) to start"), "\(outcome)")
        }
        #expect(!place.exists("data/postern.db"))
        // With so many it does.
        #expect(try await place.withDaemon(["--config", file], through: limited(need)) { _ in } == 0)
    }

    /// sd_listen_fds(3): of descriptor 3, whose name is that of a listener.
    @Test func whatTheServiceManagerHandsOverMustBeSuchASocket() async throws {
        let stream = "the service manager handed over something other than a stream socket; it needs ListenStream="
        for (name, opened, words) in [
            ("policy", "3</etc/passwd", stream), ("admin", "3<>/dev/udp/127.0.0.1/9", stream),
            ("lists", "3</etc/passwd", "something other than a socket for streams or datagrams"),
            ("lists", "3<>/dev/udp/127.0.0.1/9", "it needs ListenStream= and ListenDatagram="),
        ] {
            let handing = "exec \(opened); LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=\(name) exec \"$0\" \"$@\""
            let outcome = try await place.run(["serve", "--config", file], through: ["/bin/bash", "-c", handing])
            #expect(outcome.code == 78 && outcome.errors.contains(words), "\(name) \(opened): \(outcome)")
        }
    }

    /// Whoever comes meanwhile waits, at the cost of next to nothing, and is served when there is room again.
    @Test func whereNoneIsLeftConnectionsWait() async throws {
        let need = try await need()
        try await place.withDaemon(["--config", file], through: limited(need)) { daemon in try await exhaust(daemon, need) }
    }

    private func exhaust(_ daemon: Workplace.Daemon, _ need: Int) async throws {
        let ports = listeners()
        try #require(ports.count == 6, "\(ports)")
        let flood = (0..<need).map { _ in Connection.open(daemon.port) }
        defer { for connection in flood { close(connection) } }
        try await waitUntil("it says so") { waits().count > 0 }

        // One for each listener, so that each runs out.
        let late = ports.mapValues { Connection.open($0) }
        defer { for connection in late.values { close(connection) } }
        let before = try processorSeconds(daemon.pid)
        try await Task.sleep(for: .seconds(3))
        let used = try processorSeconds(daemon.pid) - before
        #expect(used < 1, "\(used) s of processor time in three seconds of waiting")
        let told = waits()
        for name in ports.keys {
            let own = told.filter { $0.contains("listener=\(name) ") || $0.hasSuffix("listener=\(name)") }
            #expect(own.count <= 1, "\(name): \(told)")
        }
        #expect(told[0].contains("raise LimitNOFILE="), "\(told)")
        #expect(told[0].contains("Too many open files"), "\(told)")

        for connection in flood { shutdown(connection, Int32(SHUT_RDWR)) }
        for name in ["mx", "spare"] {
            let greeting = Connection.line(late[name] ?? -1)
            #expect(greeting.hasPrefix("220 "), "\(name): \(greeting)")
        }
        Connection.send(late["admin"] ?? -1, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        let health = Connection.line(late["admin"] ?? -1)
        #expect(health.hasPrefix("HTTP/1.1 "), "\(health)")
        let answer = try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net")
        #expect(answer.hasPrefix("action=DEFER"), "\(answer)")
        let status = try await place.run("status", "--config", file)
        #expect(status.code == 0, "\(status)")
    }

    /// Where each listener listens, by its name.
    private func listeners() -> [String: UInt16] {
        var ports: [String: UInt16] = [:]
        for line in place.read("serve.err").split(separator: "\n") where line.contains("msg=ready") {
            for match in line.matches(of: /([a-z]+)=127\.0\.0\.1:([0-9]+)/) { ports[String(match.1)] = UInt16(match.2) }
        }
        return ports
    }

    /// What the log says of connections that wait.
    private func waits() -> [String] {
        place.read("serve.err").split(separator: "\n").map(String.init).filter { $0.contains("connections wait to be accepted") }
    }

    /// A connection to a loopback port, as a descriptor.
    private enum Connection {
        static func open(_ port: UInt16) -> Int32 {
            guard let descriptor = LoopbackConnection.connected(port: port, patience: 30) else {
                Issue.record("connect: \(String(cString: strerror(errno)))")
                return -1
            }
            return descriptor
        }

        static func send(_ descriptor: Int32, _ text: String) {
            _ = Foundation.send(descriptor, text, text.utf8.count, Int32(MSG_NOSIGNAL))
        }

        /// What comes until the end of a line, or of patience.
        static func line(_ descriptor: Int32) -> String {
            var text: [UInt8] = []
            var octet: UInt8 = 0
            while text.last != UInt8(ascii: "\n"), recv(descriptor, &octet, 1, 0) == 1 { text.append(octet) }
            return String(decoding: text, as: UTF8.self)
        }
    }

    private func processorSeconds(_ pid: Int32) throws -> Double {
        let text = try String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
        // Behind the name, which may hold blanks: state first, then utime and stime as fields 14 and 15 of all (proc(5)).
        let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else {
            throw TestFailure("no times: \(text)")
        }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }
}
