import PosternCore
import Testing

@testable import SMTPProtocol

/// A whole gateway without I/O: a client's bytes, a server session, a backend session, and behind it another server
/// session in the place of the MTA.
struct Gateway {
    var front: ServerSession
    var back: BackendSession?
    /// The MTA: `nil` while there is no connection to it.
    var mta: ServerRunner?
    var replies: [Reply] = []
    var violations: [Violation] = []
    var isClosed = false
    /// What the MTA was given, message by message.
    var delivered: [[UInt8]] = []
    /// Kinds of relays, one of which breaks the connection at random.
    var breaksAt: ((inout SeededGenerator) -> Bool)?
    var generator: SeededGenerator
    private var pending: [UInt8] = []
    private let settings: BackendSettings
    private let mtaSettings: ServerSettings

    init(front settings: ServerSettings, back: BackendSettings, mta: ServerSettings, seed: UInt64) {
        front = ServerSession(settings: settings)
        self.settings = back
        mtaSettings = mta
        generator = SeededGenerator(seed: seed)
    }

    mutating func connect() {
        var actions: [ServerAction] = []
        front.connected(into: &actions)
        perform(actions, [])
    }

    mutating func send(_ bytes: [UInt8]) {
        pending += bytes
        while !pending.isEmpty {
            var actions: [ServerAction] = []
            let input = pending
            let consumed = input.withUnsafeBytes { front.received($0, into: &actions) }
            pending.removeFirst(consumed)
            perform(actions, input)
            guard consumed > 0 else { return }
        }
    }

    mutating func leave() {
        var actions: [ServerAction] = []
        front.closed(into: &actions)
        perform(actions, [])
    }

    private mutating func perform(_ actions: [ServerAction], _ input: [UInt8]) {
        var content: [ContentPiece] = []
        for action in actions {
            if case .forward(let piece) = action {
                content.append(piece)
                continue
            }
            flush(&content, input)
            switch action {
            case .write(let reply): replies.append(reply)
            case .ask: tellFront { $0.decided(.accept, into: &$1) }
            case .relay(let relay):
                if breaksAt?(&generator) == true {
                    mta = nil
                    tellBack([]) { $0.closed(into: &$1) }
                }
                switch relay {
                case .recipient(let mail, let recipient):
                    if back == nil || back?.hasEnded == true { connectBack() }
                    tellBack([]) { $0.recipient(recipient, of: mail, into: &$1) }
                case .beginContent: tellBack([]) { $0.beginContent(into: &$1) }
                case .endContent: tellBack([]) { $0.endContent(into: &$1) }
                }
            case .forward: break
            case .abandonContent: tellBack([]) { $0.abort(into: &$1) }
            case .endTransaction(let end): if end != .completed { tellBack([]) { $0.reset(into: &$1) } }
            case .violation(let violation): violations.append(violation)
            case .close: isClosed = true
            case .startTLS, .authenticate, .clientInformation, .deadline: break
            }
        }
        flush(&content, input)
    }

    private mutating func flush(_ content: inout [ContentPiece], _ input: [UInt8]) {
        guard !content.isEmpty else { return }
        let pieces = content
        content = []
        tellBack(input) { session, actions in
            input.withUnsafeBytes { session.content(pieces, of: $0, into: &actions) }
        }
    }

    private mutating func tellFront(_ event: (inout ServerSession, inout [ServerAction]) -> Void) {
        var actions: [ServerAction] = []
        event(&front, &actions)
        perform(actions, [])
    }

    private mutating func connectBack() {
        let client = BackendClient(
            source: Endpoint(address: IPAddress("192.0.2.7")!, port: 4321),
            destination: Endpoint(address: IPAddress("192.0.2.25")!, port: 25),
            helo: front.helo ?? HeloName("none"), isExtended: front.isExtended)
        back = BackendSession(settings: settings, client: client)
        mta = ServerRunner(settings: mtaSettings)
        mta?.connect()
        tellBack([]) { $0.connected(into: &$1) }
        listen()
    }

