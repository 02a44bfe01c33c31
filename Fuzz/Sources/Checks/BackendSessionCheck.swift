import PosternCore
import SMTPProtocol

/// The backend's bytes are cut at 0xFF into what it says before we act again; within that they may come in any pieces.
enum BackendSessionCheck {
    private static let pause: UInt8 = 0xff

    static func run(_ input: UnsafeRawBufferPointer) {
        guard input.count >= 2 else { return }
        let (settings, client) = settings(input[0], requiresLogIn: input[1].has(7))
        let script = input[1]
        let backend = UnsafeRawBufferPointer(rebasing: input[2...])
        var generator = Generator(input)
        let whole = BackendDriver.run(settings, client, backend, .whole, script, &generator)
        for cut in [Cut.bytes, .random] {
            checkEqual(whole, BackendDriver.run(settings, client, backend, cut, script, &generator), "cut \(cut): \(shown(backend))")
        }
        BackendDriver.disturb(settings, client, backend, script, &generator)
    }

    private static func settings(_ octet: UInt8, requiresLogIn: Bool) -> (BackendSettings, BackendClient?) {
        let information: BackendSettings.ClientInformation = octet.has(0) ? .proxyV2 : octet.has(1) ? .none : .xclient
        var settings = BackendSettings(hostname: "mx.example.org", clientInformation: information)
        settings.tls = octet.has(2) ? (octet.has(3) ? .required : .opportunistic) : .never
        settings.usesChunking = octet.has(4)
        settings.requiresLogIn = requiresLogIn
        settings.replies = ReplyDecoder.Limits(line: 60, lines: 12)
        guard !octet.has(5) else { return (settings, nil) }
        let source = Endpoint(address: octet.has(6) ? IPAddress(v4: 0xc000_0207) : IPAddress("2001:db8::7") ?? IPAddress(v4: 1), port: 4321)
        let client = BackendClient(
            source: source, destination: Endpoint(address: IPAddress(v4: 0xc000_0219), port: 25), name: .known("client.example"),
            helo: HeloName(octet.has(7) ? "two words" : "client.example"), isExtended: !octet.has(3))
        return (settings, client)
    }

    fileprivate static func forEachTurn(_ input: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void) {
        for turn in input.split(separator: pause, omittingEmptySubsequences: false) { body(UnsafeRawBufferPointer(rebasing: turn)) }
    }
}

/// What a backend session did, but for its deadlines.
private struct BackendDriver {
    private var session: BackendSession
    private let client: BackendClient?
    private let usesChunking: Bool
    private var trace: [BackendAction] = []
    private var script: Generator
    /// What we have asked for and have no answer to.
    private var open: [BackendStep] = []
    private var probes = 0
    private var logIns = 0
    private var isLoggedIn = false
    private var contentIsOpen = false
    private var hasEnded = false
    private var wantsTLS = false
    private var recipients = 0
    /// All that went to the backend.
    private var wire: [UInt8] = []

    private static let mail = MailCommand(.null, size: 40, body: .eightBitMIME)
    private static let recipient = RecipientCommand(Mailbox(localPart: "bob", domain: "example.org"), notify: .never)
    private static let content = Array("Subject: x\r\n\r\n.dot\r\nlast".utf8)

    private init(_ settings: BackendSettings, _ client: BackendClient?, _ script: UInt8) {
        session = BackendSession(settings: settings, client: client)
        self.client = client
        usesChunking = settings.usesChunking
        self.script = Generator(seed: UInt64(script))
    }

    static func run(
        _ settings: BackendSettings, _ client: BackendClient?, _ input: UnsafeRawBufferPointer, _ cut: Cut, _ script: UInt8,
        _ generator: inout Generator
    ) -> [BackendAction] {
        var driver = BackendDriver(settings, client, script)
        driver.event { $0.connected(into: &$1) }
        driver.act()
        BackendSessionCheck.forEachTurn(input) { turn in
            cut.forEach(turn, &generator) { piece in
                driver.event { $0.received(piece, into: &$1) }
                return true
            }
            driver.act()
        }
        driver.event { $0.closed(into: &$1) }
        driver.finish()
        return driver.trace
    }

    /// With TLS and everything that may happen besides.
    static func disturb(
        _ settings: BackendSettings, _ client: BackendClient?, _ input: UnsafeRawBufferPointer, _ script: UInt8,
        _ generator: inout Generator
    ) {
        var driver = BackendDriver(settings, client, script)
        driver.event { $0.connected(into: &$1) }
        var chance = generator
        BackendSessionCheck.forEachTurn(input) { turn in
            Cut.random.forEach(turn, &generator) { piece in
                driver.event { $0.received(piece, into: &$1) }
                return true
            }
            if driver.wantsTLS, !chance.oneIn(4) {
                driver.wantsTLS = false
                driver.event { $0.tlsEstablished(into: &$1) }
            }
            switch chance.next() % 24 {
            case 0: driver.event { $0.timerFired(BackendDeadline.allCases[Int(chance.next() % 7)], into: &$1) }
            case 1: driver.event { $0.reset(into: &$1) }
            case 2 where chance.oneIn(4): driver.event { $0.abort(into: &$1) }
            case 3 where chance.oneIn(4): driver.event { $0.quit(into: &$1) }
            case 4...6: break
            default: driver.act()
            }
        }
        driver.event { $0.closed(into: &$1) }
        check(driver.session.hasEnded, "a session outlives its connection")
    }

