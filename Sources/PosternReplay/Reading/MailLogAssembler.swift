import PosternCore
import PosternEngine

/// A message of one of the site's own users that was delivered elsewhere.
public struct SentMessage: Equatable, Sendable {
    public var time: WallTime
    public var sender: ReversePath
    public var recipient: Mailbox

    public init(time: WallTime, sender: ReversePath, recipient: Mailbox) {
        self.time = time
        self.sender = sender
        self.recipient = recipient
    }
}

/// Puts attempts together from the lines of one or more logs: who connected, what was asked for, what became of it. What it
/// holds is bounded by the messages that are in the queues.
struct MailLogAssembler {
    struct Options: Equatable {
        /// Whether attempts that the server turned away by its own rules are told.
        var tellsRefused = false
        /// Texts, in lower case, by which a deferral is known as a greylister's, besides the usual ones.
        var greylistTexts: [String] = []
    }

    /// Messages that may be in the queues at once; beyond it the oldest is forgotten.
    static let maximumMessages = 500_000
    /// A message that nothing is heard of for so long after its first recipient never came to an end (RFC 5321 §4.5.3.2: the
    /// time-outs of a session sum up to less).
    static let patience = WallTime.Span.hours(1)
    /// Postfix's maximal_queue_lifetime.
    static let queueLifetime = WallTime.Span.days(5)
    /// So long a policy service's line waits for the server's own of the same attempt.
    static let policyPatience = WallTime.Span.seconds(10)
    /// Processes of servers, over all hosts.
    static let maximumSessions = 100_000

    private final class Message {
        let number: UInt64
        let time: WallTime
        let client: Client
        let isOwn: Bool
        let account: String?
        let facts: ClientFacts?
        var helo: String
        var sender: ReversePath?
        var evidence: AttemptEvidence
        var share = 0
        /// Recipients that were told already, in lower case.
        var recipients: [String] = []

        init(number: UInt64, time: WallTime, client: Client, isOwn: Bool, account: String?, facts: ClientFacts?) {
            self.number = number
            self.time = time
            self.client = client
            self.isOwn = isOwn
            self.account = account
            self.facts = facts
            helo = client.helo
            evidence = facts?.evidence ?? AttemptEvidence()
        }
    }

    private struct Session {
        var helo = ""
        /// The client of a message that a filter answers for before it is queued.
        var filtered: Client?
    }

    private struct Waiting {
        var time: WallTime
        var key: UInt64
    }

    private let options: Options
    private(set) var counts = LogCounts()
    /// Attempts in the order in which they became known, for the caller to take.
    var attempts: [LoggedAttempt] = []
    /// Messages of own users, likewise.
    var sent: [SentMessage] = []
    private var messages: [UInt64: Message] = [:]
    private var young = Queue<Waiting>()
    private var old = Queue<Waiting>()
    private var sessions: [UInt64: Session] = [:]
    private var facts = ClientFactsTable()
    private var answers = Queue<LoggedAttempt>()
    private var hasSeenServer = false
    private var nextNumber: UInt64 = 1

    init(options: Options = Options()) {
        self.options = options
    }

    var openMessages: Int { messages.count }

