import Foundation
import IntegrationSupport
import Testing

/// The real servers themselves, before anything of ours stands between them.
@Suite("harness")
struct HarnessTests {
    @Suite("Postfix", .serialized, .servers("postfix", "swaks"))
    struct Postfix {
        @Test("takes a message into its maildir, and refuses what is not for it")
        func receives() async throws {
            let postfix = try await PostfixServer.start(.init(recipients: ["bob@example.test", "carol@example.test"]))
            let swaks = try Swaks(port: postfix.port)
            let outcome = try await swaks.send(
                to: ["bob@example.test", "carol@example.test"], headers: ["Subject: first light"], body: "one line")
            #expect(outcome.accepted, "\(outcome.transcript)")
            let messages = try await postfix.mailbox.waitForMessages(2)
            #expect(Set(messages.flatMap(\.recipients)) == ["bob@example.test", "carol@example.test"])
            #expect(messages.allSatisfy { $0["subject"] == "first light" && $0.text.hasPrefix("one line") })
            #expect(messages.allSatisfy { $0.returnPath == "alice@sender.test" })
            #expect(try await swaks.send(to: ["nobody@example.test"]).reply(to: "RCPT")?.code == 550)
            #expect(try await swaks.send(to: ["bob@elsewhere.test"]).reply(to: "RCPT")?.code == 554)
            #expect(try await swaks.send(from: "", to: ["bob@example.test"]).accepted)
            #expect(try await postfix.mailbox.waitForMessages(3).contains { $0.returnPath == "" })
        }

        @Test("asks a policy service at each stage and does as it says")
        func policy() async throws {
            let service = try ScriptedPolicyService { request in
                switch (request["protocol_state"], request["recipient"]) {
                case ("RCPT", "later@example.test"): "DEFER_IF_PERMIT 4.7.1 come back in 3 min"
                case ("RCPT", _): "PREPEND X-Asked: at RCPT"
                case ("DATA", _) where request["sender"] == "": "451 4.7.1 not before DATA"
                default: "DUNNO"
                }
            }
            defer { service.stop() }
            let postfix = try await PostfixServer.start(
                .init(
                    policy: .init("inet:127.0.0.1:\(service.port)", atData: true, atEndOfData: true),
                    hosts: ["127.0.0.9": "mail.sender.test"]))
            let swaks = try Swaks(port: postfix.port)
            let deferred = try await swaks.send(to: ["later@example.test"], source: "127.0.0.9")
            #expect(deferred.reply(to: "RCPT")?.reply == ["450 4.7.1 <later@example.test>: Recipient address rejected: come back in 3 min"])
            #expect(try await swaks.send(from: "").reply(to: "DATA")?.code == 451)
            #expect(try await swaks.send(source: "127.0.0.9").accepted)
            let message = try #require(try await postfix.mailbox.waitForMessages().first)
            #expect(message["X-Asked"] == "at RCPT")
            let states = service.requests.compactMap { $0["protocol_state"] }
            #expect(states == ["RCPT", "RCPT", "DATA", "RCPT", "DATA", "END-OF-MESSAGE"])
            #expect(service.requests.first?["client_name"] == "mail.sender.test")
            // Without the service the default action counts.
            service.stop()
            #expect(try await swaks.send().accepted)
        }

        @Test("queues, retries within seconds, and keeps its queue when killed")
        func sends() async throws {
            let port = try FreePort.next()
            let sender = try await PostfixServer.start(.init(domains: ["own.test"], relayHost: "[127.0.0.1]:\(port)"))
            #expect(try await Swaks(port: sender.port).send().accepted)
            try await waitUntil("a deferred message\n\(sender.log)") {
                try await sender.queue().contains { $0.recipients.first?.delayReason?.contains("Connection refused") == true }
            }
            try sender.kill()
            #expect(!FreePort.isListening(sender.port))
            let receiver = try await PostfixServer.start(.init(port: port))
            try await sender.start()
            #expect(try await receiver.mailbox.waitForMessages(within: PostfixServer.retryPatience).count == 1)
            try await waitUntil("an empty queue") { try await sender.queue().isEmpty }
            try await sender.stop()
            #expect(!FreePort.isListening(sender.port))
        }

        @Test("learns the client's address by XCLIENT and by PROXY")
        func clientInformation() async throws {
            let xclient = try await PostfixServer.start(.init(clientInformation: .xclient))
            let first = try await Swaks(port: xclient.port).send(extra: ["--xclient", "ADDR=192.0.2.7 NAME=mail.sender.test"])
            #expect(first.accepted, "\(first.transcript)")
            let byXclient = try await xclient.mailbox.waitForMessages()
            #expect(byXclient.first?.all("Received").first?.contains("(mail.sender.test [192.0.2.7])") == true)

            let proxy = try await PostfixServer.start(.init(clientInformation: .proxy))
            let second = try await Swaks(port: proxy.port).send(extra: proxyOptions)
            #expect(second.accepted, "\(second.transcript)")
            let byProxy = try await proxy.mailbox.waitForMessages()
            #expect(byProxy.first?.all("Received").first?.contains("[192.0.2.7]") == true)
        }