    /// The next thing that a gateway would do.
    private mutating func act() {
        let choice = script.next() % 8
        guard client != nil else {
            if probes == 0, choice < 6 { probe() }
            return
        }
        if session.settings.requiresLogIn, !isLoggedIn, choice > 0 {
            guard logIns == 0 else { return }
            logIns = 1
            let password = [UInt8](repeating: 0x61, count: choice == 1 ? 500 : 6)
            return event { $0.authenticate(Credentials(name: "ann", password: Secret(password)), into: &$1) }
        }
        if contentIsOpen {
            event(Self.content) { session, actions in
                Self.content.withUnsafeBytes { session.content([.input(0..<14), .input(14..<$0.count)], of: $0, into: &actions) }
            }
            guard choice > 0 else { return }
            contentIsOpen = false
            open.append(.endContent)
            event { $0.endContent(into: &$1) }
        } else if open.isEmpty {
            if recipients == 0 || choice < 2 {
                open.append(.recipient)
                event { $0.recipient(Self.recipient, of: Self.mail, into: &$1) }
                // A second one at once, as for a client that pipelines.
                if choice == 1 {
                    open.append(.recipient)
                    event { $0.recipient(Self.recipient, of: Self.mail, into: &$1) }
                }
            } else if choice == 7 {
                recipients = 0
                event { $0.reset(into: &$1) }
            } else {
                open.append(.beginContent)
                event { $0.beginContent(into: &$1) }
            }
        }
    }

    private mutating func probe() {
        probes += 1
        event { $0.probe(Self.recipient, into: &$1) }
    }

    private mutating func event(_ input: [UInt8] = [], _ body: (inout BackendSession, inout [BackendAction]) -> Void) {
        var actions: [BackendAction] = []
        body(&session, &actions)
        for action in actions { take(action, input) }
    }

    private mutating func take(_ action: BackendAction, _ input: [UInt8]) {
        if case .deadline = action { return }
        trace.append(action)
        switch action {
        case .send(let bytes):
            check(!hasEnded, "after the end: \(action)")
            wire += bytes
        case .forward(let piece):
            check(!hasEnded, "after the end: \(action)")
            wire += input.withUnsafeBytes { piece.bytes(of: $0) }
        case .sendSecret(let secret):
            check(!hasEnded, "after the end: \(action)")
            check(logIns == 1, "a password that nobody gave")
            wire += secret.withUnsafeBytes { Array($0) }
        case .authenticated(let outcome):
            check(logIns == 1, "an answer to no log-in")
            logIns = 0
            if case .answered(let reply) = outcome, reply.code == 235 { isLoggedIn = true }
            check(isLoggedIn == session.isLoggedIn, "who has logged in")
        case .startTLS: wantsTLS = true
        case .ready: check(session.settings.tls != .required || session.isSecured, "open in the clear where TLS is required")
        case .replied(let reply, let step):
            check(open.first == (step == .recipientInVain ? .recipient : step), "an answer to \(step) where \(open) is open")
            if !open.isEmpty { open.removeFirst() }
            switch step {
            case .recipient: recipients += reply.isPositive ? 1 : 0
            case .recipientInVain: check(!reply.isPositive, "a recipient is accepted whose transaction is refused")
            case .beginContent: contentIsOpen = reply.code == 354
            case .endContent: recipients = 0
            }
        case .probed:
            check(probes > 0, "an answer to no probe")
            probes -= 1
        case .failed(let failure):
            check(failure.reply.isTransient || failure.reason == .contentRefused, "not a transient answer: \(failure)")
            open = []
            probes = 0
            logIns = 0
            contentIsOpen = false
        case .idle, .deadline: break
        case .close: hasEnded = true
        }
    }

    /// Never an open relay: nobody's mail in a session that has not told whose it is.
    private func finish() {
        let text = String(decoding: wire, as: UTF8.self)
        guard client != nil else { return check(!text.contains("DATA"), "content on a connection of our own") }
        if session.settings.requiresLogIn, !isLoggedIn {
            check(!text.contains("RCPT"), "a recipient without a log-in: \(text)")
        }
        guard session.settings.clientInformation == .xclient, let mail = text.firstRange(of: "MAIL FROM") else { return }
        guard let told = text.firstRange(of: "XCLIENT"), let address = text.firstRange(of: " ADDR=") else {
            return check(false, "MAIL without XCLIENT: \(text)")
        }
        check(told.lowerBound < mail.lowerBound && address.lowerBound < mail.lowerBound, "MAIL before XCLIENT: \(text)")
    }
}
