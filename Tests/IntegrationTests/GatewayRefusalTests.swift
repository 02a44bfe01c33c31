import Foundation
import IntegrationSupport
import SMTPProtocol
import Testing

@testable import PosternServer

/// Real mail servers that refuse: each at every stage, for reasons that lie in the client, its name, or the envelope. Their
/// words are the client's answer.
@Suite("gateway in front of servers that refuse", .serialized, .servers("postfix", "exim4", "opensmtpd"))
struct GatewayRefusalTests {
    /// Clients that the backend does not talk to: for good, and for now.
    private static let refused = "127.0.0.11"
    private static let deferred = "127.0.0.12"
    private static let content = "Subject: s\r\nFrom: <alice@sender.test>\r\n\r\nx\r\n."

    enum Server: String, CaseIterable, CustomTestStringConvertible {
        case postfix
        case exim
        case openSMTPD

        var testDescription: String { rawValue }
        var information: BackendSettings.ClientInformation { self == .postfix ? .xclient : .proxyV2 }

        func start() async throws -> RealBackend.Running {
            switch self {
            case .postfix:
                let server = try await PostfixServer.start(
                    .init(
                        clientInformation: .xclient,
                        extraMain: [
                            "smtpd_delay_reject = no",
                            "smtpd_client_restrictions = check_client_access inline:{ { \(refused) = 554 5.7.1 not you }, { \(deferred) = 421 4.7.0 not now } }",
                            "smtpd_helo_restrictions = check_helo_access inline:{ { bad.sender.test = 550 5.7.1 bad name } }",
                            "smtpd_sender_restrictions = check_sender_access inline:{ { mail@refused.test = 550 5.7.1 not your mail } }",
                            "smtpd_recipient_restrictions = check_recipient_access inline:{ { busy@example.test = 450 4.2.1 box is busy } }, reject_unauth_destination",
                            "smtpd_data_restrictions = check_sender_access inline:{ { data@refused.test = 451 4.7.1 no data now } }",
                            "smtpd_end_of_data_restrictions = check_sender_access inline:{ { dot@refused.test = 554 5.7.1 bad content } }",
                        ]))
                return .init(
                    port: server.port, mailbox: server.mailbox, log: { server.log }, kill: { try server.kill() },
                    start: { try await server.start() })
            case .exim:
                func verdict(_ verb: String, _ variable: String, _ value: String, _ message: String) -> String {
                    "  \(verb)\n    condition = ${if eq{$\(variable)}{\(value)}}\n    message = \(message)\n"
                }
                let server = try await EximServer.start(
                    .init(
                        mailStatements: verdict("deny", "sender_address", "mail@refused.test", "5.7.1 not your mail"),
                        recipientStatements: verdict("defer", "local_part", "busy", "4.2.1 box is busy"),
                        dataStatements: verdict("deny", "sender_address", "dot@refused.test", "5.7.1 bad content"),
                        expectsProxyHeader: true,
                        extraMain: [
                            "acl_smtp_connect = at_connect", "acl_smtp_helo = at_helo", "acl_smtp_predata = at_predata",
                        ],
                        extraACLs: """
                            at_connect:
                            \(verdict("deny", "sender_host_address", refused, "5.7.1 not you"))
                            \(verdict("defer", "sender_host_address", deferred, "4.7.0 not now"))
                              accept
                            at_helo:
                            \(verdict("deny", "sender_helo_name", "bad.sender.test", "5.7.1 bad name"))
                              accept
                            at_predata:
                            \(verdict("defer", "sender_address", "data@refused.test", "4.7.1 no data now"))
                              accept
                            """))
                return .init(
                    port: server.port, mailbox: server.mailbox, log: { server.log }, kill: { try server.kill() },
                    start: { try await server.start() })
            case .openSMTPD:
                let server = try await OpenSMTPDServer.start(
                    .init(
                        expectsProxyHeader: true, extraListen: "filter \"all\"",
                        extra: [
                            "filter \"refused\" phase connect match src { \(refused) } disconnect \"554 5.7.1 not you\"",
                            "filter \"deferred\" phase connect match src { \(deferred) } disconnect \"421 4.7.0 not now\"",
                            "filter \"helo\" phase ehlo match helo { \"bad.sender.test\" } reject \"550 5.7.1 bad name\"",
                            "filter \"mail\" phase mail-from match mail-from { \"mail@refused.test\" } reject \"550 5.7.1 not your mail\"",
                            "filter \"rcpt\" phase rcpt-to match rcpt-to { \"busy@example.test\" } reject \"450 4.2.1 box is busy\"",
                            "filter \"data\" phase data match mail-from { \"data@refused.test\" } reject \"451 4.7.1 no data now\"",
                            "filter \"dot\" phase commit match mail-from { \"dot@refused.test\" } reject \"554 5.7.1 bad content\"",
                            "filter \"all\" chain { \"refused\", \"deferred\", \"helo\", \"mail\", \"rcpt\", \"data\", \"dot\" }",
                        ]))
                return .init(
                    port: server.port, mailbox: server.mailbox, log: { server.log }, kill: { try server.kill() },
                    start: { try await server.start() })
            }
        }
    }

