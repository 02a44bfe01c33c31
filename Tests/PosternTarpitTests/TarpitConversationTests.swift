import PosternCore
import Testing

@testable import PosternTarpit

@Suite("What a tarpit says")
struct TarpitConversationTests {
    private let script: TarpitScript
    private var entry: TarpitEntry

    init() {
        var random = Seeded(state: 5)
        script = TarpitScript(hostname: "mx9.example.net", random: &random)
        entry = TarpitEntry(IPAddress(v4: 1), descriptor: 3, source: 0, generation: 0, connected: 0, heldUntil: 100)
    }

    private mutating func hear(_ text: String) {
        Array(text.utf8).withUnsafeBytes { entry.received($0) }
    }

    /// What is said until it waits, or as much of it as is asked for.
    private mutating func say(_ limit: Int = 100_000) -> (text: String, last: TarpitMove) {
        var octets: [UInt8] = []
        while true {
            let move = entry.next(script, greetingPace: 2, pace: 9)
            guard case .send(let position, _) = move, octets.count < limit else { return (String(decoding: octets, as: UTF8.self), move) }
            octets.append(script.octets[position])
        }
    }

    @Test mutating func greetsAndWaits() {
        #expect(entry.next(script, greetingPace: 2, pace: 9) == .send(0, pause: 2))
        let (text, last) = say()
        #expect("2" + text == "220 mx9.example.net ESMTP\r\n")
        #expect(last == .wait)
        #expect(entry.stage == .awaiting)
    }

    @Test(arguments: ["EHLO bot.example\r\n", "HELO bot\r\n", "ehlo x\n", "helo\r\n", "EHLO\n", "EHLO a\r\nMAIL FROM:<a@b.c>\r\n"])
    mutating func helloIsAnsweredForEver(line: String) {
        _ = say()
        hear(line)
        #expect(entry.heard == .hello)
        let lines = say(200_000).text.split(separator: "\r\n")
        #expect(lines.first == "250-mx9.example.net")
        #expect(lines.dropLast().allSatisfy { $0.hasPrefix("250-") && $0.count < 100 }, "no line ends the reply (RFC 5321 §4.2.1)")
        #expect(lines.filter { $0 == "250-mx9.example.net" }.count == 1)
        #expect(lines.filter { $0 == "250-PIPELINING" }.count > 10, "behind the last keyword it goes on with the first")
        #expect(entry.next(script, greetingPace: 2, pace: 9) != .wait)
    }

    @Test(arguments: [
        "MAIL FROM:<a@b.example>\r\n", "GET / HTTP/1.1\r\n", "\r\n", "HELOO x\r\n", "EHL\r\n", "HEL O\r\n", "\u{16}\u{3}\u{1}\n",
        "RSET\r\n", "EHLO" + String(repeating: "x", count: 600),
    ])
    mutating func anythingElseIsAnswered503ForEver(line: String) {
        _ = say()
        hear(line)
        #expect(entry.heard == .other)
        let lines = say(5000).text.split(separator: "\r\n")
        #expect(lines.count > 100 && lines.dropLast().allSatisfy { $0 == "503-5.5.1 Please say EHLO first" })
    }

    @Test mutating func quitIsAnsweredAndEnds() {
        _ = say()
        hear("quit\r\n")
        #expect(say().last == .sayGoodbye(Array("221 2.0.0 mx9.example.net closing connection\r\n".utf8)))
        #expect(entry.stage == .leaving)
    }

    @Test mutating func aLineMayComeInPiecesAndBeforeTheGreeting() {
        for piece in ["E", "hL", "O bot", ".example\r"] { hear(piece) }
        #expect(entry.heard == .nothing)
        hear("\n")
        #expect(entry.heard == .hello)
        let text = say(60).text
        #expect(text.hasPrefix("220 mx9.example.net ESMTP\r\n250-mx9.example.net\r\n"))
    }

    @Test mutating func whatFollowsTheFirstLineIsNotLookedAt() {
        hear("EHLO a\r\n")
        let before = entry
        hear("QUIT\r\nMAIL FROM:<x@y.example>\r\n")
        #expect(entry.heard == before.heard && entry.verb == 0 && entry.lineLength == 0)
    }

    @Test mutating func nothingOfTheLineIsKept() {
        hear("EHLO secret-name.example\r\n")
        #expect(entry.verb == 0 && entry.lineLength == 0)
    }

    @Test func theRestOfALineEndsIt() {
        #expect(script.restOfLine(at: 0).isEmpty)
        #expect(String(decoding: script.restOfLine(at: 4), as: UTF8.self) == "mx9.example.net ESMTP\r\n")
        #expect(script.restOfLine(at: script.hello).isEmpty && script.restOfLine(at: script.keywords).isEmpty)
        #expect(script.restOfLine(at: script.octets.count).isEmpty)
        for position in 0..<script.octets.count {
            let rest = script.restOfLine(at: position)
            #expect(rest.isEmpty ? position == 0 || script.octets[position - 1] == 10 : rest.last == 10)
        }
    }

    @Test func theTextDiffersFromStartToStartAndFitsItsPosition() {
        var random = Seeded(state: 6)
        #expect(TarpitScript(hostname: "mx9.example.net", random: &random).octets != script.octets)
        let longest = TarpitScript(hostname: String(repeating: "x", count: 253), random: &random)
        #expect(longest.octets.count <= Int(UInt16.max))
    }
}
