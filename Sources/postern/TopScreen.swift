import Foundation
import PosternControl
import PosternCore

/// What `top` shows in a terminal: lines that fit it, from the latest samples.
struct TopScreen {
    var status: StatusReport
    /// The oldest first.
    var samples: [TopSample]
    var hasColour: Bool

    /// Samples that are kept: one for each column of a wide terminal.
    static let maximumSamples = 240

    private static let blocks = Array(" ▁▂▃▄▅▆▇█")

    /// At most `height` lines of at most `width` characters each.
    func lines(width: Int, height: Int) -> [String] {
        guard let now = samples.last, width > 0, height > 0 else { return [] }
        var lines = [
            "Postern \(status.version) on \(status.hostname)   up \(WallTime.Span.seconds(status.uptimeSeconds).spokenElapsed)   \(now.time.shortTime) UTC",
            "",
        ]
        func row(_ name: String, _ value: String, _ path: KeyPath<TopSample, Double>? = nil) {
            var line = name + String(repeating: " ", count: max(16 - name.count, 1)) + value
            if let path {
                line += String(repeating: " ", count: max(34 - line.count, 1))
                line += Self.sparkline(samples.map { $0[keyPath: path] }, width: width - line.count)
            }
            lines.append(line)
        }
        func rate(_ value: Double) -> String { String(format: value < 100 ? "%.1f/s" : "%.0f/s", value) }
        row("decisions", rate(now.decided), \.decided)
        row("  accepted", rate(now.accepted), \.accepted)
        if !status.gateways.isEmpty { row("  held", rate(now.held), \.held) }
        row("  deferred", rate(now.deferred), \.deferred)
        row("  rejected", rate(now.rejected), \.rejected)
        if status.resolver != nil { row("look-ups", rate(now.lookups), \.lookups) }
        lines.append("")
        row("policy", "\(now.connections) connections")
        for gateway in status.gateways { row(gateway.name, "\(gateway.sessions) sessions, \(gateway.held) made to wait") }
        for trap in status.traps { row(trap.name, "\(trap.heldNow) trapped, \(String(format: "%.1f", trap.hoursWasted)) hours wasted") }
        row("came back", "\(now.delayed), after \(WallTime.Span.seconds(Int64(now.meanDelaySeconds)).spoken) on average")
        row("store", now.store == "ok" ? "\(now.triplets) triplets, \(now.decisions) decisions, \(now.storeBytes >> 20) MiB" : now.store)
        lines.append("")
        lines += now.ailments.isEmpty ? ["all is well"] : now.ailments.map { "! \($0)" }
        return lines.prefix(height).map { coloured(String($0.printable.prefix(width))) }
    }

    private func coloured(_ line: String) -> String {
        guard hasColour else { return line }
        if line.hasPrefix("! ") { return "\u{1b}[31m\(line)\u{1b}[0m" }
        if line.hasPrefix("Postern ") { return "\u{1b}[1m\(line)\u{1b}[0m" }
        return line
    }

    /// The latest values as a row of blocks, each as high as it is to the highest.
    static func sparkline(_ values: [Double], width: Int) -> String {
        let shown = values.suffix(max(width, 0))
        guard let most = shown.max(), most > 0 else { return "" }
        return String(
            shown.map { value in
                value <= 0 ? blocks[0] : blocks[min(max(Int((value / most * 8).rounded(.up)), 1), 8)]
            })
    }
}
