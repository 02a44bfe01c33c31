import Foundation
import PosternCore
import PosternReplay

// The report in words and tables.

extension TrafficReport {
    var text: String {
        var parts = [input.text]
        parts.append(section("RESULT", PolicyReport.results(policies)))
        if policies.contains(where: { $0.ham != nil }) { parts.append(section("BY LABEL", PolicyReport.labels(policies))) }
        if let changes { parts.append(section("WHAT CHANGES", changes.text)) }
        for policy in policies {
            let title = policies.count > 1 ? ", \(policy.policy)" : ""
            parts.append(section("CHECKS\(title)", policy.checkTable))
            parts.append(section("SENDER DOMAINS\(title)", policy.domainTable))
            parts.append(section("HONEST SENDERS THAT WOULD SUFFER\(title)", policy.sufferingText))
        }
        parts.append(section("THE WHITEPAPER'S TABLES (Harris 2003)", PolicyReport.whitepapers(policies)))
        parts.append(section("BANDWIDTH", PolicyReport.bandwidths(policies)))
        parts.append(section("WHAT TO DO", advice.map { "- \($0)" }.joined(separator: "\n").printableLines))
        return parts.filter { !$0.isEmpty }.joined(separator: "\n\n")
    }

    private func section(_ title: String, _ body: String) -> String { body.isEmpty ? "" : "\(title)\n\(body)" }
}

extension String {
    /// Names in it may be strangers' own.
    fileprivate var printableLines: String { split(separator: "\n").map { String($0).printable }.joined(separator: "\n") }
}

extension InputReport {
    fileprivate var text: String {
        var items: [(String, String)] = []
        if !files.isEmpty {
            items.append(("read", files.count <= 3 ? files.joined(separator: ", ") : "\(files[0]) and \(files.count - 1) more"))
        }
        if let from, let to { items.append(("from", "\(from.shortTime) to \(to.shortTime) UTC")) }
        items.append((files.isEmpty ? "decisions" : "lines", grouped(counts.lines)))
        if !files.isEmpty {
            items.append(("attempts", grouped(counts.attempts)))
            let left: [(Int, String)] = [
                (counts.refused, "refused by the server's own rules"),
                (counts.withoutRecipient, "turned away before a recipient was named"),
                (counts.own, "messages of own users and programs"), (counts.incomplete, "messages of which the log tells too little"),
            ]
            for (index, (count, words)) in left.filter({ $0.0 > 0 }).enumerated() {
                items.append((index == 0 ? "left out" : "", "\(grouped(count)) \(words)"))
            }
            if counts.late > 0 { items.append(("out of order", "\(grouped(counts.late)) attempts; sort the file by time")) }
        }
        items.append(
            (
                "evidence",
                evidence + (attemptsWithEvidence > 0 ? ": \(grouped(attemptsWithEvidence)) attempts" : files.isEmpty ? "" : ": none")
            ))
        items.append(("retries", retryModel))
        for note in notes { items.append(("note", note)) }
        if problems.count > 0 {
            items.append(("not understood", "\(grouped(problems.count)) lines"))
            for reason in problems.reasons { items.append(("", "\(grouped(reason.count)) × \(reason.reason)")) }
            for sample in problems.samples.prefix(10) { items.append(("", "\(sample.file):\(sample.line): \(sample.text)")) }
        }
        return Output.list(items)
    }
}

extension PolicyReport {
    /// Policies side by side: a row for each figure.
    private static func sideBySide(_ policies: [PolicyReport], _ rows: [(String, (PolicyReport) -> String?)]) -> String {
        let table = rows.compactMap { name, value -> [String]? in
            let cells = policies.map { value($0) }
            return cells.allSatisfy { $0 == nil } ? nil : [name] + cells.map { $0 ?? "" }
        }
        return Output.table([""] + policies.map(\.policy), table)
    }

