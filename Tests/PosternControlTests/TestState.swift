import NIOConcurrencyHelpers
import PosternControl
import PosternCore
import PosternEngine

/// A daemon's state whose clock is moved by hand.
final class TestState: DaemonState {
    private struct Values {
        var engine: Engine
        var moment = Moment(steady: WallTime(seconds: 1_800_000_000), wall: WallTime(seconds: 1_800_000_000))
    }

    private struct LastTwoLabels: OrganisationalDomains {
        func organisationalDomain(of name: DomainName) -> DomainName? {
            name.labels.count < 2 ? nil : DomainName(name.labels.suffix(2).joined(separator: "."))
        }
    }

    private let values = NIOLockedValueBox(Values(engine: Engine(settings: EngineSettings(), domains: LastTwoLabels())))

    func engine() -> Engine { values.withLockedValue { $0.engine } }
    func now() -> Moment { values.withLockedValue { $0.moment } }
    func listsChanged(_ lists: Lists) { values.withLockedValue { $0.engine.lists = lists } }

    func status() throws(ControlFailure) -> StatusReport {
        StatusReport(
            version: "0", processID: 1, startedAt: now().wall.description, uptimeSeconds: 0, hostname: "mx.example",
            dataDirectory: "/nowhere",
            greylistMode: "on", listeners: [.init(name: "policy", role: "policy", address: "127.0.0.1:10023")], counts: .init())
    }

    func reload() async throws(ControlFailure) -> ReloadReport { ReloadReport(needsRestart: ["listeners"]) }

    func advance(_ span: WallTime.Span) {
        values.withLockedValue {
            $0.moment.steady = $0.moment.steady + span
            $0.moment.wall = $0.moment.wall + span
        }
    }

    func stepWallClock(_ span: WallTime.Span) {
        values.withLockedValue { $0.moment.wall = $0.moment.wall + span }
    }
}
