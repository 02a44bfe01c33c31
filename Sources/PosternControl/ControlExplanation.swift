import PosternCore
import PosternEngine

// What would become of an attempt; nothing is changed.

extension ControlHandler {
    func explain(_ question: Question) async throws(ControlFailure) -> Explanation {
        if question.reference == nil { try checkMailboxes(question) }
        var attempt = try attempt(try await completed(question))
        attempt.harvested = attempt.client.address.flatMap { state.harvestedColour(of: $0) }
        let (throttled, limits) = await state.standing(of: attempt)
        attempt.throttled = throttled
        var explanation = try await explain(attempt)
        explanation.limits = limits.map { LimitReport($0, redacted: state.redacts) }
        return explanation
    }

    private func explain(_ attempt: Attempt) async throws(ControlFailure) -> Explanation {
        let engine = state.engine()
        let moment = state.now()
        var asked = attempt
        var step = engine.begin(asked, now: moment.steady, showsChecks: true)
        // The null sender is judged in reply to DATA, with what RCPT left behind.
        if case .decided(let decision) = step, attempt.sender == .null, decision.verdict.leavesNullSenderToData {
            asked.stage = .data
            asked.recipientCount = 1
            step = engine.begin(asked, memory: decision.memory, now: moment.steady, showsChecks: true)
        }
        switch step {
        case .decided(let decision):
            return Explanation(decision, stage: asked.stage, at: moment)
        case .needs(let inquiry):
            var inquiry = inquiry
            if engine.wantsFindings(inquiry) {
                let findings = await state.findings(for: asked)
                if attempt.client.confirmedName == nil, case .confirmed(let name) = findings.reverseName {
                    // A front has looked it up before it asks.
                    var named = attempt
                    named.client.confirmedName = name
                    return try await explain(named)
                }
                inquiry = engine.inform(inquiry, with: findings)
            }
            let needs = inquiry.needs
            let evidence = try await stored { () async throws(StoreFailure) in try await store.read(needs) }
            let decision = engine.conclude(inquiry, evidence: evidence, now: moment.steady)
            var explanation = Explanation(decision, stage: asked.stage, at: moment)
            // Of who is not greylisted they say nothing.
            let rows = inquiry.isSpared ? [] : needs.triplets
            explanation.triplets = zip(rows, evidence.triplets).map { Explanation.TripletReport($0, $1, at: moment) }
            explanation.identities = zip(needs.identities, evidence.identities).map {
                Explanation.IdentityReport($0, $1, provenAfter: engine.settings.greylist.provenAfter, at: moment)
            }
            explanation.note(
                engine.settings, asked, inquiry.findings, engine.lists.suspicion(of: asked.client, at: moment.steady))
            return explanation
        }
    }

    /// What a person has typed: a domain where a mailbox should be is a slip. A local part alone is what some clients name.
    private func checkMailboxes(_ question: Question) throws(ControlFailure) {
        for (role, text) in [("sender", question.sender), ("recipient", question.recipient)] where !text.isEmpty {
            // Told below.
            if text.contains("<") || text.contains(">") { continue }
            guard Self.isWhole(text) || !text.utf8.contains(where: { $0 == UInt8(ascii: "@") || $0 == UInt8(ascii: ".") }) else {
                throw ControlFailure(.badData, "the \(role) '\(text.shortened)' is not a mailbox such as user@example.org")
            }
        }
    }

    /// With the client and envelope of the decision that it names, or with the account as it would log in.
    private func completed(_ question: Question) async throws(ControlFailure) -> Question {
        guard let reference = question.reference else {
            var question = question
            if !question.account.isEmpty { question.account = state.account(question.account) }
            return question
        }
        guard let decision = try await decisions(Search(reference: reference, limit: 1)).first else {
            throw ControlFailure(.badData, "there is no decision \(reference.shortened) any more")
        }
        guard !decision.address.isEmpty, let recipient = Self.mailboxes(decision.recipient).first else {
            throw ControlFailure(.badData, "the decision names no client, or no recipient")
        }
        return Question(
            address: decision.address, name: decision.name, helo: decision.helo, sender: decision.sender, recipient: recipient,
            account: decision.account)
    }

    private func attempt(_ question: Question) throws(ControlFailure) -> Attempt {
        guard let address = IPAddress(question.address) else {
            throw ControlFailure(.badData, "'\(question.address.shortened)' is not an IP address")
        }
        var name: DomainName?
        if !question.name.isEmpty {
            name = DomainName(question.name)
            if name == nil { throw ControlFailure(.badData, "'\(question.name.shortened)' is not a host name") }
        }
        guard let recipient = Mailbox(question.recipient) else {
            throw ControlFailure(.badData, "a recipient must be named, such as user@example.org")
        }
        for text in [question.sender, question.recipient] where text.contains("<") || text.contains(">") || text.utf8.count > 1000 {
            throw ControlFailure(.badData, "'\(text.shortened)' is not a mailbox; leave out the angle brackets")
        }
        return Attempt(
            stage: .rcpt, client: Client(address: address, confirmedName: name, helo: question.helo),
            sender: ReversePath(question.sender), recipient: recipient, account: question.account.isEmpty ? nil : question.account)
    }
}

