import Foundation
import PosternCore

/// A chart over time as SVG, drawn here: bars that stand on one another, or lines. Colours are classes of the style sheet, so
/// that it is as light or dark as the page.
struct Chart {
    enum Form {
        /// Values of one moment stand on one another.
        case bars
        case lines
    }

    struct Series {
        var name: String
        /// The end of the classes `k-…` and `l-…`.
        var colour: String
        /// By the number of the group, 0 for the first.
        var values: [Int: Double]
    }

    var title: String
    /// What the values are, for the axis.
    var unit: String
    var form: Form
    /// Unix seconds.
    var from: Int64
    var to: Int64
    /// Seconds of one group.
    var step: Int64
    var series: [Series]

    private static let width = 640.0
    private static let height = 210.0
    private static let left = 46.0
    private static let right = 8.0
    private static let top = 10.0
    private static let bottom = 26.0
    /// More are not drawn.
    static let maximumGroups = 400

    private var groups: Int { min(max(Int((to - from) / max(step, 1)), 1), Self.maximumGroups) }

    private var highest: Double {
        switch form {
        case .bars: (0..<groups).map { group in series.reduce(0) { $0 + ($1.values[group] ?? 0) } }.max() ?? 0
        case .lines: series.flatMap(\.values.values).max() ?? 0
        }
    }

    /// Steps of the axis: 1, 2 or 5 times a power of ten, four or five of them.
    static func ticks(upTo highest: Double) -> [Double] {
        guard highest > 0, highest.isFinite else { return [0, 1] }
        let raw = highest / 4
        let power = pow(10, floor(log10(raw)))
        let step = [1.0, 2, 5, 10].map { $0 * power }.first { $0 >= raw } ?? raw
        // Counts have no halves.
        let whole = max(step, 1)
        return stride(from: 0, through: (highest / whole).rounded(.up) * whole, by: whole).map { $0 }
    }

    /// Seconds between labels of the time axis: five to nine of them.
    static func timeStep(_ span: Int64) -> Int64 {
        let steps: [Int64] = [60, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200, 86_400, 172_800, 432_000, 864_000]
        return steps.first { span / $0 <= 8 } ?? 1_728_000
    }

    private static func number(_ value: Double) -> String {
        if value >= 1_000_000 { return shortened(value / 1_000_000) + "M" }
        if value >= 10_000 { return shortened(value / 1000) + "k" }
        return shortened(value)
    }

    private static func shortened(_ value: Double) -> String {
        value == value.rounded() ? String(Int64(value)) : String(format: "%.1f", value)
    }

    private static func place(_ value: Double) -> String { String(format: "%.1f", value) }

    static func timeLabel(_ seconds: Int64, step: Int64) -> String {
        let text = WallTime(seconds: seconds).description
        return step >= 86_400 ? String(text.dropFirst(5).prefix(5)) : String(text.dropFirst(11).prefix(5))
    }

    /// What a screen reader says of it.
    var summary: String {
        let sums = series.map { series in
            switch form {
            case .bars: "\(series.name) \(Shown.count(Int64(series.values.values.reduce(0, +))))"
            case .lines: "\(series.name) at most \(Self.number(series.values.values.max() ?? 0))"
            }
        }
        return "\(title): \(sums.joined(separator: ", ")). The figures are in the table below."
    }

    var svg: String {
        let ticks = Self.ticks(upTo: highest)
        let most = ticks.last ?? 1
        let inner = (width: Self.width - Self.left - Self.right, height: Self.height - Self.top - Self.bottom)
        func y(_ value: Double) -> Double { Self.top + inner.height * (1 - min(value / most, 1)) }
        func x(_ seconds: Int64) -> Double { Self.left + inner.width * Double(seconds - from) / Double(max(to - from, 1)) }
        var out = "<svg viewBox=\"0 0 \(Int(Self.width)) \(Int(Self.height))\" role=\"img\" aria-label=\"\(Self.escaped(summary))\">"
        for tick in ticks {
            let height = Self.place(y(tick))
            let style = tick == 0 ? "axis" : "grid"
            out += "<line class=\"\(style)\" x1=\"\(Self.left)\" x2=\"\(Self.width - Self.right)\" y1=\"\(height)\" y2=\"\(height)\"/>"
            out += "<text x=\"\(Self.left - 6)\" y=\"\(Self.place(y(tick) + 4))\" text-anchor=\"end\">\(Self.number(tick))</text>"
        }
        let labelStep = Self.timeStep(to - from)
        for seconds in stride(from: (from + labelStep - 1) / labelStep * labelStep, to: to, by: Int64.Stride(labelStep)) {
            let place = x(seconds)
            guard place > Self.left + 14, place < Self.width - Self.right - 14 else { continue }
            out += "<line class=\"axis\" x1=\"\(Self.place(place))\" x2=\"\(Self.place(place))\" y1=\"\(y(0))\" y2=\"\(y(0) + 4)\"/>"
            out +=
                "<text x=\"\(Self.place(place))\" y=\"\(Self.height - 8)\" text-anchor=\"middle\">\(Self.timeLabel(seconds, step: labelStep))</text>"
        }
        switch form {
        case .bars: out += bars(inner.width / Double(groups), y)
        case .lines: out += lines(inner.width / Double(groups), y)
        }
        return out + "</svg>"
    }

    private func bars(_ width: Double, _ y: (Double) -> Double) -> String {
        var out = ""
        var base = [Double](repeating: 0, count: groups)
        for series in series {
            out += "<g class=\"k-\(series.colour)\">"
            for (group, value) in series.values.sorted(by: { $0.key < $1.key }) where value > 0 && (0..<groups).contains(group) {
                let (low, high) = (y(base[group]), y(base[group] + value))
                base[group] += value
                let gap = width > 4 ? 1.0 : 0.2
                out +=
                    "<rect x=\"\(Self.place(Self.left + Double(group) * width))\" y=\"\(Self.place(high))\" width=\"\(Self.place(max(width - gap, 0.5)))\" height=\"\(Self.place(max(low - high, 0.5)))\"/>"
            }
            out += "</g>"
        }
        return out
    }

    private func lines(_ width: Double, _ y: (Double) -> Double) -> String {
        series.map { series in
            // Where nothing is known yet there is no line.
            let points = (0..<min(groups, (series.values.keys.max() ?? -1) + 1)).map { group in
                "\(Self.place(Self.left + (Double(group) + 0.5) * width)),\(Self.place(y(series.values[group] ?? 0)))"
            }
            return "<polyline class=\"l-\(series.colour)\" points=\"\(points.joined(separator: " "))\"/>"
        }.joined()
    }

    private static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("\"", with: "&quot;").replacing("<", with: "&lt;")
    }

    /// For the template: the picture, its legend, and the same as a table, the newest first.
    var values: [String: Any] {
        let labelStep = step >= 86_400 ? step : 60
        let rows: [[String: Any]] = (0..<groups).reversed().compactMap { group in
            let cells = series.map { $0.values[group] ?? 0 }
            guard cells.contains(where: { $0 != 0 }) else { return nil }
            let time = WallTime(seconds: from + Int64(group) * step).description
            let label = labelStep >= 86_400 ? String(time.prefix(10)) : Shown.time(time).dropLast(3).description
            return ["time": label, "cells": cells.map(Self.number)]
        }
        return [
            "title": title, "unit": unit, "svg": svg, "rows": Array(rows.prefix(Self.tableRows)), "hasRows": !rows.isEmpty,
            "series": series.map { ["name": $0.name, "colour": $0.colour] },
        ]
    }

    private static let tableRows = 60
}
