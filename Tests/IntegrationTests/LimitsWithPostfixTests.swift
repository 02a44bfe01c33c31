import Foundation
import IntegrationSupport
import Testing

/// A real Postfix that asks the policy service before and after: limits of strangers and of accounts.
@Suite("limits in the policy service with Postfix", .serialized, .servers("postfix", "swaks"))
struct LimitsWithPostfixTests {
    private let stranger = "127.0.0.9"

    @Test("a message is charged once, at its end, with the recipients that were accepted; counts survive a restart")
    func strangers() async throws {
        let postern = try await PosternProcess.start(
            """
            greylist: { mode: off }
            throttle: { mode: on, limits: [address messages 3/1h, address recipients 20/1h, address bytes 100M/1h, address attempts 100/1h] }
            """)
        let postfix = try await PostfixServer.start(
            .init(
                recipients: ["a@example.test", "b@example.test", "c@example.test"],
                policy: .init("inet:127.0.0.1:\(postern.port)", atData: true, atEndOfData: true)))
        let swaks = try Swaks(port: postfix.port)
        func used() async throws -> [String: Double] { try await postern.limits(stranger, to: "a@example.test") }

        // Who asks and leaves has made an attempt, and sent nothing.
        _ = try await swaks.send(to: ["a@example.test"], source: stranger, extra: ["--quit-after", "RCPT"])
        var counts = try await used()
        #expect(counts["address messages 3/1h"] == 0 && counts["address attempts 100/1h"] == 1, "\(counts)")
        let several = try await swaks.send(
            to: ["a@example.test", "b@example.test", "nobody@example.test", "c@example.test"], source: stranger,
            body: String(repeating: "0123456789\n", count: 1000))
        #expect(several.accepted, "\(several.transcript)\n\(postern.log)")
        counts = try await used()
        #expect(counts["address messages 3/1h"] == 1 && counts["address recipients 20/1h"] == 3, "\(counts)")
        #expect(try #require(counts["address bytes 100M/1h"]) >= 10_240, "\(counts)")
        for _ in 0..<5 { #expect(try await swaks.send(to: ["a@example.test"], source: stranger).accepted, "\(postern.log)") }
        // Twice its limit: put off, with the words for people, and that costs nothing but attempts.
        let late = try await swaks.send(to: ["a@example.test"], source: stranger)
        #expect(late.reply(to: "RCPT")?.code == 451, "\(late.transcript)")
        #expect(late.transcript.contains("More mail than a person sends: please come back in "), "\(late.transcript)")
        #expect(try await used()["address messages 3/1h"] == 6)
        #expect(try await swaks.send(to: ["a@example.test"], source: "127.0.0.10").accepted)
        #expect(try await postern.stop() == .status(0))
        try await postern.start()
        #expect(try await used()["address messages 3/1h"] == 6)
        #expect(try await swaks.send(to: ["a@example.test"], source: stranger).reply(to: "RCPT")?.code == 451)
        #expect(try await swaks.send(to: ["a@example.test"], source: "127.0.0.10").accepted)
        try await postern.stop()
    }

    /// A Postfix where users log in, with an endless sink for what they send.
    private func submission(_ lines: String) async throws -> (PosternProcess, PostfixServer, SMTPSink) {
        let postern = try await PosternProcess.start(lines)
        let sink = try await SMTPSink.start()
        let postfix = try await PostfixServer.start(
            .init(
                relayHost: "[127.0.0.1]:\(sink.port)", trustedNetworks: [],
                submission: .init(
                    users: ["alice@own.test": "sesame", "bob@own.test": "sesame"],
                    policy: .init("inet:127.0.0.1:\(postern.port)", atEndOfData: true))))
        return (postern, postfix, sink)
    }

    private func send(_ postfix: PostfixServer, as user: String, to recipients: [String] = ["x@far.test"]) async throws -> Swaks.Outcome {
        try await Swaks(port: try #require(postfix.submissionPort)).send(
            from: user, to: recipients, extra: ["--auth", "PLAIN", "--auth-user", user, "--auth-password", "sesame"])
    }

    @Test("an account past its limit is told 554, one that sends like a bot is suspended and its owner told, and a release gives it back")
    func accounts() async throws {
        let folder = try TemporaryFolder("notices")
        let hook = try await WebHook.start(folder)
        let program = try folder.write("#!/bin/sh\ncat > \(folder.file("command.json"))\n", to: "tell")
        chmod(program, 0o755)
        let (postern, postfix, sink) = try await submission(
            """
            accounts:
              mode: on
              limits: [account messages 3/1h]
              suspend: [account recipients 8/1h]
              webhook: "http://127.0.0.1:\(hook.port)/hook"
              command: ["\(program)"]
            """)
        for _ in 0..<3 { #expect(try await send(postfix, as: "bob@own.test").accepted, "\(postern.log)") }
        let over = try await send(postfix, as: "bob@own.test")
        #expect(over.reply(to: "RCPT")?.code == 554 && over.transcript.contains("5.7.1"), "\(over.transcript)")
        #expect(try await postern.verb("account", "list").output == "no account is suspended\n")

        let three = ["x@far.test", "y@far.test", "z@far.test"]
        for _ in 0..<3 { #expect(try await send(postfix, as: "alice@own.test", to: three).accepted, "\(postern.log)") }
        #expect(try await postern.verb("account", "list").output.contains("\nalice@own.test "))
        let stopped = try await send(postfix, as: "alice@own.test")
        #expect(stopped.reply(to: "RCPT")?.code == 554, "\(stopped.transcript)")
        try await waitUntil("both are told") { hook.posts.count == 1 && !folder.read("command.json").isEmpty }
        for notice in [hook.posts[0], folder.read("command.json")] {
            let fields = try JSONSerialization.jsonObject(with: Data(notice.utf8)) as? [String: String]
            #expect(fields?["event"] == "account-suspended" && fields?["account"] == "alice@own.test", "\(notice)")
            #expect(fields?["reason"]?.contains("account recipients 8/1h: 9 where 8 are allowed") == true, "\(notice)")
        }
        // Neither a restart nor waiting helps a thief; the owner's admin does.
        #expect(try await postern.stop() == .status(0))
        try await postern.start()
        #expect(try await send(postfix, as: "alice@own.test").reply(to: "RCPT")?.code == 554)
        #expect(try await postern.verb("account", "release", "alice@own.test").output == "released: alice@own.test\n")
        #expect(try await send(postfix, as: "alice@own.test").accepted)
        #expect(try await send(postfix, as: "bob@own.test").reply(to: "RCPT")?.code == 554, "its limit goes on")
        try await waitUntil("what was accepted has left") { sink.counters.messages == 7 }
        #expect(hook.posts.count == 1)
        hook.stop()
        try await postern.stop()
    }

    @Test("with action: hold what is past a limit waits in Postfix's hold queue, and postsuper lets it go")
    func hold() async throws {
        let (postern, postfix, sink) = try await submission(
            "accounts: { mode: on, limits: [account messages 2/1h], suspend: [account recipients 100/1h], action: hold }")
        for _ in 0..<3 { #expect(try await send(postfix, as: "alice@own.test").accepted, "\(postern.log)") }
        try await waitUntil("two have left, one is kept") {
            let queue = try await postfix.queue()
            return sink.counters.messages == 2 && queue.count == 1 && queue[0].queueName == "hold"
        }
        let released = try await postfix.root.run(["/usr/sbin/postsuper", "-H", "ALL"])
        #expect(released.succeeded, "\(released.output)")
        try await postfix.flush()
        try await waitUntil("it has left") { sink.counters.messages == 3 }
        try await postern.stop()
    }
}

/// A web server of Python's that writes down what is posted.
private final class WebHook: Sendable {
    let port: UInt16
    private let folder: TemporaryFolder
    private let process: RunningProcess

    static func start(_ folder: TemporaryFolder) async throws -> WebHook {
        let port = try FreePort.next()
        let program = """
            import http.server as h
            class Hook(h.BaseHTTPRequestHandler):
                def do_POST(self):
                    body = self.rfile.read(int(self.headers["content-length"]))
                    with open("posts", "ab") as f: f.write(body + b"\\n")
                    self.send_response(204)
                    self.end_headers()
            h.HTTPServer(("127.0.0.1", \(port)), Hook).serve_forever()
            """
        let process = try RunningProcess(
            executable: "/usr/bin/env", ["python3", "-c", program], log: folder.file("hook.log"), workingFolder: folder.path)
        try await process.waitUntilReady("listening") { FreePort.isListening(port) }
        return WebHook(port, folder, process)
    }

    private init(_ port: UInt16, _ folder: TemporaryFolder, _ process: RunningProcess) {
        self.port = port
        self.folder = folder
        self.process = process
    }

    var posts: [String] { folder.read("posts").split(separator: "\n").map(String.init) }

    func stop() { process.kill() }
}
