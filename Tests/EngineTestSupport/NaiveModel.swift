import PosternCore
import PosternEngine

/// Greylisting as a person would do it who keeps a diary: a list of all that happened, read from the start for each
/// question. Slow, and written to be seen to be right; it shares no code with the engine.
public struct NaiveModel: Sendable {
    /// What the diary holds of one attempt for one recipient.
    struct Entry {
        var time: WallTime
        var identities: [String]
        var person: World.Person
        var recipient: String
        /// When the waiting that this attempt is part of began; `nil` once it is over, because the mail passed.
        var waitingSince: WallTime?
        /// Whether anybody was sent away while it lasted, and not just watched.
        var wasDeferred: Bool
    }

    struct Message {
        var awaitingData: [String] = []
        /// Why the first exempt recipient was exempt, or the first that was exempt from greylisting alone.
        var exempt: String?
        var headerGiven = false
        var counted = false
    }

    public struct Answer: Equatable, Sendable {
        public var action: Verdict.Action
        public var word: String
        public var passesAt: WallTime?
        public var headerSeconds: Int64?
    }

    let delay: WallTime.Span
    let window: WallTime.Span
    let lifetime: WallTime.Span
    let provenAfter: Int
    var mode = Mode.on
    var diary: [Entry] = []
    /// Messages that passed: when, and from whom.
    var passed: [(time: WallTime, identities: [String])] = []
    var messages: [Int: Message] = [:]
    var listed: [(list: ListEntry.List, kind: Step.ListedKind, until: WallTime?)] = []
    var releases: [(recipient: String, until: WallTime)] = []

    public init(_ settings: GreylistSettings) {
        delay = settings.delay
        window = settings.window
        lifetime = settings.lifetime
        provenAfter = Int(settings.provenAfter)
    }

    // MARK: What everybody may know before anything is looked up

    /// `nil` where the mail is to be greylisted.
    func exemption(host: Int, person: World.Person, recipient: Int?, at now: WallTime) -> String? {
        func says(_ kind: Step.ListedKind) -> ListEntry.List? {
            let live = listed.filter { $0.kind == kind && ($0.until.map { now < $0 } ?? true) }
            // Of an allow and a block for the same thing, the allow.
            return live.contains { $0.list == .allow } ? .allow : live.isEmpty ? nil : .block
        }
        let name = recipient.map { World.recipients[$0] }
        if name?.hasPrefix("postmaster@") == true { return "always-reachable" }
        let entryOfHost = Step.ListedKind.host(World.listedAs(host))
        if says(entryOfHost) == .block { return "blocked" }
        if says(.person(person)) == .block { return "blocked" }
        if let recipient, says(.recipient(recipient)) == .block { return "blocked" }
        if World.hosts[host].isForwarder { return "forwarder" }
        if says(entryOfHost) == .allow { return "allowed" }
        if let recipient, says(.recipient(recipient)) == .allow { return "allowed" }
        if releases.contains(where: { $0.recipient == name && now < $0.until }) { return "released" }
        if mode == .off { return "greylist-off" }
        if name == World.optedOut { return "opted-out" }
        return nil
    }

    // MARK: What the diary says

    enum Finding: Equatable {
        case new
        case early(since: WallTime, wasDeferred: Bool)
        case passes(since: WallTime, wasDeferred: Bool)
        case known
    }

    /// What an identity's last entry about this person and recipient says, unless it is too old to say anything.
    private func lastWord(_ identity: String, _ person: World.Person, _ recipient: String, at now: WallTime) -> Entry? {
        guard let last = diary.last(where: { $0.person == person && $0.recipient == recipient && $0.identities.contains(identity) }) else {
            return nil
        }
        let tooOld = last.waitingSince.map { now - $0 >= window } ?? (now - last.time >= lifetime)
        return tooOld ? nil : last
    }

    func finding(host: Int, person: World.Person, recipient: String, at now: WallTime) -> Finding {
        let entries = World.hosts[host].identities.compactMap { lastWord($0, person, recipient, at: now) }
        if entries.contains(where: { $0.waitingSince == nil }) { return .known }
        // A moment that lies ahead can only be a clock's error.
        guard let since = entries.compactMap(\.waitingSince).min().map({ min($0, now) }) else { return .new }
        let wasDeferred = entries.contains(where: \.wasDeferred)
        return now - since < delay ? .early(since: since, wasDeferred: wasDeferred) : .passes(since: since, wasDeferred: wasDeferred)
    }

    /// How many messages have passed from this identity, without a lifetime's silence among them or since.
    func messagesPassed(_ identity: String, by now: WallTime) -> Int {
        var count = 0
        var last: WallTime?
        for message in passed where message.identities.contains(identity) {
            if let last, message.time - last >= lifetime { count = 0 }
            count += 1
            last = message.time
        }
        return last.map { now - $0 < lifetime } == true ? count : 0
    }

    private func isProven(_ host: Int, at now: WallTime) -> Bool {
        guard provenAfter > 0, !World.hosts[host].isConsumer else { return false }
        return World.hosts[host].identities.contains { messagesPassed($0, by: now) >= provenAfter }
    }