    private mutating func tellBack(_ input: [UInt8], _ event: (inout BackendSession, inout [BackendAction]) -> Void) {
        guard back != nil else { return }
        var actions: [BackendAction] = []
        event(&back!, &actions)
        var wire: [UInt8] = []
        for action in actions {
            switch action {
            case .send(let bytes): wire += bytes
            case .forward(let piece): wire += input.withUnsafeBytes { piece.bytes(of: $0) }
            case .close: mta = nil
            default: break
            }
        }
        // What the backend session says to the client comes after what it sends, as on a real event loop.
        for piece in Cut.random.pieces(wire, &generator) {
            mta?.send(piece)
            collect()
        }
        for action in actions {
            switch action {
            case .replied(let reply, _): tellFront { $0.backendReplied(reply, into: &$1) }
            case .failed(let failure): tellFront { $0.backendFailed(failure.reply, into: &$1) }
            default: break
            }
        }
        listen()
    }

    private mutating func collect() {
        guard mta != nil else { return }
        for end in mta!.takeEnds() where end == .completed { delivered.append(mta!.takeContent()) }
    }

    /// Hands the MTA's replies to the backend session.
    private mutating func listen() {
        while let said = mta?.takeReplies(), !said.isEmpty {
            let wire = said.flatMap(\.wire)
            for piece in Cut.random.pieces(wire, &generator) {
                tellBack([]) { session, actions in piece.withUnsafeBytes { session.received($0, into: &actions) } }
            }
        }
    }
}

@Suite("Gateway, both machines together")
struct GatewayTests {
    static let mtaSettings = ServerSettings(
        hostname: "mta.example",
        extensions: Extensions(
            pipelining: true, size: 0, eightBitMIME: true, smtpUTF8: true, dsn: true, chunking: true,
            xclient: Set(XClientAttributes.Name.allCases)),
        synchronization: .enforce)
    static let frontSettings = ServerSettings(hostname: "mx.example", extensions: mtaSettings.extensions.offered())

    private func gateway(seed: UInt64, usesChunking: Bool = false, front: ServerSettings = frontSettings) -> Gateway {
        Gateway(
            front: front, back: BackendSettings(hostname: "mx.example", clientInformation: .xclient, usesChunking: usesChunking),
            mta: Self.mtaSettings,
            seed: seed)
    }

    @Test("messages arrive as they were sent, by DATA and by BDAT, however the bytes are cut", arguments: [UInt64](1...10), [false, true])
    func delivers(seed: UInt64, usesChunking: Bool) {
        var gateway = gateway(seed: seed, usesChunking: usesChunking)
        var generator = SeededGenerator(seed: seed)
        gateway.connect()
        var expected: [[UInt8]] = []
        gateway.send(bytes("EHLO client.example\r\n"))
        for number in 0..<4 {
            var message: [UInt8] = []
            for _ in 0..<Int.random(in: 0...8, using: &generator) {
                message += bytes(["", ".", "..", ".dot", "text", "a.b", "\u{e9}"].randomElement(using: &generator)! + "\r\n")
            }
            expected.append(message)
            var wire = bytes("MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n")
            if number % 2 == 0 {
                gateway.send(wire + bytes("DATA\r\n"))
                var stuffed: [UInt8] = []
                var atLineStart = true
                for octet in message {
                    if atLineStart, octet == UInt8(ascii: ".") { stuffed.append(octet) }
                    stuffed.append(octet)
                    atLineStart = octet == 10
                }
                wire = stuffed + bytes(".\r\n")
            } else {
                let first = Int.random(in: 0...message.count, using: &generator)
                wire +=
                    bytes("BDAT \(first)\r\n") + message.prefix(first) + bytes("BDAT \(message.count - first) LAST\r\n")
                    + message.dropFirst(first)
            }
            for piece in Cut.random.pieces(wire, &generator) { gateway.send(piece) }
        }
        gateway.send(bytes("QUIT\r\n"))
        #expect(gateway.delivered == expected)
        #expect(gateway.violations == [])
        #expect(gateway.replies.last?.code == 221)
        #expect(gateway.replies.allSatisfy { $0.severity == 2 || $0.severity == 3 }, "\(gateway.replies)")
        #expect(gateway.mta?.clients.last?.address == .known(IPAddress("192.0.2.7")!))
    }

