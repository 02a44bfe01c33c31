import PosternCore

/// Deliveries by the sender's domain. As many domains are told apart as `maximum`; what comes after them is counted together.
struct DomainTable {
    static let maximum = 50_000
    static let others = "(others)"

    private struct Row {
        var deliveries = 0
        var atOnce = 0
        var delayed = 0
        var blocked = 0
        var refused = 0
        var open = 0
        var delay: Int64 = 0
        var longest: Int64 = 0

        mutating func add(_ delivery: FinishedDelivery) {
            deliveries += 1
            switch delivery.result {
            case .atOnce: atOnce += 1
            case .delayed:
                delayed += 1
                let seconds = delivery.age.secondsRoundedUp
                delay += seconds
                longest = max(longest, seconds)
            case .blocked: blocked += 1
            case .refused: refused += 1
            case .open: open += 1
            }
        }
    }

    private var rows: [String: Row] = [:]

    mutating func add(_ delivery: FinishedDelivery) {
        let domain = delivery.linked.senderDomain
        let name = rows[domain] != nil || rows.count < Self.maximum ? domain : Self.others
        rows[name, default: Row()].add(delivery)
    }

    var count: Int { rows.count }

    /// The most frequent.
    func report(rows limit: Int) -> [DomainReport] {
        rows.sorted { ($1.value.deliveries, $0.key) < ($0.value.deliveries, $1.key) }.prefix(limit).map { domain, row in
            DomainReport(
                domain: domain, deliveries: row.deliveries, atOnce: row.atOnce, delayed: row.delayed, blocked: row.blocked,
                refused: row.refused, open: row.open, meanDelay: row.delayed > 0 ? row.delay / Int64(row.delayed) : nil,
                longestDelay: row.delayed > 0 ? row.longest : nil)
        }
    }
}
