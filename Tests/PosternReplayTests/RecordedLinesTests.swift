import Foundation
import PosternCore
import Testing

@testable import PosternReplay

/// Lines that other parsers are tested with, and the fields that they expect.
@Suite(.enabled(if: TestData.folder != nil))
struct RecordedLinesTests {
    private struct Line {
        var id: String
        var text: String
        var fields: [String: Any]
    }

    private func lines() throws -> [Line] {
        let folder = try #require(TestData.folder)
        let text = try String(contentsOf: folder.appending(path: "maillogs/parser_lines.jsonl"), encoding: .utf8)
        return text.split(separator: "\n").compactMap { line in
            guard let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any], let id = object["id"] as? String,
                let text = object["line"] as? String
            else { return nil }
            return Line(id: id, text: text, fields: object["fields"] as? [String: Any] ?? [:])
        }
    }

    /// What we read of a message, under the names of those who expect it.
    private func read(_ message: String, program: String) -> (event: LogEvent?, fields: [String: String]) {
        let bytes = Array((program + message).utf8)
        func text(_ piece: Piece) -> String { String(decoding: bytes[piece], as: UTF8.self) }
        var fields: [String: String] = [:]
        func add(_ client: LoggedClient) {
            if !client.name.isEmpty { fields["postfix_client_hostname"] = text(client.name) }
            if text(client.address) != "unknown" { fields["postfix_client_ip"] = text(client.address) }
        }
        func add(_ envelope: LoggedEnvelope) {
            if let sender = envelope.sender { fields["from"] = text(sender) }
            if let recipient = envelope.recipient { fields["to"] = text(recipient) }
            if let helo = envelope.helo { fields["helo"] = text(helo) }
        }
        let split = program.utf8.count
        guard case .event(let event) = PostfixMessage.read(bytes.span, program: 0..<split, message: split..<bytes.count) else {
            return (nil, [:])
        }
        switch event {
        case .idle: break
        case .accepted(let queue, let client, _, _):
            fields["postfix_queueid"] = queue.map(text) ?? "NOQUEUE"
            add(client)
        case .refused(let refusal):
            fields["postfix_queueid"] = refusal.queue.map(text) ?? "NOQUEUE"
            fields["postfix_action"] = text(refusal.action)
            fields["postfix_smtp_stage"] = text(refusal.stage)
            if refusal.code > 0 { fields["postfix_status_code"] = String(refusal.code) }
            if !refusal.enhancedCode.isEmpty { fields["postfix_status_code_enhanced"] = text(refusal.enhancedCode) }
            add(refusal.client)
            add(refusal.envelope)
        case .filtered(_, _, let envelope): add(envelope)
        case .envelope(let queue, let envelope):
            if let queue { fields["postfix_queueid"] = text(queue) }
            add(envelope)
        case .messageID(let queue, let id):
            fields["postfix_queueid"] = text(queue)
            fields["postfix_message-id"] = text(id)
        case .queued(let queue, let sender, let size, let count):
            fields = ["postfix_queueid": text(queue), "from": text(sender), "size": String(size), "nrcpt": String(count)]
        case .delivery(let delivery):
            fields = ["postfix_queueid": text(delivery.queue), "to": text(delivery.recipient), "postfix_status": text(delivery.status)]
            fields["relay"] = text(delivery.relay)
            if let original = delivery.original { fields["orig_to"] = text(original) }
        case .removed(let queue): fields["postfix_queueid"] = text(queue)
        case .pickedUp(let queue, let sender): fields = ["postfix_queueid": text(queue), "from": text(sender)]
        case .connected(let client), .disconnected(let client), .violation(_, let client), .screened(_, let client): add(client)
        case .dnsRank(let rank, let client):
            fields["postfix_postscreen_dnsbl_rank"] = String(rank)
            add(client)
        case .listed(let address, let zone, let reply):
            fields = ["postfix_client_ip": text(address), "postfix_dnsbl_domain": text(zone), "postfix_dnsbl_result": text(reply)]
        case .policy(let answer):
            add(answer.client)
            fields["from"] = text(answer.sender)
            fields["to"] = text(answer.recipient)
        case .spf(let answer):
            fields["postfix_client_ip"] = text(answer.address)
            fields["from"] = text(answer.sender)
            fields["helo"] = text(answer.helo)
        }
        return (event, fields)
    }

    /// `from=<a> to=<b>, relay=c` as keys and values.
    private func pairs(_ text: String) -> [String: String] {
        var pairs: [String: String] = [:]
        for match in text.matches(of: /([a-z_]+)=(<[^>]*>|[^ ,]*)/) {
            let value = String(match.2)
            pairs[String(match.1)] = value.hasPrefix("<") ? String(value.dropFirst().dropLast()) : value
        }
        return pairs
    }

    @Test func patternsForLogstash() throws {
        var compared = 0
        var events = 0
        for line in try lines() where line.id.hasPrefix("grok/") {
            let program = "postfix/" + line.id.dropFirst(5).prefix { $0 != "_" }
            let (event, fields) = read(line.text, program: program)
            let matters = [
                "client=", ": reject", "status=", "connect from", "message-id=", "nrcpt=", "PASS ", "DNSBL rank", "PREGREET", "HANGUP",
                "listed by", "NON-SMTP COMMAND", "COMMAND PIPELINING", "BARE NEWLINE", "LISTED", "VETO", "command pipelining",
            ]
            let ours = [
                "smtpd", "smtp_", "postscreen", "cleanup", "qmgr", "dnsblog", "lmtp", "local", "virtual", "pipe", "error", "discard",
            ]
            // The end of a message that is not delivered, and prepended texts, tell nothing of an attempt.
            if matters.contains(where: line.text.contains), ours.contains(where: line.id.dropFirst(5).hasPrefix),
                !line.text.contains("status=expired"),
                !line.text.hasPrefix("warning:"), !line.text.contains("info: header"), !line.text.contains("warning: header")
            {
                #expect(event != nil && event != .idle, "\(line.id): \(line.text)")
            }
            guard let event, event != .idle else { continue }
            events += 1
            var expected: [String: String] = [:]
            for (key, value) in line.fields {
                if key == "postfix_keyvalue_data" {
                    expected.merge(pairs("\(value)")) { mine, _ in mine }
                } else {
                    expected[key] = "\(value)"
                }
            }
            // The status of a queue's own line, and what a proxy said, are named differently there.
            for (key, value) in expected {
                guard let found = fields[key] else { continue }
                compared += 1
                #expect(found == value, "\(line.id) \(key): \(line.text)")
            }
        }
        #expect(events >= 70 && compared >= 260, "\(events) events, \(compared) fields")
    }

    @Test func fieldsForSecurityMonitoring() throws {
        var compared = 0
        for line in try lines() where line.id.hasPrefix("sekoia/") {
            func value(_ path: String) -> Any? {
                var value: Any? = line.fields
                for key in path.split(separator: ".") { value = (value as? [String: Any])?[String(key)] }
                return value
            }
            guard let program = value("log.syslog.appname") as? String, !program.isEmpty else { continue }
            let (event, fields) = read(line.text, program: program)
            guard let event, event != .idle else { continue }
            func compare(_ path: String, _ key: String, ignoring: Set<String> = []) {
                let found = value(path)
                guard let expected = found as? String ?? (found as? [String])?.first, let ours = fields[key], !ignoring.contains(ours)
                else { return }
                compared += 1
                #expect(ours.lowercased() == expected.lowercased(), "\(line.id) \(key): \(line.text)")
            }
            compare("postfix.queue_id.local", "postfix_queueid")
            compare("email.from.address", "from")
            compare("email.to.address", "to")
            compare("source.ip", "postfix_client_ip")
            compare("email.message_id", "postfix_message-id")
        }
        #expect(compared >= 100, "\(compared) fields")
    }

    /// Whole lines with their stamps; years are those of fail2ban's tests.
    @Test func linesForFail2ban() throws {
        var compared = 0
        for line in try lines() where line.id.hasPrefix("fail2ban/postfix") || line.id.hasPrefix("crowdsec/post") {
            var reader = SyslogReader(year: 2005, modified: nil)
            let bytes = Array(line.text.utf8)
            let span = bytes.span
            guard let head = reader.read(span, 0..<bytes.count) else {
                Issue.record("\(line.id): \(line.text)")
                continue
            }
            #expect(span.text(head.program).hasPrefix("postfix"), "\(line.id)")
            if let expected = line.fields["time"] as? String {
                // fail2ban's year hangs on the season in which its tests run.
                func numbers(_ text: String) -> [Int] { text.split { !$0.isNumber }.dropFirst().prefix(5).compactMap { Int($0) } }
                #expect(numbers(head.time.description) == numbers(expected), "\(line.id)")
                compared += 1
            }
            let (event, fields) = read(span.text(head.message), program: span.text(head.program))
            guard let event, event != .idle else { continue }
            if let host = line.fields["host"] as? String, let ours = fields["postfix_client_ip"] {
                compared += 1
                #expect(ours == host, "\(line.id): \(line.text)")
            }
        }
        #expect(compared >= 85, "\(compared) fields")
    }

    /// Logs of other mail servers are no lines of Postfix: counted, nothing made of them.
    @Test func otherServersTellNothing() throws {
        let others = try lines().filter { line in
            ["assp", "courier", "exim", "qmail", "sendmail", "exchange"].contains { line.id.contains("/\($0)") }
        }
        #expect(others.count > 150)
        let found = try readAll(others.map(\.text).joined(separator: "\n"))
        #expect(found.attempts.isEmpty && found.counts.lines > 150)
        #expect(found.problems.count + found.counts.foreignLines <= found.counts.lines)
    }
}