    /// Takes what a line tells. `instance` is a hash of the host and the mail system that wrote it: queue identifiers are
    /// theirs alone.
    mutating func take(_ event: LogEvent, _ bytes: Span<UInt8>, time: WallTime, instance: UInt64, process: Int) {
        switch event {
        case .idle, .messageID: break
        case .accepted(let queue, let client, let account, let isForwarded):
            hasSeenServer = true
            accepted(bytes, queue, client, account, isForwarded, time, instance, process)
        case .refused(let refusal):
            hasSeenServer = true
            refused(bytes, refusal, time, instance, process)
        case .filtered(let isAccepted, _, let envelope):
            filtered(bytes, isAccepted, envelope, time, instance, process)
        case .envelope(let queue, let envelope):
            if let queue, let helo = envelope.helo, let message = messages[bytes.hash(queue, from: instance)], message.helo.isEmpty {
                message.helo = bytes.text(helo)
            }
        case .queued(let queue, let sender, let size, let recipients):
            guard let message = messages[bytes.hash(queue, from: instance)], message.sender == nil else { return }
            message.sender = ReversePath(bytes.text(sender))
            message.share = size / max(recipients, 1)
            if let spf = Self.spf(message.facts, senderHash: bytes.hash(sender), isNull: sender.isEmpty) {
                message.evidence.spf = spf.result
                if message.helo.isEmpty { message.helo = spf.helo }
            }
        case .delivery(let delivery): delivered(bytes, delivery, time, instance)
        case .removed(let queue):
            guard let message = messages.removeValue(forKey: bytes.hash(queue, from: instance)) else { return }
            if !message.isOwn, message.recipients.isEmpty { counts.incomplete += 1 }
        case .pickedUp(let queue, _):
            // The queue tells its sender in full.
            counts.own += 1
            insert(open(Client(address: nil), isOwn: true, account: nil, time), bytes.hash(queue, from: instance))
        case .connected:
            sessions[instance &+ UInt64(process)] = nil
        case .disconnected:
            sessions[instance &+ UInt64(process)] = nil
        case .violation(let check, let client):
            guard let address = address(bytes, client) else { return }
            facts.update(address, at: time) { $0.evidence.signals[check, default: 0] += 1 }
        case .screened(let screening, let client):
            guard screening != .connected, let address = address(bytes, client) else { return }
            // Whoever passed postscreen's look-ups was asked about, and was below the threshold.
            if screening == .passedNew { facts.update(address, at: time) { $0.evidence.dnsRank = $0.evidence.dnsRank ?? 0 } }
        case .dnsRank(let rank, let client):
            guard let address = address(bytes, client) else { return }
            facts.update(address, at: time) { $0.evidence.dnsRank = rank }
        case .listed(let address, let zone, let reply):
            guard let address = self.address(bytes, address) else { return }
            let listing = RecordedListing(zone: bytes.text(zone).lowercasedASCII, reply: self.address(bytes, reply))
            facts.update(address, at: time) { facts in
                if facts.evidence.listings?.contains(listing) != true {
                    facts.evidence.listings = (facts.evidence.listings ?? []) + [listing]
                }
            }
        case .policy(let answer): answered(bytes, answer, time)
        case .spf(let answer):
            guard let address = self.address(bytes, answer.address) else { return }
            let heard = ClientFacts.SPFAnswer(
                result: answer.result, isHelo: answer.isHelo, helo: bytes.text(answer.helo), senderHash: bytes.hash(answer.sender))
            facts.update(address, at: time) { $0.add(heard) }
        }
        if !answers.isEmpty { releaseAnswers(before: time - Self.policyPatience) }
    }

    /// To be called once, when there are no more lines.
    mutating func finish() {
        releaseAnswers(before: nil)
        counts.incomplete += messages.values.count { !$0.isOwn && $0.recipients.isEmpty }
        messages.removeAll()
    }

    // MARK: - What the server did

    private mutating func accepted(
        _ bytes: Span<UInt8>, _ queue: Piece?, _ client: LoggedClient, _ account: Piece?, _ isForwarded: Bool, _ time: WallTime,
        _ instance: UInt64, _ process: Int
    ) {
        let session = instance &+ UInt64(process)
        let known = self.client(bytes, client, helo: sessions.isEmpty ? "" : sessions[session]?.helo ?? "")
        guard let queue else {
            note(session) { $0.filtered = known }
            return
        }
        // What comes back from a content filter was an attempt the first time.
        let isOwn = account != nil || isForwarded || known.address?.isLoopback == true
        if isOwn { counts.own += 1 }
        let message = open(known, isOwn: isOwn, account: account.map { bytes.text($0) }, time)
        insert(message, bytes.hash(queue, from: instance))
    }

