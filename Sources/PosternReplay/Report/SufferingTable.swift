import PosternCore
import PosternEngine

/// Honest deliveries that were lost, or delayed for long, by where they came from; and which setting would have spared them.
struct SufferingTable {
    /// As many senders are told apart; what comes after them counts in the sums only.
    static let maximum = 50_000

    /// Why a delivery suffered, which says what would have spared it.
    enum Trouble: Hashable {
        /// Its first retry came later than the window is long.
        case cameTooLate
        /// It came back, and never after the delay had passed.
        case gaveUpEarly
        /// It came back too early, and then took its time.
        case cameTooEarly
        /// It came back by no identity that its first attempt had.
        case changedIdentity
        /// It never came back.
        case neverCame
        /// It comes back slowly.
        case isSlow
        /// A list entry or a score refused it.
        case refused
    }

    private struct Row {
        var deliveries = 0
        var lost = 0
        var late = 0
        var longest = WallTime.Span.zero
        var troubles: [Trouble: Int] = [:]
        /// The shortest of the waits that a shorter delay would have to fit, and the longest that a wider window would.
        var delay: WallTime.Span?
        var window: WallTime.Span?
        var example: LinkedAttempt?
    }

    private let greylist: GreylistSettings
    private let lateAfter: WallTime.Span
    private var rows: [String: Row] = [:]
    private var sums = SufferingReport()

    init(greylist: GreylistSettings, lateAfter: WallTime.Span) {
        self.greylist = greylist
        self.lateAfter = lateAfter
    }

    mutating func add(_ delivery: FinishedDelivery) {
        sums.deliveries += 1
        let isLost = delivery.result == .blocked || delivery.result == .refused
        let isLate = delivery.result == .delayed && delivery.age > lateAfter
        if isLost { sums.lost += 1 }
        if isLate { sums.late += 1 }
        let client = Self.client(delivery.linked)
        guard rows[client] != nil || rows.count < Self.maximum else { return }
        var row = rows[client] ?? Row()
        row.deliveries += 1
        if isLost { row.lost += 1 }
        if isLate {
            row.late += 1
            row.longest = max(row.longest, delivery.age)
        }
        if isLost || isLate {
            note(trouble(delivery), delivery, in: &row)
            if row.example == nil { row.example = delivery.linked }
        }
        rows[client] = row
    }

    private static func client(_ linked: LinkedAttempt) -> String {
        if let domain = linked.clientDomain { return domain }
        guard let address = linked.attempt.client.address else { return "(unknown)" }
        return Prefix(address, length: address.family == .v4 ? 24 : 64).description
    }

    private func trouble(_ delivery: FinishedDelivery) -> Trouble {
        if delivery.result == .refused { return .refused }
        let retries = delivery.ages.dropFirst()
        guard let last = retries.last else { return .neverCame }
        if delivery.result == .delayed {
            if delivery.wasTakenForNew { return retries.contains { $0 >= greylist.window } ? .cameTooLate : .changedIdentity }
            return retries.contains { $0 < greylist.delay && $0 >= Self.shortestDelay } ? .cameTooEarly : .isSlow
        }
        if retries.contains(where: { $0 >= greylist.window }) { return .cameTooLate }
        return last >= greylist.delay ? .changedIdentity : .gaveUpEarly
    }

    /// A shorter delay than this stops hardly anything.
    private static let shortestDelay = WallTime.Span.minutes(1)

    private func note(_ trouble: Trouble, _ delivery: FinishedDelivery, in row: inout Row) {
        row.troubles[trouble, default: 0] += 1
        let retries = delivery.ages.dropFirst()
        switch trouble {
        case .cameTooEarly, .gaveUpEarly:
            // The latest of the early ones is the longest delay that it would have outwaited.
            if let early = retries.last(where: { $0 < greylist.delay }) { row.delay = min(row.delay ?? early, early) }
        case .cameTooLate:
            if let late = retries.first(where: { $0 >= greylist.window }) { row.window = max(row.window ?? late, late) }
        case .changedIdentity, .neverCame, .isSlow, .refused: break
        }
    }

    // MARK: - Report

    func report(rows limit: Int) -> SufferingReport {
        var report = sums
        report.lateAfter = lateAfter.secondsRoundedUp
        let worst = rows.filter { $0.value.lost + $0.value.late > 0 }.sorted {
            ($1.value.lost, $1.value.late, $0.key) < ($0.value.lost, $0.value.late, $1.key)
        }
        report.senders = worst.prefix(limit).map { client, row in
            let trouble = row.troubles.max { ($0.value, "\($1.key)") < ($1.value, "\($0.key)") }?.key ?? .isSlow
            let first = row.example?.attempt
            return SufferingReport.Sender(
                client: client, deliveries: row.deliveries, lost: row.lost, late: row.late,
                longestDelay: row.late > 0 ? row.longest.secondsRoundedUp : nil, sender: first?.sender.description ?? "",
                recipient: first?.recipient.description ?? "", why: why(trouble), remedy: remedy(trouble, row, client))
        }
        return report
    }

    private func why(_ trouble: Trouble) -> String {
        switch trouble {
        case .cameTooLate: "it came back after the window of \(greylist.window) had closed"
        case .gaveUpEarly: "it came back, but gave up before the delay of \(greylist.delay) was over"
        case .cameTooEarly: "it came back before the delay of \(greylist.delay) was over, and then not for long"
        case .changedIdentity: "it came back from another network and name"
        case .neverCame: "it never came back"
        case .isSlow: "it comes back slowly"
        case .refused: "it was refused"
        }
    }

    private func remedy(_ trouble: Trouble, _ row: Row, _ client: String) -> String {
        let allow = "postern allow add \(client) --as client"
        if let address = row.example?.attempt.client.address, address.isPrivate { return "networks.local: [\(client)]" }
        switch trouble {
        case .cameTooLate: return row.window.map { "greylist.window: \(Self.roundedUp($0))" } ?? allow
        case .gaveUpEarly, .cameTooEarly:
            guard let delay = row.delay, delay >= Self.shortestDelay else { return allow }
            return "greylist.delay: \(Self.roundedDown(delay))"
        case .changedIdentity, .neverCame, .isSlow: return client == "(unknown)" ? "" : allow
        case .refused: return "see the list entry or the check that refused it"
        }
    }

    private static func roundedUp(_ span: WallTime.Span) -> WallTime.Span {
        .hours((span.milliseconds + 3_599_999) / 3_600_000)
    }

    private static func roundedDown(_ span: WallTime.Span) -> WallTime.Span { .minutes(span.milliseconds / 60_000) }
}

extension IPAddress {
    /// RFC 1918 §3 and RFC 4193 §3.
    var isPrivate: Bool {
        switch family {
        case .v4: low >> 24 == 10 || low >> 20 == 0xac1 || low >> 16 == 0xc0a8
        case .v6: high >> 57 == 0x7e
        }
    }
}
