import PosternCore
import Testing

@testable import SMTPProtocol

/// Commands and PROXY headers collected from other projects' tests, with those projects' decisions.
@Suite("Collected data", .enabled(if: TestData.isPresent))
struct CollectedDataTests {
    private struct CommandLine: Decodable {
        let id: String
        let command: String
        let accept: Bool
    }

    /// Where we decide otherwise, and why. A reason without an entry in the data fails the test, and so does an entry
    /// that we agree with.
    private static let disagreements: [String: String] = {
        var table: [String: String] = [:]
        func because(_ reason: String, _ ids: String...) { for id in ids { table[id] = reason } }
        because("LMTP (RFC 2033) is not spoken", "smtp-proto/4")
        because(
            "ATRN and BURL belong to other services (RFC 2645, RFC 4468)", "smtp-proto/38", "smtp-proto/39", "smtp-proto/40",
            "smtp-proto/42", "smtp-proto/43")
        because(
            "a reverse-path names postmaster only with its domain; the bare form is for RCPT (RFC 5321 §4.1.1.3)", "smtp-proto/50",
            "haraka1869/2")
        because("mailboxes with dots where RFC 5321 §4.1.2 has none exist, and are tolerated", "smtp-proto/55", "smtp-proto/58")
        because("the null path is `<>` without a space (RFC 5321 §4.1.2)", "smtp-proto/51")
        because("a forward-path is never null (RFC 5321 §4.1.1.3)", "smtp-proto/63")
        because("the same, and CONNEG is not offered (RFC 4141)", "smtp-proto/76")
        because(
            "REQUIRETLS, CONPERM, BY, HOLDFOR and HOLDUNTIL, SOLICIT, TRANSID, MTRK are never offered: 555 (RFC 5321 §4.1.1.11)",
            "smtp-proto/75", "smtp-proto/83", "smtp-proto/84", "smtp-proto/85", "smtp-proto/86", "smtp-proto/95", "smtp-proto/119",
            "smtp-proto/120",
            "smtp-proto/122", "smtp-proto/124", "smtp-proto/125")
        because("a parameter stands once (RFC 3461 §4.3, RFC 6152)", "smtp-proto/77", "smtp-proto/113")
        because("RRVS is never offered (RFC 7293)", "smtp-proto/139", "smtp-proto/140", "smtp-proto/141")
        because("there must be a path (RFC 5321 §4.1.1.2)", "haraka1869/1")
        because("a sender has a domain (RFC 5321 §2.3.5)", "haraka1869/3", "haraka1869/4")
        because(
            "parameters that are not known are refused: 555 (RFC 5321 §4.1.1.11)", "haraka1869/7", "haraka1869/8", "haraka1869/11",
            "haraka1869/12", "haraka1869/13")
        because("only postmaster stands without a domain (RFC 5321 §4.1.1.3)", "haraka1869/15")
        return table
    }()

    private func accepts(_ line: String) -> Bool {
        var violations: ViolationSet = []
        return (try? Command.parse(bytes(line), allowUTF8: true, violations: &violations)) != nil
    }