        @Test("lets users log in on the submission listener, over TLS too, and asks a policy service first")
        func submission() async throws {
            let service = try ScriptedPolicyService { $0["sasl_username"] == "alice@own.test" ? "DUNNO" : "REJECT who are you" }
            defer { service.stop() }
            let sink = try await SMTPSink.start()
            let postfix = try await PostfixServer.start(
                .init(
                    relayHost: "[127.0.0.1]:\(sink.port)", trustedNetworks: [],
                    submission: .init(users: ["alice@own.test": "sesame"], policy: .init("inet:127.0.0.1:\(service.port)")),
                    certificate: Certificate(hostname: "mx.example.test")))
            let swaks = try Swaks(port: try #require(postfix.submissionPort))
            let login = ["--tls", "--auth", "PLAIN", "--auth-user", "alice@own.test", "--auth-password"]
            let outcome = try await swaks.send(to: ["x@far.test"], extra: login + ["sesame"])
            #expect(outcome.accepted, "\(outcome.transcript)\n\(postfix.log)")
            #expect(outcome.reply(to: "STARTTLS")?.code == 220)
            #expect(try await !swaks.send(to: ["x@far.test"], extra: login + ["wrong"]).accepted)
            #expect(try await swaks.send(to: ["x@far.test"]).reply(to: "RCPT")?.code == 554)
            try await waitUntil("the message at the sink") { sink.counters.messages == 1 }
        }
    }

    @Suite("Exim", .serialized, .servers("exim4", "swaks"))
    struct Exim {
        @Test("takes a message into its maildir, over TLS too, and refuses what is not for it")
        func receives() async throws {
            let exim = try await EximServer.start(.init(localParts: ["bob"], certificate: Certificate(hostname: "mx.example.test")))
            let swaks = try Swaks(port: exim.port)
            let outcome = try await swaks.send(headers: ["Subject: first light"], body: "one line", extra: ["--tls"])
            #expect(outcome.accepted, "\(outcome.transcript)\n\(exim.log)")
            let message = try #require(try await exim.mailbox.waitForMessages().first, "\(exim.log)")
            #expect(message["subject"] == "first light" && message.text.hasPrefix("one line"))
            #expect(message.recipients == ["bob@example.test"])
            #expect(message.returnPath == "alice@sender.test")
            #expect(try await swaks.send(to: ["nobody@example.test"]).reply(to: "RCPT")?.code == 550)
            #expect(try await swaks.send(to: ["bob@elsewhere.test"]).reply(to: "RCPT")?.code == 550)
        }

        @Test("asks a policy service through readsocket and does as it says")
        func policy() async throws {
            let service = try ScriptedPolicyService { request in
                switch request["recipient"] {
                case "later@example.test": "DEFER_IF_PERMIT 4.7.1 come back in 3 min"
                case "soon@example.test": "451 4.7.1 come back soon"
                case "never@example.test": "REJECT 5.7.1 not you"
                default: "PREPEND X-Asked: at RCPT"
                }
            }
            defer { service.stop() }
            let exim = try await EximServer.start(
                .init(
                    recipientStatements: EximConfiguration.policyStatements(endpoint: "inet:127.0.0.1:\(service.port)")))
            let swaks = try Swaks(port: exim.port)
            let outcome = try await swaks.send(
                to: ["later@example.test", "soon@example.test", "never@example.test", "bob@example.test"], source: "127.0.0.9")
            #expect(outcome.reply(to: "RCPT TO:<later")?.reply == ["451 4.7.1 come back in 3 min"])
            #expect(outcome.reply(to: "RCPT TO:<soon")?.reply == ["451 4.7.1 come back soon"])
            #expect(outcome.reply(to: "RCPT TO:<never")?.reply == ["550 5.7.1 not you"])
            #expect(outcome.accepted, "\(outcome.transcript)\n\(exim.log)")
            #expect(try await exim.mailbox.waitForMessages().first?["X-Asked"] == "at RCPT")
            #expect(service.requests.count == 4)
            #expect(Set(service.requests.map { $0["instance"] }).count == 1)
            #expect(service.requests.first?["client_address"] == "127.0.0.9")
            service.stop()
            #expect(try await swaks.send(to: ["later@example.test"]).accepted)
        }

