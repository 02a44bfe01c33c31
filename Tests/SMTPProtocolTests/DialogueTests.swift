import Foundation
import SMTPProtocol
import Testing

/// Dialogues written down as files: see `Dialogues/README.txt` for the form.
@Suite("Dialogues")
struct DialogueTests {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Dialogues")

    static let names: [String] = {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return all.filter { $0.hasSuffix(".dialogue") }.sorted()
    }()

    @Test("the dialogues are there")
    func present() {
        #expect(Self.names.count >= 20)
    }

    @Test("goes as written", arguments: names, [Cut.whole, .bytes])
    func dialogue(_ name: String, _ cut: Cut) throws {
        let content = try String(contentsOf: Self.folder.appendingPathComponent(name), encoding: .utf8)
        var script = Script(name: name, cut: cut)
        for (number, line) in content.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            script.perform(String(line), number + 1)
            if script.isSkipped { return }
        }
        script.finish()
    }
}

private struct Script {
    let name: String
    let cut: Cut
    var settings = ServerSettings(
        hostname: "mx.example",
        extensions: Extensions(
            pipelining: true, size: 0, eightBitMIME: true, smtpUTF8: true, dsn: true, enhancedStatusCodes: true, chunking: true))
    var runner: ServerRunner?
    var ready: [String] = []
    var group: [UInt8] = []
    var isSkipped = false
    var isSecured = false

    mutating func perform(_ line: String, _ number: Int) {
        guard !line.isEmpty, !line.hasPrefix("#") else { return }
        let place = "\(name):\(number) \(cut)"
        let words = line.split(separator: " ", maxSplits: 1).map(String.init)
        let rest = words.count > 1 ? words[1] : ""
        switch words[0] {
        case "set": set(rest, place)
        case "decide": decide(rest, place)
        case "backend": backend(rest, place)
        case "connect": start()
        case "C+":
            group += bytes(rest) + [13, 10]
        case "C:":
            send(group + bytes(rest) + [13, 10])
        case "C=":
            send(group + unescaped(rest))
        case "S:":
            if runner == nil { start() }
            gather()
            guard !ready.isEmpty else {
                Issue.record("\(place): nothing was said, not “\(rest)”")
                return
            }
            #expect(ready.removeFirst() == rest, "\(place)")
        case "silence":
            gather()
            #expect(ready == [], "\(place)")
        case "V:":
            if runner == nil { start() }
            let expected = rest.split(separator: " ").map(String.init)
            #expect(runner!.takeViolations().map { "\($0)" } == expected, "\(place)")
        case "M:": #expect(shown(runner!.takeContent()) == shown(unescaped(rest)), "\(place)")
        case "T:": #expect(runner!.takeEnds().map { "\($0)" } == rest.split(separator: " ").map(String.init), "\(place)")
        case "abandoned": #expect(runner!.takeAbandoned() == 1, "\(place)")
        case "closed": #expect(runner!.isClosed && runner!.session.hasEnded, "\(place)")
        case "open": #expect(!runner!.isClosed, "\(place)")
        case "tls":
            #expect(runner!.wantsTLS, "\(place)")
            if runner!.wantsTLS { runner!.tlsEstablished() }
        case "L:":
            let given = runner!.takeCredentials().map { "\($0.name) \($0.password.withUnsafeBytes { text(Array($0)) })" }
            #expect(given.joined(separator: ", ") == rest, "\(place)")
        case "log-in-lost": runner!.event { $0.accountLost(into: &$1) }
        case "hold": hold(rest)
        case "release": runner!.release(rest)
        case "shed": runner!.event { $0.shed(into: &$1) }
        case "drain": runner!.event { $0.shuttingDown(into: &$1) }
        case "last-call": runner!.event { $0.lastCall(into: &$1) }
        case "gone": runner!.event { $0.closed(into: &$1) }
        case "timeout":
            let deadlines: [String: ServerDeadline] = ["command": .command, "content": .content, "handshake": .handshake]
            guard let deadline = deadlines[rest] else {
                Issue.record("\(place): no such deadline")
                return
            }
            runner!.event { $0.timerFired(deadline, into: &$1) }
        case "session-timeout": runner!.event { $0.sessionTimedOut(into: &$1) }
        case "lost":
            let reply = Self.reply(rest)
            runner!.event { $0.backendFailed(reply, into: &$1) }
        case "client":
            #expect(runner!.clients.last.map { "\($0.address?.value.map { "\($0)" } ?? "-") \($0.helo?.value ?? "-")" } == rest, "\(place)")
        default: Issue.record("\(place): “\(words[0])” is no directive")
        }
    }