    private mutating func refused(_ bytes: Span<UInt8>, _ refusal: LogEvent.Refusal, _ time: WallTime, _ instance: UInt64, _ process: Int) {
        let isRefusal = bytes.equals(refusal.action, "reject") || bytes.equals(refusal.action, "milter-reject")
        guard isRefusal || bytes.equals(refusal.action, "discard") else {
            // Warnings, filters and redirections tell who greets how.
            if let helo = refusal.envelope.helo, !helo.isEmpty { note(instance &+ UInt64(process)) { $0.helo = bytes.text(helo) } }
            return
        }
        let isWholeMessage = refusal.queue != nil && !bytes.equals(refusal.stage, "RCPT")
        let message = isWholeMessage ? refusal.queue.flatMap { messages.removeValue(forKey: bytes.hash($0, from: instance)) } : nil
        let greylisted = isRefusal && isGreylisting(bytes, refusal)
        guard let recipient = refusal.envelope.recipient, let mailbox = Mailbox(bytes.text(recipient)) else {
            counts.withoutRecipient += 1
            return
        }
        if !greylisted {
            counts.refused += 1
            guard options.tellsRefused else { return }
        }
        let helo = refusal.envelope.helo.map { bytes.text($0) } ?? ""
        let sender = refusal.envelope.sender
        var client = message?.client ?? self.client(bytes, refusal.client, helo: helo)
        client.helo = helo
        let known = client.address.flatMap { facts[$0, at: time] }
        var evidence = known?.evidence ?? AttemptEvidence()
        if let sender {
            evidence.spf = Self.spf(known, senderHash: bytes.hash(sender), isNull: sender.isEmpty)?.result
        }
        tell(
            LoggedAttempt(
                time: message?.time ?? time, client: client, sender: sender.map { ReversePath(bytes.text($0)) } ?? .null,
                recipient: mailbox,
                message: message?.number ?? number(), outcome: greylisted ? .deferred : .refused, evidence: evidence))
    }

    private mutating func filtered(
        _ bytes: Span<UInt8>, _ isAccepted: Bool, _ envelope: LoggedEnvelope, _ time: WallTime, _ instance: UInt64, _ process: Int
    ) {
        guard var client = sessions[instance &+ UInt64(process)]?.filtered, let recipient = envelope.recipient,
            let mailbox = Mailbox(bytes.text(recipient))
        else { return }
        guard isAccepted else {
            counts.refused += 1
            return
        }
        guard client.address?.isLoopback != true else { return }
        if let helo = envelope.helo { client.helo = bytes.text(helo) }
        let known = client.address.flatMap { facts[$0, at: time] }
        var evidence = known?.evidence ?? AttemptEvidence()
        if let sender = envelope.sender {
            evidence.spf = Self.spf(known, senderHash: bytes.hash(sender), isNull: sender.isEmpty)?.result
        }
        tell(
            LoggedAttempt(
                time: time, client: client, sender: envelope.sender.map { ReversePath(bytes.text($0)) } ?? .null, recipient: mailbox,
                message: number(), evidence: evidence))
    }

    private mutating func delivered(_ bytes: Span<UInt8>, _ delivery: LogEvent.Delivery, _ time: WallTime, _ instance: UInt64) {
        guard let message = messages[bytes.hash(delivery.queue, from: instance)], let sender = message.sender else { return }
        if message.isOwn {
            guard delivery.isRemote, bytes.equals(delivery.status, "sent"), !bytes.contains("[127.", in: delivery.relay),
                let recipient = Mailbox(bytes.text(delivery.recipient)), !recipient.domain.isEmpty
            else { return }
            sent.append(SentMessage(time: time, sender: sender, recipient: recipient))
            return
        }
        // Address verification asks with a message of its own.
        if bytes.ends(delivery.status, "deliverable") { return }
        // What the client named, where the log still has that; an alias's bare name is no recipient of a client's.
        var named = delivery.recipient
        if let original = delivery.original, bytes.firstIndex(of: UInt8(ascii: "@"), in: original) != nil { named = original }
        guard let mailbox = Mailbox(bytes.text(named)) else { return }
        let folded = mailbox.folded
        guard !message.recipients.contains(folded) else { return }
        message.recipients.append(folded)
        var client = message.client
        client.helo = message.helo
        tell(
            LoggedAttempt(
                time: message.time, client: client, sender: sender, recipient: mailbox, message: message.number, bytes: message.share,
                account: message.account, evidence: message.evidence))
    }

    /// Whether a refusal is a greylister's "not yet".
    private func isGreylisting(_ bytes: Span<UInt8>, _ refusal: LogEvent.Refusal) -> Bool {
        guard refusal.code / 100 == 4 else { return false }
        let text = refusal.text
        if bytes.contains("greylist", in: text) || bytes.contains("graylist", in: text) || bytes.contains("come back", in: text) {
            return true
        }
        // rspamd's answer, and that of postscreen's tests after the greeting.
        if bytes.begins(refusal.action, "milter"), bytes.contains("try again later", in: text) { return true }
        if refusal.client.name.isEmpty, bytes.equals(refusal.enhancedCode, "4.3.2"), bytes.begins(text, "Service currently unavailable") {
            return true
        }
        guard !options.greylistTexts.isEmpty else { return false }
        let folded = bytes.text(text).lowercasedASCII
        return options.greylistTexts.contains { folded.contains($0) }
    }