extension Explanation {
    init(_ decision: Decision, stage: Stage, at moment: Moment) {
        let verdict = decision.verdict.shown(by: moment.wall(of:))
        self.init(
            verdict: verdict.action.name, stage: stage.rawValue,
            causes: verdict.causes.map(CauseReport.init),
            passesAt: verdict.passesAt?.description, passesInSeconds: verdict.passesAt.map { ($0 - moment.wall).secondsRoundedUp },
            header: verdict.header, identities: [], triplets: [])
        // accounts.action: a gateway keeps nothing.
        if verdict.holdsMessage, !causes.isEmpty {
            causes[0].text += "; Postfix keeps it in its hold queue, a submission listener refuses it"
        }
    }
}

extension Explanation {
    /// Every check, and what was looked up for them.
    mutating func note(_ settings: EngineSettings, _ attempt: Attempt, _ findings: Findings?, _ suspicion: Suspicion?) {
        let assessment = settings.assess(attempt, findings, suspicion)
        score = assessment.score
        checks = Check.allCases.map { check in
            let setting = settings.setting(of: check)
            var report = CheckReport(
                check: check.rawValue, mode: setting.mode.rawValue, weight: setting.score, fired: false, added: 0, evidence: "")
            var evidence: [String] = []
            for case .scored(check, let fired, _, let text) in assessment.causes {
                report.fired = true
                if fired.mode == .on { report.added = (report.added + fired.score).asScore }
                if !text.isEmpty { evidence.append(text) }
            }
            report.evidence = evidence.joined(separator: ", ")
            return report
        }
        guard let findings else { return }
        facts = findings.facts.map { FactReport(fact: $0.0, value: $0.1) }
        factsAgeSeconds = findings.age.milliseconds / 1000
    }
}

extension Findings {
    /// In words, as people ask for them.
    fileprivate var facts: [(String, String)] {
        let reverse =
            switch reverseName {
            case .unknown: "unknown"
            case .none: "none"
            case .unconfirmed(let name): "\(name), which does not lead back"
            case .confirmed(let name): "\(name), confirmed"
            }
        let resolution =
            switch helo {
            case .unknown: "unknown"
            case .none: "has no address"
            case .client: "leads to the client"
            case .elsewhere: "leads elsewhere"
            }
        let domain =
            switch senderDomain {
            case .unknown: "unknown"
            case .reachable: "takes mail"
            case .nullMX: "says that it takes no mail"
            case .none: "has neither MX nor address"
            }
        var facts = [("reverse-name", reverse), ("helo", resolution), ("sender-domain", domain)]
        if let spf {
            let basis = spf.result == .pass && !spf.identifies ? ", which does not tell who sends" : ""
            facts.append(("spf", "\(spf.result.rawValue)\(spf.domain.map { " for \($0)" } ?? "")\(basis)"))
        }
        facts += listings.map { ("list", "\($0.list) says \($0.reply)") }
        facts.append(("lists", "\(listsAnswered) answered, \(listsSilent) did not"))
        if let country { facts.append(("country", country)) }
        if let network { facts.append(("network", "AS\(network.number) \(network.name)")) }
        return facts
    }
}

extension Explanation.CauseReport {
    init(_ cause: Cause) {
        var score: Double?
        if case .scored(_, let setting, _, _) = cause { score = setting.mode == .on ? setting.score : 0 }
        self.init(check: cause.check, word: cause.word, text: cause.description, score: score)
    }
}

extension Explanation.TripletReport {
    init(_ key: TripletKey, _ row: TripletRow?, at moment: Moment) {
        self.init(
            identity: key.identity.description, sender: key.sender, recipient: key.recipient, isKnown: row != nil,
            firstSeen: (row?.firstSeen).map(moment.shown), lastSeen: (row?.lastSeen).map(moment.shown),
            passedAt: row?.passedAt.map(moment.shown), deferrals: row?.deferrals, passes: row?.passes,
            expires: (row?.expires).map(moment.shown))
    }
}

extension Explanation.IdentityReport {
    init(_ identity: Identity, _ row: IdentityRow?, provenAfter: UInt32, at moment: Moment) {
        self.init(
            identity: identity.description, passes: row?.passes ?? 0, provenAfter: provenAfter,
            lastSeen: (row?.lastSeen).map(moment.shown), expires: (row?.expires).map(moment.shown))
    }
}
