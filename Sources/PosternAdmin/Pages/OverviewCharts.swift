import PosternControl
import PosternCore

/// How far back the overview looks, and how finely.
enum ChartSpan: String, CaseIterable {
    case hour = "1h"
    case day = "24h"
    case week = "7d"
    case month = "30d"

    /// A day where nothing else is asked for.
    init(_ text: String?) { self = text.flatMap(ChartSpan.init(rawValue:)) ?? .day }

    var age: WallTime.Span {
        switch self {
        case .hour: .hours(1)
        case .day: .days(1)
        case .week: .days(7)
        case .month: .days(30)
        }
    }

    /// Minutes of one group.
    var step: Int64 {
        switch self {
        case .hour: 1
        case .day: 15
        case .week: 120
        case .month: 720
        }
    }

    var name: String {
        switch self {
        case .hour: "Hour"
        case .day: "Day"
        case .week: "Week"
        case .month: "Month"
        }
    }

    var stepName: String {
        switch self {
        case .hour: "a minute"
        case .day: "in 15 minutes"
        case .week: "in 2 hours"
        case .month: "in 12 hours"
        }
    }
}

extension AdminSite {
    /// The charts alone, as the page fetches them anew.
    func charts(_ span: ChartSpan) async throws(ControlFailure) -> String {
        guard case .history(let history) = try await ask(.history(HistoryDraft(age: span.age, step: span.step))) else {
            throw Self.unexpected
        }
        let status = try await status()
        let seconds = history.stepMinutes * 60
        func series(_ name: String, _ colour: String, _ value: (HistoryReport.Group) -> Double) -> Chart.Series {
            var values: [Int: Double] = [:]
            for group in history.groups { values[Int((group.seconds - history.from) / seconds)] = value(group) }
            return Chart.Series(name: name, colour: colour, values: values)
        }
        func chart(_ title: String, _ unit: String, _ form: Chart.Form, _ series: [Chart.Series]) -> [String: Any] {
            Chart(
                title: title, unit: unit, form: form, from: history.from, to: history.to, step: seconds, series: series
            ).values
        }
        var verdicts = [series("accepted", "accept") { Double($0.accepted) }]
        if !status.gateways.isEmpty { verdicts.append(series("held", "hold") { Double($0.held) }) }
        verdicts.append(series("deferred", "defer") { Double($0.deferred) })
        verdicts.append(series("rejected", "reject") { Double($0.rejected) })
        var charts = [
            chart("Decisions \(span.stepName)", "decisions", .bars, verdicts),
            chart(
                "Minutes that delayed mail had waited, on average", "minutes", .bars,
                [series("minutes", "other") { $0.delayed > 0 ? Double($0.delayedSeconds) / 60 / Double($0.delayed) : 0 }]),
        ]
        if !status.gateways.isEmpty || !status.traps.isEmpty {
            var held: [Chart.Series] = []
            if !status.gateways.isEmpty { held.append(series("made to wait", "hold") { Double($0.mostWaiting) }) }
            if !status.traps.isEmpty { held.append(series("in a trap", "other") { Double($0.mostTrapped) }) }
            charts.append(chart("Clients held at once, at most", "clients", .lines, held))
        }
        if !status.traps.isEmpty {
            charts.append(
                chart(
                    "Minutes of senders’ time wasted", "minutes", .bars, [series("minutes", "other") { Double($0.wastedSeconds) / 60 }]))
        }
        return Template.render("charts", ["charts": charts])
    }
}

extension Template {
    static let charts = """
        {{#charts}}<figure>
        <figcaption>{{title}}</figcaption>
        {{{svg}}}
        <ul class="legend" aria-hidden="true">{{#series}}<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="k-{{colour}}" width="10" height="10" rx="2"/></svg>{{name}}</li>{{/series}}</ul>
        {{#hasRows}}<details><summary>{{title}}: as a table</summary>
        <table><thead><tr><th scope="col">From</th>{{#series}}<th scope="col" class="n">{{name}}</th>{{/series}}</tr></thead>
        <tbody>{{#rows}}<tr><th scope="row">{{time}}</th>{{#cells}}<td class="n">{{.}}</td>{{/cells}}</tr>{{/rows}}</tbody></table></details>{{/hasRows}}
        {{^hasRows}}<p class="hint">Nothing yet: figures appear here minute by minute.</p>{{/hasRows}}
        </figure>
        {{/charts}}
        """
}