    @Test("at the greeting, EHLO, MAIL, RCPT, DATA and the final dot; others' mail passes all the while", arguments: Server.allCases)
    func atEachStage(server: Server) async throws {
        let backend = try await server.start()
        let gateway = try await GatewayUnderTest(backend: backend.port, server.information)
        /// The answer to the first step that is refused.
        func refusal(
            from sender: String = "alice@sender.test", to recipient: String = "bob@example.test", helo: String = "mail.sender.test",
            source: String = "127.0.0.9"
        ) async throws -> (step: String, reply: String) {
            let dialogue = try await Dialogue.open(port: gateway.port, source: source)
            defer { Task { await dialogue.close() } }
            for command in ["EHLO \(helo)", "MAIL FROM:<\(sender)>", "RCPT TO:<\(recipient)>", "DATA", Self.content] {
                let reply = await dialogue.ask(command)
                if !reply.hasPrefix("2"), !reply.hasPrefix("354") { return (String(command.prefix(4)), reply) }
            }
            return ("", "")
        }
        // What a client's address brings about is told in reply to RCPT: only there is the backend asked.
        var answer = try await refusal(source: Self.refused)
        #expect(answer.step == "RCPT" && answer.reply.hasPrefix("55") && answer.reply.contains("not you"), "\(answer)\n\(backend.log())")
        // More often than would take an ill backend out.
        for _ in 0..<4 {
            answer = try await refusal(source: Self.deferred)
            #expect(answer.step == "RCPT" && answer.reply.hasPrefix("451"), "\(answer)")
        }
        answer = try await refusal(helo: "bad.sender.test")
        #expect(answer.step == "RCPT" && answer.reply.hasPrefix("550") && answer.reply.contains("bad name"), "\(answer)\n\(backend.log())")
        answer = try await refusal(from: "mail@refused.test")
        #expect(answer.step == "RCPT" && answer.reply.hasPrefix("550") && answer.reply.contains("not your mail"), "\(answer)")
        answer = try await refusal(to: "busy@example.test")
        #expect(answer.step == "RCPT" && answer.reply.hasPrefix("45") && answer.reply.contains("box is busy"), "\(answer)")
        answer = try await refusal(from: "data@refused.test")
        #expect(answer.step == "DATA" && answer.reply.hasPrefix("451") && answer.reply.contains("no data now"), "\(answer)")
        answer = try await refusal(from: "dot@refused.test")
        #expect(
            answer.step == "Subj" && answer.reply.hasPrefix("55") && answer.reply.contains("bad content"), "\(answer)\n\(backend.log())")
        answer = try await refusal()
        #expect(answer.step == "", "\(answer)")
        #expect(try await backend.mailbox.waitForMessages(1).count == 1)
        #expect(gateway.backendsOut == 0, "what is said of a client says nothing of the backend")
        await gateway.stop()
    }

    @Test("a server that is not there defers, and its last offers stay", arguments: Server.allCases)
    func absent(server: Server) async throws {
        let backend = try await server.start()
        let gateway = try await GatewayUnderTest(backend: backend.port, server.information)
        try await gateway.waitUntilLearnt()
        try backend.kill()
        let dialogue = try await Dialogue.open(port: gateway.port, source: "127.0.0.9")
        var answer = ""
        #expect(await dialogue.ask("EHLO mail.sender.test").contains("8BITMIME"))
        answer = await dialogue.ask("MAIL FROM:<alice@sender.test> BODY=8BITMIME")
        #expect(answer.hasPrefix("250"), "\(answer)")
        answer = await dialogue.ask("RCPT TO:<bob@example.test>")
        #expect(answer.hasPrefix("451"), "\(answer)")
        // The transaction is over for the client, too: what could not be said of one recipient is not said of the next.
        answer = await dialogue.ask("DATA")
        #expect(answer.hasPrefix("451"), "\(answer)")
        try await backend.start()
        for (command, code) in [
            ("RSET", "250"), ("MAIL FROM:<alice@sender.test> BODY=8BITMIME", "250"), ("RCPT TO:<bob@example.test>", "250"), ("DATA", "354"),
            ("Subject: later\r\n\r\nx\r\n.", "250"),
        ] {
            answer = await dialogue.ask(command)
            try #require(answer.hasPrefix(code), "\(command): \(answer)\n\(backend.log())")
        }
        _ = try await backend.mailbox.waitForMessages(1)
        await gateway.stop()
    }
}
