import PosternCore
import PosternEngine

// Reads what only the gateway goes by: checks, bands, delays.

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
        let slowValue = section.take("slow")
        let rejectValue = section.take("reject")
        if let score = slowValue?.decimal(-1000...1000) { configuration.bands.slow = score }
        if let score = rejectValue?.decimal(-1000...1000) { configuration.bands.reject = score }
        if configuration.bands.slow > configuration.bands.reject {
            (rejectValue ?? slowValue)?.conflict(
                "bands.slow is \(configuration.bands.slow.plain) and bands.reject \(configuration.bands.reject.plain): refusing cannot begin before slowing does"
            )
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
                if greeting > Self.longGreeting {
                    value.warning("\(greeting) is longer than many mail servers wait for a greeting; 30s is safe")
                }
            }
        }
        let pause = WallTime.Span.zero ... .minutes(1)
        if let span = section.take("stage")?.duration(pause) { configuration.delays.stage = span }
        if let span = section.take("deferral")?.duration(pause) { configuration.delays.deferral = span }
        if let span = section.take("first_pass")?.duration(pause) { configuration.delays.firstPass = span }
        if let span = section.take("stutter")?.duration(.zero ... .seconds(10)) { configuration.delays.stutter = span }
        section.finish()
    }
}
