import PosternControl
import PosternEngine

extension HarvestService {
    /// What `postern status` tells.
    var report: StatusReport.Harvested {
        var report = StatusReport.Harvested()
        for entry in entries {
            switch entry.colour {
            case .black: report.black += 1
            case .brown: report.brown += 1
            case .yellow: report.yellow += 1
            case .white: report.white += 1
            }
        }
        let totals = totals
        report.sightings = sightings
        report.visits = totals.visits
        report.trapMail = totals.trapMail
        report.listed = totals.listed
        report.selfRemoved = totals.selfRemoved
        return report
    }
}