        @Test("queues and retries within seconds")
        func sends() async throws {
            let port = try FreePort.next()
            let sender = try await EximServer.start(.init(domains: ["own.test"], relay: ("127.0.0.1", port)))
            #expect(try await Swaks(port: sender.port).send().accepted)
            try await waitUntil("a failed attempt\n\(sender.log)") { sender.log.contains("Connection refused") }
            #expect(try await sender.queueCount() == 1)
            let receiver = try await EximServer.start(.init(port: port))
            #expect(try await receiver.mailbox.waitForMessages().count == 1)
            try await waitUntil("an empty queue") { try await sender.queueCount() == 0 }
            try await sender.stop()
            #expect(!FreePort.isListening(sender.port))
        }

        @Test("learns the client's address by PROXY")
        func clientInformation() async throws {
            let exim = try await EximServer.start(.init(expectsProxyHeader: true))
            let outcome = try await Swaks(port: exim.port).send(extra: proxyOptions)
            #expect(outcome.accepted, "\(outcome.transcript)\n\(exim.log)")
            #expect(try await exim.mailbox.waitForMessages().first?.all("Received").first?.contains("[192.0.2.7]") == true)
        }
    }

    @Suite("OpenSMTPD", .serialized, .servers("opensmtpd", "swaks", "postfix"))
    struct OpenSMTPD {
        @Test("takes a message into its maildir, and refuses what is not for it")
        func receives() async throws {
            let smtpd = try await OpenSMTPDServer.start(
                .init(recipients: ["bob@example.test"]))
            let swaks = try Swaks(port: smtpd.port)
            let outcome = try await swaks.send(headers: ["Subject: first light"], body: "one line")
            #expect(outcome.accepted, "\(outcome.transcript)\n\(smtpd.log)")
            let message = try #require(try await smtpd.mailbox.waitForMessages().first, "\(smtpd.log)")
            #expect(message["subject"] == "first light" && message.text.hasPrefix("one line"))
            #expect(message.recipients == ["bob@example.test"])
            let unknown = try await swaks.send(to: ["nobody@example.test"])
            #expect(unknown.reply(to: "RCPT")?.code == 550, "\(unknown.transcript)")
            #expect(try await swaks.send(to: ["bob@elsewhere.test"]).reply(to: "RCPT")?.code == 550)
        }

        @Test("queues, retries when told, and uses STARTTLS")
        func sends() async throws {
            let port = try FreePort.next()
            // A deferral: after a refused connection it would leave this next hop alone for 15 s.
            let deferring = try await SMTPSink.start(port: port, options: ["-r", "RCPT"])
            let sender = try await OpenSMTPDServer.start(.init(domains: ["own.test"], relay: "smtp://127.0.0.1:\(port)"))
            #expect(try await Swaks(port: sender.port).send().accepted)
            try await waitUntil("a failed attempt\n\(sender.log)") {
                sender.log.contains("result=\"TempFail\"") && sender.log.contains("mta disconnected")
            }
            deferring.kill()
            let receiver = try await PostfixServer.start(.init(port: port, certificate: Certificate(hostname: "mx.example.test")))
            try await waitUntil("an empty queue\n\(sender.log)", every: .milliseconds(500)) {
                try await sender.flush()
                return try await sender.queueCount() == 0
            }
            let message = try await receiver.mailbox.waitForMessages().first
            #expect(message?.all("Received").first?.contains("using TLS") == true)
            try await sender.stop()
            #expect(!FreePort.isListening(sender.port))
        }

        @Test("learns the client's address by PROXY")
        func clientInformation() async throws {
            let smtpd = try await OpenSMTPDServer.start(.init(expectsProxyHeader: true))
            let outcome = try await Swaks(port: smtpd.port).send(extra: proxyOptions)
            #expect(outcome.accepted, "\(outcome.transcript)\n\(smtpd.log)")
            #expect(try await smtpd.mailbox.waitForMessages().first?.all("Received").first?.contains("[192.0.2.7]") == true)
        }
    }

    @Suite("processes", .serialized, .servers("postfix"))
    struct Processes {
        @Test("smtp-sink counts what smtp-source sends")
        func sinkAndSource() async throws {
            let sink = try await SMTPSink.start()
            let source = try SMTPSource(port: sink.port)
            try await source.send(messages: 200, sessions: 8)
            try await waitUntil("the sink's count") { sink.counters.messages == 200 }
            #expect(sink.counters.sessions == 8)
            try await source.send(messages: 50, sessions: 2, onePerSession: true)
            try await waitUntil("the sink's count") { sink.counters.messages == 250 }
            #expect(sink.counters.sessions == 58)
        }

