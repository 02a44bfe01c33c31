import PosternCore
import SMTPProtocol

/// A runtime in miniature: keeps what the machine does not consume, answers its questions and relays from a script or
/// with yes, and writes down all that it does.
struct ServerRunner {
    var session: ServerSession
    private(set) var replies: [Reply] = []
    private(set) var violations: [Violation] = []
    private(set) var ends: [TransactionEnd] = []
    private(set) var questions: [Question] = []
    private(set) var relays: [Relay] = []
    private(set) var deadlines: [ServerDeadline?] = []
    private(set) var clients: [XClientAttributes] = []
    private(set) var credentials: [Credentials] = []
    /// The content forwarded since it began.
    private(set) var content: [UInt8] = []
    private(set) var abandoned = 0
    private(set) var wantsTLS = false
    private(set) var isClosed = false

    /// Answers in store, by kind of question or relay; where there is none, yes.
    var decisions: [String: [Decision]] = [:]
    var backend: [String: [Reply]] = [:]
    /// Kinds that are not answered until `release`.
    var held: Set<String> = []

    private var pending: [UInt8] = []
    private var openQuestion: Question?
    private var openRelay: Relay?
    private var openLogIn = false

    init(settings: ServerSettings, isSecured: Bool = false) {
        session = ServerSession(settings: settings, isSecured: isSecured)
    }

    static func kind(_ question: Question) -> String {
        switch question {
        case .connect: "connect"
        case .helo: "helo"
        case .mail: "mail"
        case .recipient: "rcpt"
        case .content: "content"
        }
    }

    static func kind(_ relay: Relay) -> String {
        switch relay {
        case .recipient: "recipient"
        case .beginContent: "begin"
        case .endContent: "end"
        }
    }

    mutating func takeReplies() -> [Reply] {
        defer { replies = [] }
        return replies
    }

    mutating func takeViolations() -> [Violation] {
        defer { violations = [] }
        return violations
    }

    mutating func takeContent() -> [UInt8] {
        defer { content = [] }
        return content
    }

    mutating func takeEnds() -> [TransactionEnd] {
        defer { ends = [] }
        return ends
    }

    mutating func takeCredentials() -> [Credentials] {
        defer { credentials = [] }
        return credentials
    }

    mutating func takeAbandoned() -> Int {
        defer { abandoned = 0 }
        return abandoned
    }

    mutating func connect() { event { $0.connected(into: &$1) } }

    mutating func send(_ bytes: [UInt8]) {
        pending += bytes
        feed()
    }

    mutating func send(_ text: String) { send(Array(text.utf8)) }

    mutating func event(_ perform: (inout ServerSession, inout [ServerAction]) -> Void) {
        var actions: [ServerAction] = []
        perform(&session, &actions)
        carryOut(actions, [])
        feed()
    }

    mutating func tlsEstablished() {
        precondition(wantsTLS)
        wantsTLS = false
        event { $0.tlsEstablished(into: &$1) }
    }

    /// Answers what is held back.
    mutating func release(_ kind: String) {
        held.remove(kind)
        answer()
        feed()
    }

    private mutating func feed() {
        while true {
            var actions: [ServerAction] = []
            let input = pending
            let consumed = input.withUnsafeBytes { session.received($0, into: &actions) }
            pending.removeFirst(consumed)
            carryOut(actions, input)
            let progressed = answer()
            guard progressed || (consumed > 0 && !pending.isEmpty) else { return }
        }
    }

    /// Answers open questions and relays until there are none, or they are held. Whether it answered any.
    @discardableResult
    private mutating func answer() -> Bool {
        var answered = false
        while true {
            var actions: [ServerAction] = []
            if let question = openQuestion {
                let kind = Self.kind(question)
                guard !held.contains(kind) else { return answered }
                openQuestion = nil
                let decision = decisions[kind]?.first ?? .accept
                if decisions[kind] != nil, !decisions[kind]!.isEmpty { decisions[kind]!.removeFirst() }
                session.decided(decision, into: &actions)
            } else if let relay = openRelay {
                let kind = Self.kind(relay)
                guard !held.contains(kind) else { return answered }
                openRelay = nil
                let usual = kind == "begin" ? Reply(354, nil, "Go ahead") : Reply(250, "2.0.0", "Backend says ok")
                let reply = backend[kind]?.first ?? usual
                if backend[kind] != nil, !backend[kind]!.isEmpty { backend[kind]!.removeFirst() }
                session.backendReplied(reply, into: &actions)
            } else if openLogIn {
                guard !held.contains("login") else { return answered }
                openLogIn = false
                let reply = backend["login"]?.first ?? Reply(235, "2.7.0", "Welcome")
                if backend["login"] != nil, !backend["login"]!.isEmpty { backend["login"]!.removeFirst() }
                session.authenticated(reply, into: &actions)
            } else {
                return answered
            }
            answered = true
            carryOut(actions, [])
        }
    }

    private mutating func carryOut(_ actions: [ServerAction], _ input: [UInt8]) {
        for action in actions {
            precondition(!isClosed || { if case .deadline(nil) = action { true } else { false } }(), "nothing comes after close: \(action)")
            switch action {
            case .write(let reply): replies.append(reply)
            case .ask(let question):
                precondition(openQuestion == nil && openRelay == nil, "one question at a time")
                questions.append(question)
                openQuestion = question
            case .relay(let relay):
                precondition(openQuestion == nil && openRelay == nil, "one relay at a time")
                relays.append(relay)
                openRelay = relay
                if relay == .beginContent { content = [] }
            case .forward(let piece): content += input.withUnsafeBytes { piece.bytes(of: $0) }
            case .abandonContent: abandoned += 1
            case .endTransaction(let end): ends.append(end)
            case .startTLS: wantsTLS = true
            case .authenticate(let given):
                precondition(openQuestion == nil && openRelay == nil && !openLogIn, "one at a time")
                credentials.append(given)
                openLogIn = true
            case .clientInformation(let attributes): clients.append(attributes)
            case .violation(let violation): violations.append(violation)
            case .deadline(let deadline): deadlines.append(deadline)
            case .close:
                isClosed = true
                openQuestion = nil
                openRelay = nil
                openLogIn = false
            }
        }
    }
}
