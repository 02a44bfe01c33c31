import PosternControl
import PosternCore
import PosternReplay

/// The report is made of all decisions of a span: it is made for one viewer at a time, and kept for a minute.
actor EffectReports {
    static let lifetime = Duration.seconds(60)

    private let control: ControlHandler
    private var kept: [String: (report: TrafficReport, at: ContinuousClock.Instant)] = [:]
    private var making: [String: Task<Result<TrafficReport, ControlFailure>, Never>] = [:]

    init(_ control: ControlHandler) {
        self.control = control
    }

    func report(_ span: ChartSpan) async throws(ControlFailure) -> TrafficReport {
        let key = span.rawValue
        if let kept = kept[key], ContinuousClock.now - kept.at < Self.lifetime { return kept.report }
        let task =
            making[key]
            ?? Task { [control] () -> Result<TrafficReport, ControlFailure> in
                switch await control.handle(.report(ReportDraft(age: span.age, rows: 20))) {
                case .success(.report(let report)): .success(report)
                case .success: .failure(AdminSite.unexpected)
                case .failure(let failure): .failure(failure)
                }
            }
        making[key] = task
        let result = await task.value
        making[key] = nil
        let report = try result.get()
        kept[key] = (report, .now)
        return report
    }
}

extension AdminSite {
    func effect(_ span: ChartSpan) async throws(ControlFailure) -> Content {
        let report = try await effects.report(span)
        guard let policy = report.policies.first else { throw Self.unexpected }
        let all = policy.all
        func share(_ part: Int, of whole: Int) -> String { whole == 0 ? "–" : "\(Shown.decimal(Double(part) * 100 / Double(whole))) %" }
        func tile(_ name: String, _ count: Int, _ tone: String) -> [String: Any] {
            ["name": name, "value": Shown.count(count), "tone": tone, "unit": share(count, of: all.deliveries)]
        }
        var values: [String: Any] = [
            "spans": ChartSpan.allCases.map { ["value": $0.rawValue, "name": $0.name, "current": $0 == span] as [String: Any] },
            "period":
                "\(Shown.count(all.deliveries)) deliveries, a message for one recipient each, from \(Shown.time(report.input.from ?? "")) to \(Shown.time(report.input.to ?? ""))",
            "tiles": [
                tile("At once", all.atOnce, "good"), tile("Delayed", all.delayed, "wait"),
                tile("Never came back", all.blocked, "bad"), tile("Refused", all.refused, "bad"), tile("Still waiting", all.open, ""),
            ],
        ]
        if let delay = all.delay {
            let rows = [
                ("Half of it", delay.median), ("90 %", delay.p90), ("95 %", delay.p95), ("99 %", delay.p99), ("Longest", delay.longest),
                ("Average", delay.mean),
            ]
            values["delay"] = ["rows": rows.map { ["name": $0.0, "value": Shown.span(seconds: $0.1)] }]
        }
        values["tables"] = [checks(policy), domains(policy), whitepaper(policy)]
        return Content(title: "Effect", html: Template.render("effect", values))
    }

    private func table(_ id: String, _ title: String, _ hint: String, _ columns: [String], _ rows: [(String, [String])]) -> [String: Any] {
        [
            "id": id, "title": title, "hint": hint, "hasRows": !rows.isEmpty,
            "columns": columns.enumerated().map { ["name": $0.element, "numeric": $0.offset > 0] as [String: Any] },
            "rows": rows.map { ["name": $0.0, "cells": $0.1] as [String: Any] },
        ]
    }

    private func checks(_ policy: PolicyReport) -> [String: Any] {
        table(
            "checks", "What each check did", "A check that is in shadow fires and decides nothing: what it would have done.",
            ["Check", "Decided", "Fired"], policy.checks.map { ($0.check, [Shown.count($0.decided), Shown.count($0.fired)]) })
    }

    private func domains(_ policy: PolicyReport) -> [String: Any] {
        func span(_ seconds: Int64?) -> String { seconds.map { Shown.span(seconds: $0) } ?? "–" }
        return table(
            "domains", "By the sender’s domain", "Those with the most deliveries.",
            ["Domain", "Deliveries", "At once", "Delayed", "Never came back", "Refused", "Mean delay", "Longest"],
            policy.domains.map {
                (
                    $0.domain,
                    [
                        Shown.count($0.deliveries), Shown.count($0.atOnce), Shown.count($0.delayed), Shown.count($0.blocked),
                        Shown.count($0.refused), span($0.meanDelay), span($0.longestDelay),
                    ]
                )
            })
    }

    /// The tables of "Greylisting: The Next Step in the Spam Control War" (Harris, 2003), on this server's mail.
    private func whitepaper(_ policy: PolicyReport) -> [String: Any] {
        let paper = policy.whitepaper
        func percent(_ value: Double?) -> String { value.map { "\(Shown.decimal($0)) %" } ?? "–" }
        return table(
            "whitepaper", "The whitepaper’s tables", "As Harris counted in 2003, on your own traffic.", ["Figure", "Count"],
            [
                ("Triplets seen", [Shown.count(paper.tripletsSeen)]), ("Triplets that passed", [Shown.count(paper.tripletsPassed)]),
                ("Triplets that never came back", [Shown.count(paper.tripletsBlocked)]), ("Effectiveness", [percent(paper.effectiveness)]),
                ("Mails passed", [Shown.count(paper.mailsPassed)]), ("Of them delayed", [Shown.count(paper.mailsDelayed)]),
                ("Share delayed", [percent(paper.delayedPercent)]),
                ("Mails passed, without triplets of a single mail", [Shown.count(paper.mailsPassedWithoutSingles)]),
                ("Of them delayed", [Shown.count(paper.mailsDelayedWithoutSingles)]),
                ("Share delayed", [percent(paper.delayedPercentWithoutSingles)]),
                ("Octets not received, by estimate", [Shown.bytes(policy.bandwidth.saved)]),
                ("Octets that deferrals cost", [Shown.bytes(policy.bandwidth.wasted)]),
            ])
    }
}