        @Test("nothing is left behind")
        func cleanUp() async throws {
            var postfix: PostfixServer? = try await PostfixServer.start()
            let folder = try #require(postfix?.root.folder.path)
            let port = try #require(postfix?.port)
            #expect(processesSeeing(folder) > 3)
            postfix = nil
            #expect(processesSeeing(folder) == 0)
            #expect(!FreePort.isListening(port))
            #expect(!FileManager.default.fileExists(atPath: folder))
        }

        @Test("HAProxy tells Postfix the client's address", .servers("haproxy", "swaks"))
        func haproxy() async throws {
            let postfix = try await PostfixServer.start(.init(clientInformation: .proxy))
            let haproxy = try await HAProxyServer.start(backend: "127.0.0.1:\(postfix.port)", header: .version2Checksum)
            let outcome = try await Swaks(port: haproxy.port).send(source: "127.0.0.9")
            #expect(outcome.accepted, "\(outcome.transcript)\n\(haproxy.log)\n\(postfix.log)")
            #expect(try await postfix.mailbox.waitForMessages().first?.all("Received").first?.contains("[127.0.0.9]") == true)
        }

        @Test("postgrey defers a Postfix's first attempt", .servers("postgrey", "swaks"))
        func postgrey() async throws {
            let postgrey = try await PostgreyServer.start(delaySeconds: 1)
            let postfix = try await PostfixServer.start(.init(policy: .init("inet:127.0.0.1:\(postgrey.port)")))
            let swaks = try Swaks(port: postfix.port)
            let first = try await swaks.send()
            #expect(first.reply(to: "RCPT")?.code == 450, "\(first.transcript)\n\(postgrey.log)")
            try await Task.sleep(for: .milliseconds(2100))
            #expect(try await swaks.send().accepted)
            #expect(try await postfix.mailbox.waitForMessages().first?["X-Greylist"]?.hasPrefix("delayed") == true)
        }

        @Test("a server ends with the process that holds its lifeline, however that ends")
        func lifeline() async throws {
            let folder = try TemporaryFolder()
            _ = try PrivateRoot("postfix", folder: folder)
            let port = try FreePort.next()
            let command =
                "exec 4> >(exec bash \(ServerRoots.scriptPath) run postfix --folder \(folder.path)/sink --control 0 -- "
                + "/usr/sbin/smtp-sink -u nobody 127.0.0.1:\(port) 10); exec sleep 600"
            try FileManager.default.createDirectory(atPath: folder.file("sink"), withIntermediateDirectories: false)
            let holder = try RunningProcess(executable: "/bin/bash", ["-c", command], log: folder.file("log"))
            try await holder.waitUntilReady("the sink listens") { FreePort.isListening(port) }
            holder.signal(SIGKILL)
            #expect(try await holder.waitForExit() == .signal(SIGKILL))
            try await waitUntil("the sink's end", within: .seconds(30)) { processesSeeing(folder.path) == 0 }
            #expect(!FreePort.isListening(port))
        }
    }

    @Test("a program of ours is started, signalled and killed")
    func ownProgram() async throws {
        let folder = try TemporaryFolder()
        let script = "trap 'echo got TERM; exit 3' TERM; echo ready $WORD; while :; do sleep 0.05; done"
        let process = try RunningProcess(
            executable: "/bin/sh", ["-c", script], environment: ["WORD": "steady"], log: folder.file("log"), workingFolder: folder.path)
        try await process.waitUntilReady("its first line") { process.log == "ready steady\n" }
        #expect(try await process.stop() == .status(3))
        #expect(process.log == "ready steady\ngot TERM\n")
        let second = try RunningProcess(executable: "/bin/sleep", ["600"], log: folder.file("log"))
        second.kill()
        #expect(second.exitIfEnded == .signal(SIGKILL))
        let third = try RunningProcess(executable: "/nonexistent", log: folder.file("log"))
        await #expect(throws: TestFailure.self) { try await third.waitUntilReady("anything") { false } }
    }
}

/// Swaks' options for a PROXY header of version 2 that names 192.0.2.7.
private let proxyOptions = [
    "--proxy-version", "2", "--proxy-family", "AF_INET", "--proxy-protocol", "STREAM", "--proxy-command", "PROXY", "--proxy-source",
    "192.0.2.7", "--proxy-source-port", "4242", "--proxy-dest", "127.0.0.1", "--proxy-dest-port", "25",
]

/// How many processes have a folder mounted, which those of a private root have and no others.
private func processesSeeing(_ folder: String) -> Int {
    let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return processes.filter { name in
        guard Int(name) != nil, let table = FileManager.default.contents(atPath: "/proc/\(name)/mountinfo") else { return false }
        return String(decoding: table, as: UTF8.self).contains(folder)
    }.count
}