    // MARK: - What a policy service said

    /// A service's line is an attempt of its own only in a log that has no lines of the server.
    private mutating func answered(_ bytes: Span<UInt8>, _ answer: LogEvent.PolicyAnswer, _ time: WallTime) {
        guard !hasSeenServer, let mailbox = Mailbox(bytes.text(answer.recipient)) else { return }
        let client = client(bytes, answer.client, helo: "")
        answers.append(
            LoggedAttempt(
                time: time, client: client, sender: ReversePath(bytes.text(answer.sender)), recipient: mailbox, message: number(),
                outcome: answer.isDeferred ? .deferred : .accepted))
    }

    private mutating func releaseAnswers(before limit: WallTime?) {
        while let first = answers.first, limit.map({ first.time < $0 }) ?? true {
            answers.removeFirst()
            if !hasSeenServer { tell(first) }
        }
    }

    // MARK: - Values

    private mutating func tell(_ attempt: LoggedAttempt) {
        counts.attempts += 1
        attempts.append(attempt)
    }

    private mutating func number() -> UInt64 {
        defer { nextNumber += 1 }
        return nextNumber
    }

    private mutating func open(_ client: Client, isOwn: Bool, account: String?, _ time: WallTime) -> Message {
        Message(
            number: number(), time: time, client: client, isOwn: isOwn, account: account,
            facts: isOwn ? nil : client.address.flatMap { facts[$0, at: time] })
    }

    private mutating func insert(_ message: Message, _ key: UInt64) {
        messages[key] = message
        young.append(Waiting(time: message.time, key: key))
        while let first = young.first, message.time - first.time > Self.patience {
            young.removeFirst()
            guard let waiting = messages[first.key], waiting.time == first.time else { continue }
            if waiting.sender == nil { forget(first.key) } else { old.append(first) }
        }
        while let first = old.first, message.time - first.time > Self.queueLifetime {
            old.removeFirst()
            if let waiting = messages[first.key], waiting.time == first.time { forget(first.key) }
        }
        while messages.count > Self.maximumMessages, let first = old.first ?? young.first {
            if old.isEmpty { young.removeFirst() } else { old.removeFirst() }
            if let waiting = messages[first.key], waiting.time == first.time { forget(first.key) }
        }
    }

    private mutating func forget(_ key: UInt64) {
        guard let message = messages.removeValue(forKey: key) else { return }
        if !message.isOwn, message.recipients.isEmpty { counts.incomplete += 1 }
    }

    private mutating func note(_ session: UInt64, _ change: (inout Session) -> Void) {
        if sessions.count >= Self.maximumSessions { sessions.removeAll() }
        change(&sessions[session, default: Session()])
    }

    private func address(_ bytes: Span<UInt8>, _ client: LoggedClient) -> IPAddress? { address(bytes, client.address) }

    private func address(_ bytes: Span<UInt8>, _ piece: Piece) -> IPAddress? {
        bytes.extracting(piece).withUnsafeBufferPointer { IPAddress(bytes: $0) }
    }

    private func client(_ bytes: Span<UInt8>, _ client: LoggedClient, helo: String) -> Client {
        // Postfix writes "unknown" for a name that is not there or was not confirmed.
        let isNamed = !client.name.isEmpty && !bytes.equals(client.name, "unknown")
        return Client(
            address: address(bytes, client.address), confirmedName: isNamed ? DomainName(bytes.text(client.name)) : nil, helo: helo)
    }

    /// The answer that was about this sender; for the null sender the one about HELO counts (RFC 7208 §2.4).
    private static func spf(_ facts: ClientFacts?, senderHash: UInt64, isNull: Bool) -> ClientFacts.SPFAnswer? {
        if let answer = facts?.spf, answer.senderHash == senderHash { return answer }
        guard isNull else { return nil }
        return facts?.heloSPF
    }
}

/// First in, first out, on an array.
struct Queue<Element> {
    private var elements: [Element] = []
    private var head = 0

    var isEmpty: Bool { head == elements.count }
    var count: Int { elements.count - head }
    var first: Element? { isEmpty ? nil : elements[head] }

    mutating func append(_ element: Element) { elements.append(element) }

    mutating func removeFirst() {
        head += 1
        if head > 64, head * 2 > elements.count {
            elements.removeFirst(head)
            head = 0
        }
    }
}