    @Test("single commands: accepted and refused as in the projects they come from, but for the reasons listed")
    func commands() throws {
        let lines = try TestData.lines("smtp/command_syntax.jsonl", as: CommandLine.self)
        #expect(lines.count == 166)
        var differing: Set<String> = []
        for line in lines {
            // UTF-8 needs SMTPUTF8 in MAIL, which single commands of RCPT cannot show; parameters of RCPT are shown there
            // with the null path, which we refuse on its own account: they are tried with a mailbox in its place.
            var command = line.command
            if command.hasPrefix("RCPT TO:<> ") { command = "RCPT TO:<a@b.example> " + command.dropFirst(11) }
            guard accepts(command) != line.accept else { continue }
            differing.insert(line.id)
            #expect(Self.disagreements[line.id] != nil, "\(line.id): \(line.command) was \(line.accept ? "accepted" : "refused") there")
        }
        for id in Self.disagreements.keys { #expect(differing.contains(id), "\(id): we agree after all") }
    }

    private struct HeaderVector: Decodable {
        struct Expectation: Decodable {
            let accept: Bool
            let family: String?
            let src: String?
            let dst: String?
            let sport: String?
            let dport: String?
            let consumed: Int?
        }

        let id: String
        let raw_hex: String
        let expect: Expectation
    }

    @Test("PROXY v1 headers: accepted and refused, and the client seen", arguments: Cut.allCases)
    func proxyHeaders(_ cut: Cut) throws {
        let vectors = try TestData.lines("proxy/v1_vectors.jsonl", as: HeaderVector.self)
        #expect(vectors.count == 35)
        for vector in vectors {
            let digits = Array(vector.raw_hex.utf8)
            let raw = stride(from: 0, to: digits.count, by: 2).map {
                UInt8(String(decoding: digits[$0..<($0 + 2)], as: UTF8.self), radix: 16)!
            }
            let result = ProxyHeaderTests.parse(raw, cut)
            guard vector.expect.accept else {
                if case .success(let parsed) = result { #expect(parsed == nil, "\(vector.id)") }
                if case .success(nil) = result { Issue.record("\(vector.id) waits for more") }
                continue
            }
            guard case .success(let parsed?) = result else {
                Issue.record("\(vector.id) is refused: \(result)")
                continue
            }
            #expect(parsed.length == vector.expect.consumed, "\(vector.id)")
            if vector.expect.src == "None" {
                #expect(parsed.header == .local, "\(vector.id)")
            } else {
                let source = Endpoint(address: IPAddress(vector.expect.src!)!, port: UInt16(vector.expect.sport!)!)
                let destination = Endpoint(address: IPAddress(vector.expect.dst!)!, port: UInt16(vector.expect.dport!)!)
                #expect(parsed.header == .proxied(source: source, destination: destination), "\(vector.id)")
            }
        }
    }

    private struct Transcript: Decodable {
        let id: String
        let transcript: [[String]]
    }

    /// Recorded sessions that show something we do otherwise on purpose, by a part of their name, and why.
    private static let excluded: [(part: String, reason: String)] = [
        ("test_honors_mail_delimiters", "a HELO client that pipelines past DATA is let go"),
        ("TestSMTPAuth", "authentication is not offered"),
        ("TestAuthMechanisms", "authentication is not offered"),
        ("TestAuthenticator", "authentication is not offered"),
        ("TestRequiredAuthentication", "authentication is not required"),
        ("test_help_", "HELP lists all commands, whatever its argument"),
        ("test_unexpected_errors", "an error made by that project's test"),
        ("test_exception_handler_exception", "an error made by that project's test"),
        ("test_process_message_error", "an error made by that project's test"),
        ("test_lmtp", "LMTP is not spoken"),
        ("TestLimits", "the limits on single commands are others"),
    ]

    /// Single replies that differ: the command, and why.
    private static let differing: [(command: String, reason: String)] = [
        ("MAIL FROM:(comment)anne@example.com", "RFC 5321 §4.1.2 has no comments"),
        ("MAIL FROM:anne@machine(comment).  example", "RFC 5321 §4.1.2 has no comments"),
        ("RCPT TO: anne(comment)@example.com", "RFC 5321 §4.1.2 has no comments"),
        ("RCPT TO: anne@example.com(comment)", "RFC 5321 §4.1.2 has no comments"),
        (
            "RCPT TO: very.\"(),:;<>[]\".VERY.\"very@\\ \"very.unusual@strange.example.com",
            "a local part is a dot-string or a quoted string, not both"
        ),
        ("RCPT TO: Joe.\\\\Blow@example.com", "a backslash quotes only within quotes"),
        ("MAIL FROM:anne@[IPv6::1]", "`:1` is no IPv6 address"),
        ("MAIL FROM:much.\"more\\ unusual\"@example.com", "a local part is a dot-string or a quoted string, not both"),
        ("MAIL FROM:Fred\\ Bloggs@example.com", "a backslash quotes only within quotes"),
    ]

    @Test("recorded sessions: the first digit of each reply")
    func transcripts() throws {
        let transcripts = try TestData.lines("smtp/aiosmtpd_transcripts_half.jsonl", as: Transcript.self)
        #expect(transcripts.count == 141)
        var compared = 0
        var used: Set<String> = []
        for transcript in transcripts {
            if let entry = Self.excluded.first(where: { transcript.id.contains($0.part) }) {
                used.insert(entry.part)
                continue
            }
            compared += replay(transcript.id, transcript.transcript, &used)
        }
        #expect(compared > 300)
        for entry in Self.excluded { #expect(used.contains(entry.part), "\(entry.part) excludes nothing") }
        for entry in Self.differing { #expect(used.contains(entry.command), "\(entry.command) does not occur") }
    }

    private func replay(_ id: String, _ events: [[String]], _ used: inout Set<String>) -> Int {
        let replies = events.filter { $0[0] == "S" }.flatMap { $0[1].split(separator: "\r\n") }
        var settings = ServerSettings(hostname: "localhost")
        // What that session was offered.
        for reply in replies where reply.hasPrefix("250") {
            let keyword = reply.dropFirst(4)
            if keyword.hasPrefix("SIZE ") { settings.extensions.size = UInt64(keyword.dropFirst(5)) }
            if keyword == "SMTPUTF8" { settings.extensions.smtpUTF8 = true }
            if keyword == "8BITMIME" { settings.extensions.eightBitMIME = true }
        }
        var runner = ServerRunner(settings: settings)
        runner.connect()
        var compared = 0
        var command = ""
        for event in events {
            switch event[0] {
            case "C":
                command = event[1]
                // Octets above 127 were recorded as the characters of the same number.
                runner.send(
                    command.unicodeScalars.allSatisfy { $0.value < 256 } ? command.unicodeScalars.map { UInt8($0.value) } : bytes(command))
            case "S":
                let expected = event[1].components("\r\n").filter {
                    $0.utf8.count > 3 && !$0.utf8.dropFirst(3).starts(with: [UInt8(ascii: "-")])
                }
                let got = runner.takeReplies()
                let trimmed = String(command.split(separator: "\r\n").first ?? "")
                if let entry = Self.differing.first(where: { $0.command == trimmed }) {
                    used.insert(entry.command)
                    #expect(
                        got.first?.severity != expected.first.flatMap { UInt16($0.prefix(1)) }, "\(id): we agree after all on \(trimmed)")
                    continue
                }
                // A local part over our own limit of 256 octets, where RFC 5321 §4.5.3.1.1 has 64 and that server none.
                if trimmed.utf8.count > 270 { continue }
                if Self.isSpecial(id, command) { continue }
                compared += expected.count
                #expect(
                    got.map { String($0.severity) } == expected.map { String($0.prefix(1)) },
                    "\(id): after \(shown(bytes(command)).prefix(60)): \(got)")
            default: break
            }
        }
        return compared
    }

    private struct RecordedLine: Decodable {
        let k: String
        let `case`: String
        let d: String?
        let t: String?
    }

    @Test("sessions recorded with a real Postfix behind XCLIENT: the first digit of each reply", arguments: Cut.allCases)
    func postfixSessions(_ cut: Cut) throws {
        let lines = try TestData.lines("policy/postfix3711_20_sessions.jsonl", as: RecordedLine.self).filter { $0.k == "smtp" }
        var generator = SeededGenerator(seed: 21)
        var settings = ServerSettings(hostname: "mx.holdout.example", extensions: Extensions(pipelining: true, size: 0))
        settings.extensions.xclient = Set(XClientAttributes.Name.allCases)
        var compared = 0
        for (name, session) in Dictionary(grouping: lines, by: \.case) {
            var runner = ServerRunner(settings: settings)
            runner.connect()
            var command = ""
            for (index, line) in session.enumerated() {
                guard let text = line.t else { continue }
                if line.d == "S" {
                    guard text != "<EOF>" else { break }
                    let got = runner.takeReplies()
                    #expect(got.map { String($0.severity) } == [String(text.prefix(1))], "\(name): after \(command): \(got)")
                    compared += 1
                    // It refuses the content that comes all the same as "rules broken"; we as unknown commands.
                    if command == "DATA", text.hasPrefix("5") { break }
                } else {
                    command = text
                    let answer = index + 1 < session.count ? session[index + 1].t ?? "" : ""
                    if command.hasPrefix("RCPT"), answer.hasPrefix("4") {
                        runner.decisions["rcpt"] = [.defer(Reply(451, "4.7.1", "Later"))]
                    } else if command.hasPrefix("RCPT"), answer.hasPrefix("5") {
                        runner.decisions["rcpt"] = [.reject(Reply(554, "5.7.1", "No"))]
                    }
                    for piece in cut.pieces(bytes(text + "\r\n"), &generator) { runner.send(piece) }
                }
            }
            #expect(runner.clients.count == 1, "\(name)")
            #expect(runner.takeViolations().allSatisfy { $0 == .heloSyntax }, "\(name)")
        }
        #expect(compared > 120)
    }

    /// Replies of whole tests that differ, and why.
    private static func isSpecial(_ id: String, _ command: String) -> Bool {
        // Content lines over 1,000 octets are left to the backend.
        if id.contains("long_line") || id.contains("too_long_line") { return command.hasPrefix("zzzz") || command.hasPrefix("aaaa") }
        // That server was set to refuse octets above 127 in content.
        if id.contains("TestStrictASCII::test_data") { return command.hasPrefix("From:") }
        // A local part of more than 64 octets is let through up to a limit of our own; that server was set to 64.
        if id.contains("test_limitlocalpart") { return command.hasPrefix("RCPT") }
        // Octets above 127 are refused without SMTPUTF8 in MAIL; that server was set to let them pass.
        if id.contains("test_bad_encodings") { return !command.hasPrefix("h") && !command.hasPrefix("e") }
        return false
    }
}

extension String {
    fileprivate func components(_ separator: String) -> [String] { split(separator: separator).map(String.init) }
}