    fileprivate static func results(_ policies: [PolicyReport]) -> String {
        func share(_ count: @escaping (GroupReport) -> Int) -> (PolicyReport) -> String? {
            { "\(grouped(count($0.all)))\(percent(count($0.all), of: $0.all.deliveries))" }
        }
        func delay(_ part: @escaping (DelayReport) -> Int64) -> (PolicyReport) -> String? { { $0.all.delay.map { spoken(part($0)) } } }
        return sideBySide(
            policies,
            [
                ("deliveries (message and recipient)", { grouped($0.all.deliveries) }), ("  passed at once", share(\.atOnce)),
                ("  passed after a delay", share(\.delayed)), ("  blocked: never came back in time", share(\.blocked)),
                ("  refused", share(\.refused)), ("  still waiting at the end", { $0.all.open > 0 ? grouped($0.all.open) : nil }),
                ("delay of the delayed, median", delay(\.median)), ("  90 % within", delay(\.p90)), ("  95 % within", delay(\.p95)),
                ("  99 % within", delay(\.p99)), ("  longest", delay(\.longest)),
                ("attempts decided", { grouped($0.attempts.decided) }), ("  deferred", { grouped($0.attempts.deferred) }),
                ("  retries made by the model", { $0.attempts.made > 0 ? grouped($0.attempts.made) : nil }),
                ("  attempts of the log that were spared", { $0.attempts.spared > 0 ? grouped($0.attempts.spared) : nil }),
                ("  answers held back", { $0.attempts.held > 0 ? grouped($0.attempts.held) : nil }),
            ])
    }

    fileprivate static func labels(_ policies: [PolicyReport]) -> String {
        func part(_ group: GroupReport?, _ count: (GroupReport) -> Int) -> String? {
            group.map { "\(grouped(count($0)))\(percent(count($0), of: $0.deliveries))" }
        }
        return sideBySide(
            policies,
            [
                ("ham", { $0.ham.map { grouped($0.deliveries) } }), ("  deferred", { part($0.ham, \.deferred) }),
                ("  delay, median", { $0.ham?.delay.map { spoken($0.median) } }),
                ("  95 % within", { $0.ham?.delay.map { spoken($0.p95) } }),
                ("  blocked", { part($0.ham, \.blocked) }), ("  refused", { part($0.ham, \.refused) }),
                ("spam", { $0.spam.map { grouped($0.deliveries) } }), ("  stopped", { part($0.spam) { $0.blocked + $0.refused } }),
                ("  passed at once", { part($0.spam, \.atOnce) }), ("  passed after a delay", { part($0.spam, \.delayed) }),
                ("  triplets seen first", { $0.spam.map { grouped($0.newTriplets) } }),
                (
                    "  of them back in time",
                    { $0.spam.map { "\(grouped($0.tripletsInTime))\(percent($0.tripletsInTime, of: $0.newTriplets))" } }
                ), ("unlabelled", { $0.unlabelled.map { grouped($0.deliveries) } }), ("  deferred", { part($0.unlabelled, \.deferred) }),
                ("  blocked", { part($0.unlabelled, \.blocked) }),
            ])
    }

    fileprivate var checkTable: String {
        let isLabelled = ham != nil
        let heading = ["CHECK", "DECIDED", "HAD A WORD"] + (isLabelled ? ["ON HAM", "ON SPAM"] : [])
        let table = Output.table(
            heading,
            checks.map {
                [$0.check, grouped($0.decided), grouped($0.fired)] + (isLabelled ? [grouped($0.firedHam), grouped($0.firedSpam)] : [])
            })
        let words = reasons.map { "\($0.reason) \(grouped($0.attempts))" }.joined(separator: ", ")
        return words.isEmpty ? "" : "\(table)\nreasons: \(words)"
    }

    fileprivate var domainTable: String {
        Output.table(
            ["DOMAIN", "DELIVERIES", "AT ONCE", "DELAYED", "BLOCKED", "REFUSED", "MEAN DELAY", "LONGEST"],
            domains.map {
                [
                    $0.domain, grouped($0.deliveries), grouped($0.atOnce), grouped($0.delayed), grouped($0.blocked), grouped($0.refused),
                    $0.meanDelay.map(spoken) ?? "", $0.longestDelay.map(spoken) ?? "",
                ]
            })
    }

    fileprivate var sufferingText: String {
        guard suffering.deliveries > 0 else { return "" }
        let words =
            "of \(grouped(suffering.deliveries)) honest deliveries \(grouped(suffering.lost)) lost\(percent(suffering.lost, of: suffering.deliveries)), "
            + "\(grouped(suffering.late)) delayed for more than \(spoken(suffering.lateAfter))\(percent(suffering.late, of: suffering.deliveries))"
        guard !suffering.senders.isEmpty else { return words }
        let table = Output.table(
            ["CLIENT", "DELIVERIES", "LOST", "LATE", "LONGEST", "WHY", "WHAT WOULD SPARE IT"],
            suffering.senders.map {
                [
                    $0.client, grouped($0.deliveries), grouped($0.lost), grouped($0.late), $0.longestDelay.map(spoken) ?? "", $0.why,
                    $0.remedy,
                ]
            })
        return "\(words)\n\(table)"
    }