    mutating func finish() {
        gather()
        #expect(ready == [], "\(name) \(cut): more was said")
        #expect(runner?.takeViolations() == [], "\(name) \(cut): more was broken")
        #expect(runner?.takeAbandoned() == 0, "\(name) \(cut)")
        #expect(runner?.takeCredentials() == [], "\(name) \(cut)")
    }

    private mutating func start() {
        guard runner == nil else { return }
        var fresh = ServerRunner(settings: settings, isSecured: isSecured)
        fresh.decisions = decisions
        fresh.backend = replies
        fresh.held = holds
        fresh.connect()
        runner = fresh
    }

    private var decisions: [String: [Decision]] = [:]
    private var replies: [String: [Reply]] = [:]
    private var holds: Set<String> = []

    init(name: String, cut: Cut) {
        self.name = name
        self.cut = cut
    }

    private mutating func hold(_ kind: String) {
        holds.insert(kind)
        runner?.held.insert(kind)
    }

    private mutating func send(_ octets: [UInt8]) {
        start()
        group = []
        var generator = SeededGenerator(seed: 13)
        for piece in cut.pieces(octets, &generator) { runner?.send(piece) }
    }

    private mutating func gather() {
        for reply in runner?.takeReplies() ?? [] {
            ready += text(reply.wire).split(separator: "\r\n", omittingEmptySubsequences: false).dropLast().map(String.init)
        }
    }

    private static func reply(_ text: String) -> Reply {
        let words = text.split(separator: " ", maxSplits: 1)
        return Reply(UInt16(words[0])!, nil, words.count > 1 ? String(words[1]) : "")
    }

    private mutating func decide(_ text: String, _ place: String) {
        let words = text.split(separator: " ", maxSplits: 2).map(String.init)
        let decision: Decision? =
            switch words[1] {
            case "accept": .accept
            case "defer": .defer(Self.reply(words[2]))
            case "reject": .reject(Self.reply(words[2]))
            case "drop": .drop(words.count > 2 ? Self.reply(words[2]) : nil)
            default: nil
            }
        guard let decision else {
            Issue.record("\(place): no such decision")
            return
        }
        decisions[words[0], default: []].append(decision)
        runner?.decisions[words[0], default: []].append(decision)
    }

    private mutating func backend(_ text: String, _ place: String) {
        let words = text.split(separator: " ", maxSplits: 1).map(String.init)
        let parts = words[1].components(separatedBy: " / ")
        let reply: Reply =
            parts.count == 1 ? Self.reply(parts[0]) : Reply(UInt16(parts[0].prefix(3))!, nil, texts: parts.map { String($0.dropFirst(4)) })
        replies[words[0], default: []].append(reply)
        runner?.backend[words[0], default: []].append(reply)
    }

    private mutating func set(_ text: String, _ place: String) {
        let words = text.split(separator: " ").map(String.init)
        let isOn = words.last == "on"
        let number = Int(words.last ?? "") ?? 0
        switch words[0] {
        case "pipelining": settings.extensions.pipelining = isOn
        case "eightbitmime": settings.extensions.eightBitMIME = isOn
        case "smtputf8": settings.extensions.smtpUTF8 = isOn
        case "dsn": settings.extensions.dsn = isOn
        case "chunking": settings.extensions.chunking = isOn
        case "starttls": settings.extensions.startTLS = isOn
        case "xclient": settings.extensions.xclient = isOn ? [.name, .address, .helo] : []
        case "size": settings.extensions.size = UInt64(number)
        case "framing": settings.framing = words[1] == "reject" ? .reject : .normalize
        case "strict": settings.leniency = .strict
        case "synchronization": settings.synchronization = words[1] == "report" ? .report : .enforce
        case "unknown-commands": settings.limits.unknownCommands = number
        case "errors": settings.limits.errors = number
        case "commands": settings.limits.commands = number
        case "messages": settings.limits.messages = number
        case "recipients": settings.limits.recipients = number
        case "auth":
            settings.extensions.authentication = [.plain, .login]
            settings.requiresAuthentication = true
            settings.limits.line.authentication = 12_288
        case "secured": isSecured = isOn
        case "logins": settings.limits.failedLogIns = number
        // A dialogue about what comes in one read makes no sense byte by byte.
        case "whole": isSkipped = cut != .whole
        default: Issue.record("\(place): no such setting")
        }
    }
}
