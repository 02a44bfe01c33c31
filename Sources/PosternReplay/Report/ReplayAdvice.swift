import PosternEngine

/// What an admin who replays a log is to make of the report.
struct ReplayAdvice {
    /// Of each policy, in the order of the report.
    let settings: [EngineSettings]

    /// A share of honest deliveries that suffer, up to which settings suit a site.
    static let tolerated = 0.01
    /// A share of deliveries that are delayed, from which on it is worth making senders known beforehand.
    static let worthImporting = 0.02

    func sentences(on report: TrafficReport) -> [String] {
        guard let policy = report.policies.first, let settings = settings.first, policy.all.deliveries > 0 else { return [] }
        var advice: [String] = []
        if settings.profile == .selective, report.input.attemptsWithEvidence == 0 {
            advice.append(
                "Nothing in this data speaks for anybody (SPF, DNS lists), so profile selective was replayed as classic, its worst case. With --look-up your resolvers and lists are asked as they are today."
            )
        }
        let honest = policy.suffering
        let suffer = honest.lost + honest.late
        let minutes = max(honest.lateAfter / 60, 1)
        if honest.deliveries > 0 {
            let words =
                "\(honest.lost) of \(honest.deliveries) honest deliveries would be lost, \(honest.late) delayed for more than \(minutes) minutes"
            if Double(suffer) <= Double(honest.deliveries) * Self.tolerated {
                advice.append("\(words): that is little, so \(policy.policy) suits this traffic.")
            } else {
                advice.append("\(words): that is more than one in a hundred, so look at who they are before you switch on.")
                if let remedy = remedy(honest) { advice.append(remedy) }
            }
        }
        if Double(policy.all.delayed) > Double(policy.all.deliveries) * Self.worthImporting, !report.input.files.isEmpty {
            advice.append(
                "\(policy.all.delayed) of \(policy.all.deliveries) deliveries would be delayed, most of them first contacts. `postern import maillog` with the same files makes known who wrote before, so that the first day does not delay them again."
            )
        }
        if let label = policy.spam, label.deliveries > 0 {
            let stopped = label.blocked + label.refused
            advice.append("\(stopped) of \(label.deliveries) deliveries of spam would be stopped.")
        }
        if report.policies.count == 2 { advice.append(comparison(report.policies[0], report.policies[1])) }
        if settings.greylist.mode == .on, !report.input.files.isEmpty {
            advice.append("To see it with today's mail and harm nobody: `greylist: { mode: shadow }` for a day, then `postern report`.")
        }
        return advice
    }

    /// The one thing that would spare most.
    private func remedy(_ honest: SufferingReport) -> String? {
        var spared: [String: Int] = [:]
        for sender in honest.senders where !sender.remedy.isEmpty { spared[sender.remedy, default: 0] += sender.lost + sender.late }
        guard let (best, count) = spared.max(by: { ($0.value, $1.key) < ($1.value, $0.key) }) else { return nil }
        if best.hasPrefix("greylist.") {
            return "`\(best)` would spare \(count) of them: put it into a file and compare with --against."
        }
        let allows = spared.filter { $0.key.hasPrefix("postern allow") }.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(3)
        guard !allows.isEmpty else { return "Most of them: \(best)." }
        let total = allows.reduce(0) { $0 + $1.value }
        return
            "Slow or changing senders are best allowed by name; these would spare \(total) of them: \(allows.map { "`\($0.key)`" }.joined(separator: ", "))."
    }

    private func comparison(_ first: PolicyReport, _ second: PolicyReport) -> String {
        func losses(_ policy: PolicyReport) -> Int { policy.suffering.lost + policy.suffering.late }
        func stopped(_ policy: PolicyReport) -> Int {
            let group = policy.spam ?? policy.all
            return group.blocked + group.refused
        }
        let harm = losses(second) - losses(first)
        let catches = stopped(second) - stopped(first)
        let kind = first.spam == nil ? "deliveries" : "deliveries of spam"
        func words(_ number: Int) -> String { number == 0 ? "as many" : "\(abs(number)) \(number > 0 ? "more" : "fewer")" }
        return
            "Beside \(first.policy), \(second.policy) makes \(words(harm)) honest deliveries suffer, and stops \(words(catches)) \(kind)."
    }
}