    /// The engine may forget what has passed a hundredth of a lifetime early, since it does not write down every
    /// sighting: whether an answer now depends on which it is.
    func isDoubtful(host: Int, at now: WallTime) -> Bool {
        let identities = World.hosts[host].identities
        func isDoubtful(_ time: WallTime) -> Bool {
            let age = now - time
            return age < lifetime && age.milliseconds * 100 >= lifetime.milliseconds * 99
        }
        return diary.contains { entry in
            entry.waitingSince == nil && isDoubtful(entry.time) && entry.identities.contains { identities.contains($0) }
        }
            || passed.contains { message in isDoubtful(message.time) && message.identities.contains { identities.contains($0) } }
    }

    // MARK: Answers

    /// What is to be said at RCPT before anything is looked up; `nil` where something must be.
    mutating func beginRcpt(message: Int, host: Int, person: World.Person, recipient: Int, at now: WallTime) -> Answer? {
        if let word = exemption(host: host, person: person, recipient: recipient, at: now) {
            let exempt = messages[message]?.exempt
            if person == .null && word != "blocked" || word == "always-reachable",
                exempt == nil || Self.isScored(word) && !Self.isScored(exempt)
            {
                messages[message, default: Message()].exempt = word
            }
            return Answer(action: word == "blocked" ? .reject : .accept, word: word)
        }
        guard person == .null else { return nil }
        let name = World.recipients[recipient]
        if messages[message]?.awaitingData.contains(name) != true { messages[message, default: Message()].awaitingData.append(name) }
        return Answer(action: .accept, word: "null-sender")
    }

    /// The same at DATA.
    func beginData(message: Int, host: Int, person: World.Person, recipients: [Int], at now: WallTime) -> Answer? {
        let only = recipients.count == 1 ? recipients[0] : nil
        guard person == .null else {
            let isBlocked =
                messages[message]?.exempt != "always-reachable"
                && exemption(host: host, person: person, recipient: only, at: now) == "blocked"
            return isBlocked ? Answer(action: .reject, word: "blocked") : Answer(action: .accept, word: "stage")
        }
        let word = exemption(host: host, person: person, recipient: only, at: now)
        // What is said of the message as a whole, where none of its recipients is to be greylisted.
        let exempt = messages[message]?.awaitingData.isEmpty == false ? nil : messages[message]?.exempt
        if let word, !Self.isScored(word) || exempt == nil || Self.isScored(exempt) {
            return Answer(action: word == "blocked" ? .reject : .accept, word: word)
        }
        return exempt.map { Answer(action: .accept, word: $0) }
    }

    /// Whether mail that is exempt for this reason is exempt from greylisting alone, so that checks count.
    private static func isScored(_ word: String?) -> Bool { word == "greylist-off" || word == "opted-out" }

    /// Whom a question is about that needs the diary.
    func recipients(message: Int, ofData recipients: [Int]) -> [String] {
        if let awaiting = messages[message]?.awaitingData, !awaiting.isEmpty { return awaiting }
        return recipients.count == 1 ? [World.recipients[recipients[0]]] : ["*"]
    }

    /// Decides, and writes it into the diary.
    mutating func conclude(message: Int, host: Int, person: World.Person, recipients: [String], mode: Mode, at now: WallTime) -> Answer {
        let identities = World.hosts[host].identities
        var memory = messages[message] ?? Message()
        defer { messages[message] = memory }

        func countOnce() {
            guard !memory.counted, !World.hosts[host].isConsumer else { return }
            passed.append((now, identities))
            memory.counted = true
        }
        if isProven(host, at: now) {
            countOnce()
            return Answer(action: .accept, word: "proven")
        }

        let findings = recipients.map { finding(host: host, person: person, recipient: $0, at: now) }
        // The moment from which each recipient who must wait may be written to.
        let starts = findings.compactMap { finding -> WallTime? in
            switch finding {
            case .new: now
            case .early(let since, _): since
            case .passes, .known: nil
            }
        }
        let waits = !starts.isEmpty
        for (recipient, finding) in zip(recipients, findings) {
            let entry: WallTime??
            var wasDeferred = mode == .on
            switch finding {
            case .new: entry = .some(now)
            case .early(let since, let was):
                entry = .some(since)
                wasDeferred = wasDeferred || was
            // Nothing has passed where the message as a whole must wait.
            case .passes, .known: entry = waits ? nil : .some(nil)
            }
            if let waitingSince = entry {
                diary.append(
                    Entry(
                        time: now, identities: identities, person: person, recipient: recipient, waitingSince: waitingSince,
                        wasDeferred: wasDeferred))
            }
        }

        var answer: Answer
        if let latest = starts.max() {
            answer = Answer(action: .defer, word: findings.contains(.new) ? "new" : "early", passesAt: latest + delay)
        } else {
            countOnce()
            // Who was only watched has passed before.
            let earliest = findings.compactMap { finding -> WallTime? in
                guard case .passes(let since, let wasDeferred) = finding, wasDeferred || mode == .shadow else { return nil }
                return since
            }.min()
            answer = Answer(action: .accept, word: earliest == nil ? "known" : "passed")
            if let earliest, !memory.headerGiven {
                memory.headerGiven = true
                answer.headerSeconds = (now - earliest).secondsRoundedUp
            }
        }
        if mode == .shadow {
            if answer.action == .defer { answer = Answer(action: .accept, word: "shadow-defer") }
            answer.headerSeconds = nil
        }
        return answer
    }
}
