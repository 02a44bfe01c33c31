import Metrics
import NIOConcurrencyHelpers

/// swift-metrics' instruments, kept in memory and printed for Prometheus.
///
/// Names follow its conventions: a counter ends with `_total`, a time with `_seconds`; what a caller leaves out is added. A
/// family has at most `maximumLabelSets` sets of labels: what comes after shares one that is labelled `overflow`.
public final class MetricRegistry: MetricsFactory {
    /// What a family is, beyond what swift-metrics can say.
    public struct Description: Sendable {
        public var help: String
        /// For histograms: upper bounds in printed units, rising.
        public var bounds: [Double]

        public init(_ help: String, bounds: [Double] = MetricRegistry.timeBounds) {
            self.help = help
            self.bounds = bounds
        }
    }

    /// In seconds: from a decision in memory to a look-up that nobody answers.
    public static let timeBounds = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
    ]
    /// In seconds: how long a client may be made to wait.
    public static let waitBounds: [Double] = [0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300]
    /// For values that are not times: powers of four from 64 to 16 Mi.
    public static let sizeBounds: [Double] = (3...12).map { Double(1 << (2 * $0)) }

    public static let maximumLabelSets = 200
    public static let maximumFamilies = 500

    private struct Key: Hashable {
        let labels: [String]

        init(_ labels: [(String, String)]) { self.labels = labels.flatMap { [$0.0, $0.1] } }
    }

    private struct Family {
        let kind: Exposition.Kind
        var samples: [(labels: [(String, String)], instrument: any Instrument)] = []
        var places: [Key: Int] = [:]
    }

    private struct State {
        var families: [String: Family] = [:]
        var descriptions: [String: Description]
    }

    private let state: NIOLockedValueBox<State>

    /// `descriptions` by the printed name.
    public init(_ descriptions: [String: Description] = [:]) {
        state = NIOLockedValueBox(State(descriptions: descriptions))
    }

    /// Says more of a family, before its first instrument is made.
    public func describe(_ name: String, _ description: Description) {
        state.withLockedValue { $0.descriptions[name] = description }
    }

    /// Appends all families, by name.
    public func write(to exposition: inout Exposition) {
        let (families, descriptions) = state.withLockedValue { ($0.families, $0.descriptions) }
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            exposition.family(name, family.kind, descriptions[name]?.help ?? "\(name.split(separator: "_").joined(separator: " ")).")
            for sample in family.samples { sample.instrument.write(name, sample.labels, to: &exposition) }
        }
    }

    // MARK: - MetricsFactory

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        find(label, suffix: "_total", dimensions) { _ in CountingInstrument() } ?? CountingInstrument()
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        find(label, dimensions) { _ in GaugeInstrument() } ?? GaugeInstrument()
    }

    public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        guard aggregate else { return find(label, dimensions) { _ in GaugeInstrument() } ?? GaugeInstrument() }
        func make(_ description: Description?) -> HistogramInstrument {
            HistogramInstrument(bounds: description?.bounds ?? Self.sizeBounds, scale: 1)
        }
        return find(label, dimensions, make) ?? make(nil)
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler { timer(label, dimensions) }

    /// A histogram of times, without swift-metrics' wrapper around it.
    public func timer(_ label: String, _ dimensions: [(String, String)] = []) -> HistogramInstrument {
        func make(_ description: Description?) -> HistogramInstrument {
            HistogramInstrument(bounds: description?.bounds ?? Self.timeBounds, scale: 1e9)
        }
        return find(label, suffix: "_seconds", dimensions, make) ?? make(nil)
    }

    // Instruments are few and live as long as the process: a counter that went away would look like one that was reset.
    public func destroyCounter(_ handler: any CounterHandler) {}
    public func destroyMeter(_ handler: any MeterHandler) {}
    public func destroyRecorder(_ handler: any RecorderHandler) {}
    public func destroyTimer(_ handler: any TimerHandler) {}

    /// The instrument of that name and those labels, made where there is none. `nil` where there is one of another kind, or
    /// no room: then the caller's own is used and never printed.
    private func find<Made: Instrument>(
        _ label: String, suffix: String = "", _ dimensions: [(String, String)], _ make: (Description?) -> Made
    ) -> Made? {
        var name = Self.legal(label, colons: true)
        if !suffix.isEmpty, !name.hasSuffix(suffix) { name += suffix }
        let labels = dimensions.map { (Self.legal($0.0, colons: false), $0.1) }
        return state.withLockedValue { state in
            let description = state.descriptions[name]
            if state.families[name] == nil {
                guard state.families.count < Self.maximumFamilies else { return nil }
                state.families[name] = Family(kind: make(description).kind)
            }
            var key = Key(labels)
            var labels = labels
            guard let family = state.families[name] else { return nil }
            if family.places[key] == nil, family.samples.count >= Self.maximumLabelSets {
                labels = [("overflow", "true")]
                key = Key(labels)
            }
            if let place = family.places[key] { return family.samples[place].instrument as? Made }
            let made = make(description)
            guard made.kind == family.kind else { return nil }
            state.families[name]?.places[key] = family.samples.count
            state.families[name]?.samples.append((labels, made))
            return made
        }
    }

    /// Letters, digits and underscores, not a digit first (and colons in the names of metrics).
    static func legal(_ text: String, colons: Bool) -> String {
        var name = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "a"..."z", "A"..."Z", "_": name.unicodeScalars.append(scalar)
            case "0"..."9":
                if name.isEmpty { name = "_" }
                name.unicodeScalars.append(scalar)
            case ":" where colons: name.unicodeScalars.append(scalar)
            default: name += "_"
            }
        }
        return name.isEmpty ? "_" : name
    }
}
