import PosternCore

/// Sets the results of two policies side by side, delivery by delivery.
struct Comparison {
    private struct Pair: Hashable {
        var from: DeliveryResult
        var to: DeliveryResult
    }

    private struct Row {
        var deliveries = 0
        var ham = 0
        var spam = 0
        var examples: [LinkedAttempt] = []
    }

    /// Examples that are kept of each change.
    static let examples = 5

    /// Results of which the other policy has none yet: what waits under one of them.
    private var waiting: [Int: (result: DeliveryResult, isFirst: Bool)] = [:]
    private var rows: [Pair: Row] = [:]
    private var same = 0

    mutating func finished(_ delivery: Int, _ result: DeliveryResult, _ linked: LinkedAttempt, isFirst: Bool) {
        guard let other = waiting.removeValue(forKey: delivery) else {
            waiting[delivery] = (result, isFirst)
            return
        }
        guard other.result != result else {
            same += 1
            return
        }
        let pair = other.isFirst ? Pair(from: other.result, to: result) : Pair(from: result, to: other.result)
        rows[pair, default: Row()].deliveries += 1
        switch linked.attempt.label {
        case .ham: rows[pair, default: Row()].ham += 1
        case .spam: rows[pair, default: Row()].spam += 1
        case nil: break
        }
        if rows[pair, default: Row()].examples.count < Self.examples { rows[pair, default: Row()].examples.append(linked) }
    }

    var report: ChangesReport {
        var report = ChangesReport()
        report.same = same
        let sorted = rows.sorted {
            ($1.value.deliveries, $0.key.from.rawValue, $0.key.to.rawValue) < (
                $0.value.deliveries, $1.key.from.rawValue, $1.key.to.rawValue
            )
        }
        report.changes = sorted.map {
            .init(from: $0.key.from, to: $0.key.to, deliveries: $0.value.deliveries, ham: $0.value.ham, spam: $0.value.spam)
        }
        report.examples = sorted.flatMap { pair, row in
            row.examples.map { linked in
                let attempt = linked.attempt
                return .init(
                    from: pair.from, to: pair.to, time: attempt.time.description, client: attempt.client.address?.description ?? "",
                    sender: attempt.sender.description, recipient: attempt.recipient.description, label: attempt.label?.rawValue)
            }
        }
        return report
    }
}
