import PosternCore
import PosternEngine

// Reads what scores lead to: checks, bands, delays.

extension ConfigurationLoader {
    func readChecks(_ section: Mapping) {
        for check in Check.allCases {
            guard let value = section.take(check.rawValue) else { continue }
            var setting = check.defaultSetting
            guard case .mapping(let node) = value.node else {
                value.wants("\(setting.yaml), or a part of it,")
                continue
            }
            let mapping = Mapping(node, path: value.path, mark: value.mark, report: report)
            if let mode = mapping.takePart("mode")?.mode() { setting.mode = mode }
            if let score = mapping.takePart("score")?.decimal(-100...100) { setting.score = score }
            mapping.finish()
            // What says the default is as if it were not said.
            if setting != check.defaultSetting { configuration.checks[check] = setting }
        }
        section.finish { "unknown check '\($0)'\(Suggestion.words(for: $0, among: Check.allCases.map(\.rawValue)))" }
    }

    func readBands(_ section: Mapping) {
        let range = -1000.0...1000
        let bounds: [(name: String, key: WritableKeyPath<Bands, Double>)] = [
            ("pass", \.pass), ("greylist", \.greylist), ("slow", \.slow), ("reject", \.reject),
        ]
        var previous: (name: String, value: Value?)?
        for (name, key) in bounds {
            let value = section.take(name)
            if let score = value?.decimal(range) { configuration.bands[keyPath: key] = score }
            if let previous, let lower = bounds.first(where: { $0.name == previous.name })?.key,
                configuration.bands[keyPath: lower] > configuration.bands[keyPath: key]
            {
                (value ?? previous.value)?.conflict(
                    "bands.\(previous.name) is \(configuration.bands[keyPath: lower].plain) and bands.\(name) \(configuration.bands[keyPath: key].plain): the bands pass, greylist, slow and reject must rise"
                )
            }
            previous = (name, value)
        }
        section.finish()
    }

    /// Many mail servers wait no longer for a greeting, although RFC 5321 §4.5.3.2.1 asks for five minutes.
    private static let longGreeting = WallTime.Span.seconds(30)

    func readDelays(_ section: Mapping) {
        if let value = section.take("greeting") {
            if value.node.string == "auto" {
                configuration.delays.greeting = .auto
            } else if let greeting = value.duration(.zero ... .minutes(5)) {
                configuration.delays.greeting = .fixed(greeting)
                if greeting >= Self.longGreeting {
                    value.warning(
                        "many mail servers wait no longer than \(Self.longGreeting) for a greeting, so the gateway never lets them wait longer than 29s"
                    )
                }
            }
        }
        let pause = WallTime.Span.zero ... .minutes(1)
        if let span = section.take("stage")?.duration(pause) { configuration.delays.stage = span }
        if let span = section.take("deferral")?.duration(pause) { configuration.delays.deferral = span }
        if let span = section.take("first_pass")?.duration(pause) { configuration.delays.firstPass = span }
        if let span = section.take("clean")?.duration(pause) { configuration.delays.clean = span }
        if let span = section.take("stutter")?.duration(.zero ... .seconds(10)) { configuration.delays.stutter = span }
        section.finish()
    }
}