    fileprivate static func whitepapers(_ policies: [PolicyReport]) -> String {
        func share(_ value: Double?) -> String { value.map { " (\(String(format: "%.1f", $0)) %)" } ?? "" }
        return sideBySide(
            policies,
            [
                ("unique triplets seen", { grouped($0.whitepaper.tripletsSeen) }),
                ("triplets that passed mail", { grouped($0.whitepaper.tripletsPassed) }),
                ("triplets blocked (effectiveness)", { "\(grouped($0.whitepaper.tripletsBlocked))\(share($0.whitepaper.effectiveness))" }),
                ("mails passed", { grouped($0.whitepaper.mailsPassed) }),
                ("mails delayed", { "\(grouped($0.whitepaper.mailsDelayed))\(share($0.whitepaper.delayedPercent))" }),
                ("without one-mail triplets: passed", { grouped($0.whitepaper.mailsPassedWithoutSingles) }),
                (
                    "without one-mail triplets: delayed",
                    { "\(grouped($0.whitepaper.mailsDelayedWithoutSingles))\(share($0.whitepaper.delayedPercentWithoutSingles))" }
                ),
            ])
    }

    fileprivate static func bandwidths(_ policies: [PolicyReport]) -> String {
        sideBySide(
            policies,
            [
                ("saved by mail not received", { octets($0.bandwidth.saved) }),
                ("  of known size", { octets($0.bandwidth.savedKnown) }),
                (
                    "  taken for \(grouped(Int(policies[0].bandwidth.assumedMessage))) octets each",
                    { $0.bandwidth.blockedOfUnknownSize > 0 ? "\(grouped($0.bandwidth.blockedOfUnknownSize)) mails" : nil }
                ),
                (
                    "wasted by deferrals, \(grouped(Int(policies[0].bandwidth.assumedDeferral))) octets each",
                    { octets($0.bandwidth.wasted) }
                ),
                ("net", { octets($0.bandwidth.saved - $0.bandwidth.wasted) }),
            ])
    }
}

extension ChangesReport {
    fileprivate var text: String {
        guard !changes.isEmpty else { return "nothing: all \(grouped(same)) deliveries come out the same" }
        let table = Output.table(
            ["FROM", "TO", "DELIVERIES", "HAM", "SPAM"],
            changes.map { [$0.from.words, $0.to.words, grouped($0.deliveries), grouped($0.ham), grouped($0.spam)] })
        let rows = examples.map { [$0.from.words, $0.to.words, $0.time.shortTime, $0.client, "<\($0.sender)>", "<\($0.recipient)>"] }
        return "\(grouped(same)) deliveries come out the same\n\(table)\nfor example\n"
            + Output.table(["FROM", "TO", "TIME (UTC)", "CLIENT", "SENDER", "RECIPIENT"], rows)
    }
}

extension DeliveryResult {
    fileprivate var words: String {
        switch self {
        case .atOnce: "at once"
        case .delayed: "delayed"
        case .blocked: "blocked"
        case .refused: "refused"
        case .open: "waiting"
        }
    }
}

/// With a comma after every third digit.
private func grouped(_ number: Int) -> String {
    let digits = String(abs(number))
    var text = ""
    for (index, digit) in digits.enumerated() {
        if index > 0, (digits.count - index) % 3 == 0 { text += "," }
        text.append(digit)
    }
    return number < 0 ? "-\(text)" : text
}

private func percent(_ part: Int, of whole: Int) -> String {
    whole > 0 ? String(format: " (%.1f %%)", Double(part) * 100 / Double(whole)) : ""
}

private func spoken(_ seconds: Int64) -> String { WallTime.Span.seconds(seconds).spoken }

private func octets(_ count: Int64) -> String {
    let magnitude = Double(abs(count))
    for (factor, unit) in [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")] where magnitude >= factor {
        return String(format: "%.1f %@", Double(count) / factor, unit)
    }
    return "\(count) octets"
}