    /// Clients that send anything, MTAs that vanish at any time: nothing traps, nothing comes after the end, and the MTA has
    /// never more messages than the client sent, nor a message that was not acknowledged but through a lost connection.
    @Test("random clients, random losses", arguments: [UInt64](1...20))
    func random(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var settings = Self.frontSettings
        settings.framing = Bool.random(using: &generator) ? .normalize : .reject
        settings.synchronization = Bool.random(using: &generator) ? .enforce : .report
        settings.limits.content.octets = 60
        settings.limits.unknownCommands = 50
        settings.limits.errors = 100
        let words = [
            "EHLO a.example\r\n", "HELO a\r\n", "MAIL FROM:<a@b>\r\n", "MAIL FROM:<a@b>\r\n", "RCPT TO:<c@d>\r\n", "RCPT TO:<c@d>\r\n",
            "DATA\r\n", "DATA\r\n", "RSET\r\n",
            "NOOP\r\n", ".\r\n", ".\r\n", "text\r\n", ".", "\r", "\n", "\r\n", "a", "\n.\n", "BDAT 5\r\nhello", "BDAT 0 LAST\r\n",
            "BDAT 3 LAST\r\nx\r\n", "BDAT 9\r\n",
            "VRFY x\r\n", "RCPT TO:<>\r\n", "\0", "MAIL FROM:<> SIZE=61\r\n", "QUIT\r\n", "STARTTLS\r\n", "XCLIENT ADDR=192.0.2.1\r\n",
        ]
        var deliveries = 0
        for round in 0..<20 {
            var gateway = gateway(seed: seed &* 1000 &+ UInt64(round), usesChunking: round % 2 == 0, front: settings)
            if round % 3 == 1 { gateway.breaksAt = { Int.random(in: 0...9, using: &$0) == 0 } }
            gateway.connect()
            gateway.send(bytes("EHLO start\r\n"))
            // The first round begins with a whole message, the others with some part of one.
            let opening = ["MAIL FROM:<a@b>\r\n", "RCPT TO:<c@d>\r\n", "DATA\r\n", "x\r\n.\r\n"]
            for line in opening.prefix(round == 0 ? 4 : Int.random(in: 0...4, using: &generator)) { gateway.send(bytes(line)) }
            var sent: [UInt8] = []
            for _ in 0..<Int.random(in: 1...40, using: &generator) {
                let word = bytes(words.randomElement(using: &generator)!)
                sent += word
                for piece in Cut.allCases.randomElement(using: &generator)!.pieces(word, &generator) { gateway.send(piece) }
            }
            gateway.leave()
            deliveries += gateway.delivered.count
            let accepted = gateway.front.messages
            #expect(gateway.delivered.count <= accepted, "seed \(seed) round \(round): \(shown(sent))")
            #expect(gateway.delivered.allSatisfy { !$0.contains(0) }, "seed \(seed) round \(round)")
            #expect(gateway.delivered.allSatisfy { $0.count <= 60 }, "seed \(seed) round \(round): \(shown(sent))")
            // Nothing that the MTA got holds a bare CR or LF.
            for message in gateway.delivered {
                let whole = message.enumerated().allSatisfy { index, octet in
                    octet == 13
                        ? index + 1 < message.count && message[index + 1] == 10 : octet != 10 || (index > 0 && message[index - 1] == 13)
                }
                #expect(whole, "seed \(seed) round \(round): \(shown(message))")
            }
            // An MTA of our own kind is never broken by what we send it.
            #expect(gateway.mta?.violations.isEmpty ?? true, "seed \(seed) round \(round): \(gateway.mta?.violations ?? [])")
        }
        #expect(deliveries > 0, "seed \(seed): nothing was delivered at all")
    }
}
