import PosternCore
import SMTPProtocol

/// What a server session did, but for what may depend on how the client's bytes arrived: deadlines, and whether it noticed
/// that they came too early.
private struct ServerTrace: Equatable {
    enum Event: Equatable {
        case reply(Reply)
        case ask(Question)
        case relay(Relay)
        /// A message that went to the backend with its end.
        case message([UInt8])
        case abandoned
        case ended(TransactionEnd)
        case startTLS
        case client(XClientAttributes)
        case logIn(Credentials)
        case closed
    }

    var events: [Event] = []
    var violations: ViolationSet = []
}

enum ServerSessionCheck {
    static func run(_ input: UnsafeRawBufferPointer) {
        guard input.count >= 2 else { return }
        let settings = settings(input[0], input[1])
        let client = UnsafeRawBufferPointer(rebasing: input[2...])
        let seed = UInt64(input[1])
        var generator = Generator(input)

        var reporting = settings
        reporting.synchronization = .report
        // What follows STARTTLS in one read is refused, and what comes by itself is TLS: here the cut must count.
        reporting.extensions.startTLS = false
        let whole = ServerDriver.run(reporting, client, .whole, seed: seed, &generator)
        for cut in [Cut.bytes, .random] {
            checkEqual(whole, ServerDriver.run(reporting, client, cut, seed: seed, &generator), "cut \(cut): \(shown(client))")
        }
        ServerDriver.disturb(settings, client, &generator)
    }

    private static func settings(_ a: UInt8, _ b: UInt8) -> ServerSettings {
        var extensions = CommandCheck.everything
        if a.has(0) { extensions.chunking = false }
        if a.has(1) { extensions.pipelining = false }
        if a.has(2) { extensions.xclient = [] }
        if a.has(3) { (extensions.smtpUTF8, extensions.dsn, extensions.eightBitMIME) = (false, false, false) }
        if a.has(4) { extensions.size = 60 }
        var settings = ServerSettings(hostname: "mx.example.org", extensions: extensions)
        if a.has(5) { settings.framing = .reject }
        if a.has(6) { settings.leniency = .strict }
        if a.has(7) { settings.limits.content = ContentLimits(octets: 50, hops: 1, line: 30) }
        settings.limits.commands = 40
        settings.limits.messages = 3
        settings.limits.unknownCommands = b.has(0) ? 3 : 8
        settings.limits.errors = b.has(1) ? 4 : 12
        settings.synchronization = b.has(2) ? .report : .enforce
        if b.has(3) {
            settings.extensions.authentication = b.has(4) ? .plain : [.plain, .login]
            settings.requiresAuthentication = b.has(5)
            settings.limits.line.authentication = b.has(6) ? 12_288 : 512
            settings.limits.failedLogIns = 2
        }
        return settings
    }
}

/// A runtime in miniature: keeps what the machine does not consume, and answers what it asks.
private struct ServerDriver {
    private var session: ServerSession
    private let limits: ServerLimits
    private var script: Generator
    private var pending: [UInt8] = []
    private var waits: Waiting?
    private var content: [UInt8] = []
    private var isClosed = false
    private var trace = ServerTrace()
    /// Set while TLS is to be started.
    private var wantsTLS = false

    private enum Waiting {
        case decision
        case reply(Relay)
        case logIn
    }

    private init(_ settings: ServerSettings, seed: UInt64) {
        // Where AUTH is offered, so that it is taken.
        session = ServerSession(settings: settings, isSecured: !settings.extensions.authentication.isEmpty)
        limits = settings.limits
        script = Generator(seed: seed)
    }

    /// A session in which everything that is asked is answered by a script that `seed` gives.
    static func run(
        _ settings: ServerSettings, _ input: UnsafeRawBufferPointer, _ cut: Cut, seed: UInt64, _ generator: inout Generator
    ) -> ServerTrace {
        var driver = ServerDriver(settings, seed: seed)
        driver.event { $0.connected(into: &$1) }
        driver.answer()
        var late = generator
        cut.forEach(input, &generator) { piece in
            driver.pending += piece
            // Some answers come only after more of the client's bytes have.
            while driver.feed(), !(cut == .random && late.oneIn(3)) { driver.answer() }
            return true
        }
        repeat { driver.answer() } while driver.feed()
        driver.event { $0.closed(into: &$1) }
        // Those that say how bytes came.
        driver.trace.violations.subtract([
            ViolationSet(.earlyTalk), ViolationSet(.pipeliningNotOffered), ViolationSet(.pipelinedPastReply),
        ])
        // Another protocol is known by the beginning of a line; what stood behind that may have been seen or not.
        if driver.trace.violations.contains(.nonSMTP) { driver.trace.violations.subtract([.bareLF, .bareCR, .nul]) }
        return driver.trace
    }

