import Testing

@testable import SMTPProtocol

@Suite("Replies")
struct ReplyTests {
    @Test("replies of our own are encoded, with the enhanced code on each line")
    func encode() {
        #expect(text(Reply(250, "2.0.0", "Ok").wire) == "250 2.0.0 Ok\r\n")
        #expect(text(Reply(250, nil, texts: ["mx", "SIZE 10", "DSN"]).wire) == "250-mx\r\n250-SIZE 10\r\n250 DSN\r\n")
        #expect(text(Reply(451, "4.7.1", "one", "two").wire) == "451-4.7.1 one\r\n451 4.7.1 two\r\n")
        #expect(text(Reply(354, nil, texts: []).wire) == "354\r\n")
    }

    @Test("text from elsewhere cannot break a reply")
    func safe() {
        let reply = Reply(550, "5.7.1", "a\r\n250 fine\0\u{e9}\u{7f}")
        #expect(text(reply.wire) == "550 5.7.1 a??250 fine????\r\n")
        let long = Reply(550, "5.7.1", String(repeating: "x", count: 1000))
        #expect(long.wire.count == Reply.longestLine - 2 || long.wire.count == Reply.longestLine)
        #expect(long.wire.count <= Reply.longestLine)
    }

    @Test("enhanced codes are read where they fit the reply")
    func enhanced() {
        func enhancedCode(_ wire: String) throws -> EnhancedCode? { try decodeAll(bytes(wire), .whole, seed: 0)[0].enhancedCode }
        #expect(try! enhancedCode("451 4.7.1 Later\r\n") == "4.7.1")
        #expect(try! enhancedCode("550 5.1.10\r\n") == "5.1.10")
        #expect(try! enhancedCode("550 4.1.1 of another class\r\n") == nil)
        #expect(try! enhancedCode("550 5.1.1234 x\r\n") == nil)
        #expect(try! enhancedCode("550 5.1 x\r\n") == nil)
        #expect(try! enhancedCode("550 5.1.1.1 x\r\n") == nil)
        #expect(try! enhancedCode("550 no\r\n") == nil)
        #expect(try! decodeAll(bytes("550 5.1.1 No such user\r\n"), .whole, seed: 0)[0].text == "No such user")
        #expect(Reply(550, "5.1.1", "x").namesUnknownMailbox)
        #expect(!Reply(550, "5.7.1", "x").namesUnknownMailbox)
        #expect(Reply(550, nil, "x").namesUnknownMailbox)
        #expect(!Reply(450, "4.1.1", "x").namesUnknownMailbox)
    }

    private func decodeAll(
        _ wire: [UInt8], _ cut: Cut, seed: UInt64, limits: ReplyDecoder.Limits = ReplyDecoder.Limits()
    ) throws(ReplyFlaw) -> [Reply] {
        var generator = SeededGenerator(seed: seed)
        var decoder = ReplyDecoder(limits: limits)
        var replies: [Reply] = []
        for piece in cut.pieces(wire, &generator) {
            var flaw: ReplyFlaw?
            piece.withUnsafeBytes { input in
                var position = 0
                do throws(ReplyFlaw) {
                    while position < input.count {
                        if let reply = try decoder.decode(input, at: &position) { replies.append(reply) }
                    }
                } catch {
                    flaw = error
                }
            }
            if let flaw { throw flaw }
        }
        #expect(decoder.isEmpty)
        return replies
    }

    @Test("replies are decoded word for word, however they are cut", arguments: Cut.allCases)
    func decode(_ cut: Cut) throws {
        let wires = [
            "220 mx.example.org ESMTP\r\n", "250-mx\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n", "250\r\n", "250-a\r\n250-\r\n250 b\r\n",
            "550 5.1.1 \u{e4}\u{1f600} \ttab\r\n", "354 go\r\n", "599 z\r\n",
        ]
        let replies = try decodeAll(bytes(wires.joined()), cut, seed: 1)
        #expect(replies.map { text($0.wire) } == wires)
        // Not UTF-8, and still the same octets.
        let raw: [UInt8] = bytes("451 ") + [0xff, 0xfe] + bytes("\r\n")
        #expect(try decodeAll(raw, cut, seed: 2)[0].wire == raw)
    }

    @Test("what is no reply is said to be none", arguments: Cut.allCases)
    func flaws(_ cut: Cut) {
        let cases: [(String, ReplyFlaw)] = [
            ("hello\r\n", .notAReply), ("\r\n", .notAReply), ("25\r\n", .notAReply), ("250x\r\n", .notAReply), ("199 x\r\n", .notAReply),
            ("600 x\r\n", .notAReply), ("2a0 x\r\n", .notAReply), ("250-a\r\n251 b\r\n", .codesDiffer), ("250 a\n", .badLineEnd),
            ("250 a\rb\r\n", .badLineEnd), ("250 a\0\r\n", .badLineEnd),
            ("250 " + String(repeating: "x", count: 30) + "\r\n", .lineTooLong),
            ("250-a\r\n250-b\r\n250-c\r\n250 d\r\n", .tooManyLines),
        ]
        for (wire, flaw) in cases {
            #expect(throws: flaw, "\(shown(bytes(wire)))") {
                try decodeAll(bytes(wire), cut, seed: 3, limits: ReplyDecoder.Limits(line: 20, lines: 3))
            }
        }
        // At the limits, and not over.
        #expect(throws: Never.self) {
            try decodeAll(
                bytes("250-" + String(repeating: "x", count: 16) + "\r\n250-b\r\n250 c\r\n"), cut, seed: 3,
                limits: .init(line: 20, lines: 3))
        }
    }
}

