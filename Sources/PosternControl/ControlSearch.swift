import PosternCore
import PosternEngine

// Decisions, and the triplets that wait.

extension ControlHandler {
    func decisions(_ search: Search) async throws(ControlFailure) -> [DecisionReport] {
        if let text = search.anywhere { return try await decisions(search, anywhere: text) }
        let filter = try filter(search)
        return try await stored { () async throws(StoreFailure) in try await store.decisions(filter) }.map(DecisionReport.init)
    }

    /// Octets of a text below which it is looked for among the newest decisions alone: so short a text is in most of them, or
    /// every one must be read to know.
    public static let shortText = 4
    public static let newest = 25_000

    /// One text for all: a reference names one decision, everything else may be part of an address, a sender or a recipient.
    private func decisions(_ search: Search, anywhere text: String) async throws(ControlFailure) -> [DecisionReport] {
        var search = search
        search.anywhere = nil
        if Reference(text) != nil {
            search.reference = text
            let found = try await decisions(search)
            if !found.isEmpty { return found }
            search.reference = nil
        }
        var found: [String: DecisionReport] = [:]
        var fields: [WritableKeyPath<Search, String?>] = [\.sender, \.recipient]
        if Search.mayBePart(ofAddress: text) { fields.append(\.address) }
        for field in fields where search[keyPath: field] == nil {
            var part = search
            part[keyPath: field] = text
            var filter = try filter(part, areParts: true)
            if text.utf8.count < Self.shortText { filter.mostSeen = Self.newest }
            let wanted = filter
            let decisions = try await stored { () async throws(StoreFailure) in try await store.decisions(wanted) }
            for decision in decisions { found[decision.reference.description] = DecisionReport(decision) }
        }
        // References sort by time, since all of one age have one length.
        let newest = found.values.sorted { ($0.reference.count, $0.reference) > ($1.reference.count, $1.reference) }
        return Array(newest.prefix(search.limit))
    }

    func waiting(_ search: Search) async throws(ControlFailure) -> [WaitingReport] {
        let filter = try filter(search)
        let moment = state.now()
        let delay = state.engine().settings.greylist.delay
        let triplets = try await stored { () async throws(StoreFailure) in try await store.waiting(filter, now: moment.steady) }
        return triplets.map { WaitingReport($0, delay: delay, at: moment) }
    }

    /// Forgetting everything is never what somebody meant who named nothing.
    func forgetFilter(_ search: Search) throws(ControlFailure) -> DecisionFilter {
        guard !search.isUnbounded else {
            throw ControlFailure(.badData, "say what to forget: an address, sender, recipient, reference or age")
        }
        return try filter(search)
    }

    /// An address, a network, a whole mailbox and `<>` are just that, anything else is a part of the field.
    ///
    /// - Parameter areParts: whether all texts are parts, whatever they look like.
    private func filter(_ search: Search, areParts: Bool = false) throws(ControlFailure) -> DecisionFilter {
        guard (1...10_000).contains(search.limit) else {
            throw ControlFailure(.badData, "a limit is 1 to 10000, not \(search.limit)")
        }
        var reference: Reference?
        if let text = search.reference {
            reference = Reference(text)
            if reference == nil { throw ControlFailure(.badData, "'\(text.shortened)' is not a reference of a decision") }
        }
        for text in [search.address, search.sender, search.recipient] where text?.isEmpty == true || text?.utf8.count ?? 0 > 1000 {
            throw ControlFailure(.badData, "a text to search for must have 1 to 1000 octets")
        }
        // Decisions carry the time of the wall clock, so that is what an age is counted from.
        let since = try search.age.map { (age) throws(ControlFailure) in state.now().wall - (try span(age)) }
        var filter = DecisionFilter(
            reference: reference, address: search.address, sender: search.sender.map(Self.searched),
            recipient: search.recipient.map(Self.searched), since: since, limit: search.limit)
        guard !areParts else { return filter }
        if let text = search.address {
            if let address = IPAddress(text) {
                filter.address = address.description
                filter.wholes.insert(.address)
            } else if let network = Prefix(text) {
                filter.address = nil
                filter.network = network
            } else if !Search.mayBePart(ofAddress: text) {
                throw ControlFailure(.badData, "'\(text.shortened)' is no address, network or part of an address")
            }
        }
        if filter.sender.map(Self.isWhole) == true { filter.wholes.insert(.sender) }
        if filter.recipient.map(Self.isWhole) == true { filter.wholes.insert(.recipient) }
        return filter
    }

    /// The null sender, as decisions have it, or a mailbox that has both its parts.
    static func isWhole(_ text: String) -> Bool {
        guard let sign = text.utf8.lastIndex(of: UInt8(ascii: "@")) else { return text.isEmpty }
        return sign != text.utf8.startIndex && text.utf8.index(after: sign) != text.utf8.endIndex
    }

    /// As decisions have mailboxes and domains. Without an `@`, what has a dot is taken for a domain and all else for part of a local part.
    private static func searched(_ text: String) -> String {
        let text = text.hasPrefix("<") && text.hasSuffix(">") ? String(text.dropFirst().dropLast()) : text
        let octets = text.utf8
        if octets.contains(UInt8(ascii: "@")) {
            guard isWhole(text) else { return text.foldedMailbox }
            // Or all recipients of a bounce.
            let all = mailboxes(text)
            return all.allSatisfy(isWhole) ? all.joined(separator: ", ") : Mailbox(text)?.folded ?? text
        }
        return octets.contains(UInt8(ascii: ".")) ? text.withALabels : text
    }
}

extension DecisionReport {
    init(_ decision: StoredDecision) {
        self.init(
            reference: decision.reference.description, time: decision.time.description, listener: decision.listener, stage: decision.stage,
            address: decision.address, name: decision.name, helo: decision.helo, sender: decision.sender, recipient: decision.recipient,
            account: decision.account, verdict: decision.action, reason: decision.reason, passesAt: decision.passesAt?.description)
    }
}

extension DecisionReport {
    /// As it may be shown.
    func shown(redacted: Bool) -> DecisionReport {
        guard redacted else { return self }
        var shown = self
        shown.sender = Redaction.mailboxes(sender)
        shown.recipient = Redaction.mailboxes(recipient)
        shown.account = Redaction.account(account)
        shown.reason = Redaction.sentence(reason)
        return shown
    }
}

extension WaitingReport {
    func shown(redacted: Bool) -> WaitingReport {
        var shown = self
        shown.decision = decision.shown(redacted: redacted)
        return shown
    }

    init(_ triplet: WaitingTriplet, delay: WallTime.Span, at moment: Moment) {
        let passes = triplet.row.firstSeen + delay
        self.init(
            decision: DecisionReport(triplet.record), firstSeen: moment.shown(triplet.row.firstSeen), deferrals: triplet.row.deferrals,
            passesAt: moment.shown(passes), passesInSeconds: (passes - moment.steady).secondsRoundedUp,
            expires: moment.shown(triplet.row.expires))
    }
}