    /// The same with everything that may happen besides: TLS, deadlines, a lost backend, shedding, shutting down.
    static func disturb(_ settings: ServerSettings, _ input: UnsafeRawBufferPointer, _ generator: inout Generator) {
        var driver = ServerDriver(settings, seed: generator.next())
        driver.event { $0.connected(into: &$1) }
        var chance = generator
        Cut.random.forEach(input, &generator) { piece in
            driver.pending += piece
            _ = driver.feed()
            switch chance.next() % 64 {
            case 0: driver.event { $0.timerFired([.command, .content, .handshake][Int(chance.next() % 3)], into: &$1) }
            case 1: driver.event { $0.backendFailed(.backendUnavailable, into: &$1) }
            case 2: driver.event { $0.shuttingDown(into: &$1) }
            case 3 where chance.oneIn(4): driver.event { $0.shed(into: &$1) }
            case 4 where chance.oneIn(4): driver.event { $0.sessionTimedOut(into: &$1) }
            case 5 where chance.oneIn(4): driver.event { $0.closed(into: &$1) }
            case 6 where chance.oneIn(2): driver.event { $0.accountLost(into: &$1) }
            case 6...20: break
            default: driver.answer()
            }
            if driver.wantsTLS, chance.oneIn(2) {
                driver.wantsTLS = false
                driver.pending = []
                driver.event { $0.tlsEstablished(into: &$1) }
            }
            return true
        }
        driver.event { $0.closed(into: &$1) }
        check(driver.session.hasEnded, "a session outlives its client")
    }

    private mutating func event(_ body: (inout ServerSession, inout [ServerAction]) -> Void) {
        var actions: [ServerAction] = []
        body(&session, &actions)
        take(actions, [])
    }

    /// Hands in what is there. Whether the machine may go on once it has its answers.
    private mutating func feed() -> Bool {
        var actions: [ServerAction] = []
        let input = pending
        let consumed = input.withUnsafeBytes { session.received($0, into: &actions) }
        check(consumed <= input.count, "more was consumed than there is")
        check(consumed == input.count || waits != nil || !actions.isEmpty || session.hasEnded, "bytes are left for no reason")
        pending.removeFirst(consumed)
        take(actions, input)
        return waits != nil || (consumed > 0 && !pending.isEmpty)
    }

    private mutating func answer() {
        for _ in 0..<8 {
            guard let waiting = waits else { return }
            waits = nil
            switch waiting {
            case .decision:
                let decision: Decision =
                    switch script.next() % 32 {
                    case 0: .defer(Reply(451, "4.7.1", "Later"))
                    case 1: .reject(Reply(554, "5.7.1", "No"))
                    case 2: script.oneIn(2) ? .drop(nil) : .drop(Reply(421, "4.7.0", "Gone"))
                    default: .accept
                    }
                event { $0.decided(decision, into: &$1) }
            case .logIn:
                let reply =
                    switch script.next() % 8 {
                    case 0: Reply(535, "5.7.8", "No")
                    case 1: Reply(454, "4.7.0", "Later")
                    case 2: script.oneIn(4) ? Reply(421, "4.7.0", "Gone") : Reply(250, "2.0.0", "Odd")
                    default: Reply(235, "2.7.0", "Welcome")
                    }
                event { $0.authenticated(reply, into: &$1) }
            case .reply(let relay):
                let usual = relay == .beginContent ? Reply(354, nil, "Go on") : Reply(250, "2.0.0", "Taken")
                switch script.next() % 32 {
                case 0: event { $0.backendReplied(Reply(451, "4.3.0", "Later"), into: &$1) }
                case 1: event { $0.backendReplied(Reply(550, "5.1.1", "Nobody of that name"), into: &$1) }
                case 2: event { $0.backendReplied(Reply(354, nil, "Odd"), into: &$1) }
                case 3: event { $0.backendFailed(.backendUnavailable, into: &$1) }
                default: event { $0.backendReplied(usual, into: &$1) }
                }
            }
        }
    }

    private mutating func take(_ actions: [ServerAction], _ input: [UInt8]) {
        for action in actions {
            if case .deadline = action { continue }
            check(!isClosed, "after the end: \(action)")
            switch action {
            case .write(let reply):
                // Ours fit a reply line; a backend's are its own.
                CommandCheck.checkReply(reply)
                trace.events.append(.reply(reply))
            case .ask(let question):
                check(waits == nil, "two questions at once")
                waits = .decision
                if case .mail = question {
                    check(session.account != nil || !session.settings.requiresAuthentication, "MAIL of somebody who has not logged in")
                }
                trace.events.append(.ask(question))
            case .relay(let relay):
                check(waits == nil, "two relays at once")
                waits = .reply(relay)
                if relay == .beginContent { content = [] }
                if relay == .endContent { trace.events.append(.message(content)) }
                trace.events.append(.relay(relay))
            case .forward(let piece):
                content += input.withUnsafeBytes { piece.bytes(of: $0) }
                check(limits.content.octets == 0 || content.count <= Int(limits.content.octets), "more content than the limit")
            case .abandonContent: trace.events.append(.abandoned)
            case .endTransaction(let end): trace.events.append(.ended(end))
            case .authenticate(let credentials):
                check(waits == nil, "two questions at once")
                check(session.isSecured && session.account == nil && session.transaction == nil, "AUTH where it must not be")
                check(!credentials.name.isEmpty && !credentials.password.isEmpty, "credentials that are none")
                waits = .logIn
                trace.events.append(.logIn(credentials))
            case .startTLS:
                wantsTLS = true
                trace.events.append(.startTLS)
            case .clientInformation(let attributes): trace.events.append(.client(attributes))
            case .violation(let violation): trace.violations.insert(violation)
            case .deadline: break
            case .close:
                isClosed = true
                waits = nil
                trace.events.append(.closed)
            }
        }
    }
}
