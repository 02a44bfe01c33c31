import PosternControl
import PosternCore

extension AdminSite {
    func overview(_ span: ChartSpan) async throws(ControlFailure) -> Content {
        let status = try await status()
        let now = live.now
        func tile(_ name: String, _ key: String, _ value: String, _ tone: String = "", unit: String = "") -> [String: Any] {
            var tile: [String: Any] = ["name": name, "key": key, "value": value, "tone": tone]
            if !unit.isEmpty { tile["unit"] = unit }
            return tile
        }
        var tiles = [
            tile("Accepted", "accepted", Shown.count(now.accepted), "good", unit: "in the last minute"),
            tile("Deferred", "deferred", Shown.count(now.deferred), "wait", unit: "in the last minute"),
            tile("Rejected", "rejected", Shown.count(now.rejected), "bad", unit: "in the last minute"),
        ]
        if !status.gateways.isEmpty {
            tiles.append(tile("Held", "held", Shown.count(now.held), "wait", unit: "in the last minute"))
            tiles.append(tile("Sessions", "sessions", Shown.count(now.sessions), unit: "open"))
            tiles.append(tile("Made to wait", "waiting_sessions", Shown.count(now.waitingSessions), unit: "now"))
        }
        if !status.traps.isEmpty {
            tiles.append(tile("Trapped", "trapped", Shown.count(now.trapped), unit: "now"))
            tiles.append(tile("Senders’ time wasted", "hours_wasted", Shown.decimal(now.hoursWasted), unit: "hours"))
        }
        tiles.append(tile("Came back in time", "delayed", Shown.count(now.delayed), unit: "since the start"))
        tiles.append(tile("Delayed on average", "mean_delay_seconds", Shown.span(seconds: Int64(now.meanDelaySeconds))))
        return Content(
            title: "Overview",
            html: Template.render(
                "overview",
                [
                    "tiles": tiles, "health": health(status), "charts": try await charts(span), "span": span.rawValue,
                    "spanName": span.name.lowercased(),
                    "spans": ChartSpan.allCases.map { ["value": $0.rawValue, "name": $0.name, "current": $0 == span] as [String: Any] },
                ]))
    }

    /// One row for each part that the daemon leans on, what is ill first.
    private func health(_ status: StatusReport) -> [[String: Any]] {
        var rows: [(ill: Bool, row: [String: Any])] = []
        func add(_ part: String, _ isWell: Bool, _ state: String, _ detail: String) {
            rows.append((!isWell, ["part": part, "tone": isWell ? "good" : "bad", "state": state, "detail": detail]))
        }
        if let store = status.store {
            let isWell = store.state == "ok"
            let figures =
                "\(Shown.count(store.decisions)) decisions, \(Shown.count(store.triplets)) triplets, \(Shown.count(store.identities)) senders known, \(Shown.bytes(store.bytes))"
            add("Store", isWell, isWell ? "works" : "fails", isWell ? figures : "\(store.state). Mail passes unchecked until it is mended.")
        }
        if let resolver = status.resolver {
            add(
                "Resolvers", resolver.answers, resolver.answers ? "answer" : "silent",
                "\(resolver.servers.joined(separator: ", ")): \(Shown.count(resolver.queries)) questions, \(Shown.count(resolver.timeouts)) without an answer in time"
            )
        } else {
            rows.append((false, ["part": "Resolvers", "tone": "", "state": "off", "detail": "nothing is looked up (dns.resolvers)"]))
        }
        for list in status.dnsLists {
            let words =
                "\(Shown.count(list.listed)) listed, \(Shown.count(list.notListed)) not, \(Shown.count(list.silent)) without an answer"
            if list.isLive {
                add("List \(list.name)", true, "in use", words)
            } else if let ailment = list.ailment {
                add("List \(list.name)", false, "not used", ailment)
            } else {
                rows.append((false, ["part": "List \(list.name)", "tone": "", "state": "being tested", "detail": words]))
            }
        }
        for gateway in status.gateways {
            for backend in gateway.backends {
                add(
                    "Backend \(backend.address)", backend.isWell, backend.isWell ? "well" : "out",
                    backend.isWell ? "behind \(gateway.name)" : "behind \(gateway.name); it failed \(backend.failures) times in a row")
            }
        }
        for listener in status.listeners {
            rows.append((false, ["part": "Listener \(listener.name)", "tone": "good", "state": listener.role, "detail": listener.address]))
        }
        return rows.filter(\.ill).map(\.row) + rows.filter { !$0.ill }.map(\.row)
    }
}