@Suite("Command lines")
struct LineDecoderTests {
    private struct Seen: Equatable {
        var outcomes: [LineDecoder.Outcome] = []
        var lines: [String] = []
        var flaws: [Violation] = []
    }

    private func decode(_ wire: [UInt8], _ cut: Cut, limits: LineDecoder.Limits = LineDecoder.Limits()) -> Seen {
        var generator = SeededGenerator(seed: 4)
        var decoder = LineDecoder(limits: limits)
        var seen = Seen()
        for piece in cut.pieces(wire, &generator) {
            piece.withUnsafeBytes { input in
                var position = 0
                while position < input.count {
                    let outcome = decoder.decode(input, at: &position)
                    seen.flaws += decoder.takeFlaws().members
                    guard outcome != .needsMore else { continue }
                    seen.outcomes.append(outcome)
                    seen.lines.append(outcome == .line ? text(decoder.line) : "")
                    #expect(decoder.isAtLineStart)
                }
                #expect(decoder.line.count <= limits.envelope)
            }
        }
        return seen
    }

    @Test("only CRLF ends a line", arguments: Cut.allCases)
    func lines(_ cut: Cut) {
        #expect(
            decode(bytes("EHLO a\r\n\r\n \tb\t\r\nQUIT\r\nrest"), cut)
                == Seen(outcomes: [.line, .line, .line, .line], lines: ["EHLO a", "", " \tb\t", "QUIT"]))
        #expect(decode(bytes("HELO a\nMAIL\r\nRSET\r\n"), cut) == Seen(outcomes: [.flawed, .line], lines: ["", "RSET"], flaws: [.bareLF]))
        #expect(decode(bytes("HELO\ra\r\r\nRSET\r\n"), cut) == Seen(outcomes: [.flawed, .line], lines: ["", "RSET"], flaws: [.bareCR]))
        #expect(
            decode(bytes("\n\r\nA\0\0B\r\nC\r\n"), cut)
                == Seen(outcomes: [.flawed, .flawed, .line], lines: ["", "", "C"], flaws: [.bareLF, .nul]))
    }

    @Test("a bare line feed is told at once, before the line has ended")
    func earlyFlaw() {
        var decoder = LineDecoder()
        bytes("HELO a\n").withUnsafeBytes { input in
            var position = 0
            #expect(decoder.decode(input, at: &position) == .needsMore)
            #expect(decoder.takeFlaws() == .bareLF)
            #expect(decoder.takeFlaws() == [])
            #expect(!decoder.isAtLineStart)
        }
    }

    @Test("the limits of RFC 5321 §4.5.3.1.4 hold to the octet", arguments: Cut.allCases)
    func limits(_ cut: Cut) {
        func line(_ verb: String, _ count: Int) -> [UInt8] {
            bytes(verb + String(repeating: "x", count: count - verb.utf8.count - 2) + "\r\n")
        }
        let next = bytes("NOOP\r\n")
        #expect(decode(line("NOOP ", 512) + next, cut).outcomes == [.line, .line])
        #expect(decode(line("NOOP ", 513) + next, cut).outcomes == [.tooLong, .line])
        #expect(decode(line("mail FROM:", 2048) + next, cut).outcomes == [.line, .line])
        #expect(decode(line("MAIL FROM:", 2049) + next, cut).outcomes == [.tooLong, .line])
        #expect(decode(line("RCPT TO:", 100_000) + next, cut).outcomes == [.tooLong, .line])
        #expect(decode(line("AUTH PLAIN ", 513) + next, cut).outcomes == [.tooLong, .line])
        var offered = LineDecoder.Limits()
        offered.authentication = 12_288
        var generator = SeededGenerator(seed: 4)
        var decoder = LineDecoder(limits: offered)
        for piece in cut.pieces(line("AUTH PLAIN ", 12_288), &generator) {
            piece.withUnsafeBytes { input in
                var position = 0
                #expect(decoder.decode(input, at: &position) != .tooLong)
            }
        }
    }
}

@Suite("xtext")
struct XTextTests {
    @Test("decodes and encodes (RFC 3461 §4)")
    func xtext() {
        #expect(XText.decode(bytes("hi+20there")).map(text) == "hi there")
        #expect(XText.decode(bytes("a+2Bb+3D+3d")).map(text) == "a+b==")
        #expect(XText.decode(bytes("+00")) == [0])
        for bad in ["a+2", "a+", "a+G0", "a=b", "a b", "\u{e9}", "a\u{7f}"] { #expect(XText.decode(bytes(bad)) == nil, "\(bad)") }
        let all = (0...255).map { UInt8($0) }
        #expect(XText.decode(XText.encode(all)) == all)
        #expect(text(XText.encode(bytes("a b+c=d\u{7f}"))) == "a+20b+2Bc+3Dd+7F")
    }
}
