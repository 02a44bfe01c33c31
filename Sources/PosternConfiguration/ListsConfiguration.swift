import PosternCore
import PosternEngine
import Yams

// `subscriptions:` and `exports:`: lists that come in and go out.

extension Configuration {
    /// A list that somebody else keeps.
    public struct Subscription: Equatable, Sendable {
        public enum Format: String, CaseIterable, Sendable {
            case text
            case csv
        }

        public var name: String
        /// A path, or an address that begins with `http://` or `https://`.
        public var source: String
        /// What an entry is that does not say itself.
        public var colour: ListColour
        public var format = Format.text
        /// How often it is asked whether it has changed; `nil` for a minute for files and an hour for the web.
        public var every: WallTime.Span?
        /// Octets, decompressed.
        public var maxSize = 100_000_000
        /// For a whole download.
        public var timeout = WallTime.Span.minutes(1)

        public static let mostSubscriptions = 64
        public static let everyRange = WallTime.Span.milliseconds(100) ... .days(30)
        public static let sizeRange = 1...1_000_000_000
        public static let timeoutRange = WallTime.Span.milliseconds(100) ... .hours(1)

        public init(name: String, source: String, colour: ListColour) {
            self.name = name
            self.source = source
            self.colour = colour
        }

        public var isOfTheWeb: Bool { !source.hasPrefix("/") }

        public var interval: WallTime.Span { every ?? (isOfTheWeb ? .hours(1) : .minutes(1)) }
    }

    /// A file that is written now and then.
    public struct Export: Equatable, Sendable {
        public enum Format: String, CaseIterable, Sendable {
            case rbldnsd
            case nftables
            case text
            case csv
        }

        public var file: String
        public var format: Format
        public var every = WallTime.Span.minutes(5)
        /// In the order of their return codes; `nil` for those of the zone that is named, or black.
        public var colours: [ListColour]?
        /// `nil` for those of the zone that is named, or all.
        public var sources: [String]?
        /// One of the zones that a DNS service has; `nil`, for rbldnsd, for the first that shows the colours.
        public var zone: DomainName?

        public static let mostExports = 64
        public static let everyRange = WallTime.Span.milliseconds(100) ... .days(30)

        public init(file: String, format: Format) {
            self.file = file
            self.format = format
        }
    }
}

// MARK: - Reading

extension ConfigurationLoader {
    private static let ownSources = [
        Configuration.DNSService.ownSource, Configuration.DNSService.harvestSource, Configuration.DNSService.trustedSource,
    ]

    func readSubscriptions(_ value: Value?) {
        guard let value, let elements = value.list(of: "subscriptions") else { return }
        guard elements.count <= Configuration.Subscription.mostSubscriptions else {
            return value.error("\(elements.count) subscriptions are more than \(Configuration.Subscription.mostSubscriptions)")
        }
        configuration.subscriptions = []
        for element in elements {
            guard let subscription = subscription(element) else { continue }
            let reserved = Self.ownSources
            if reserved.contains(subscription.name) {
                element.error("'\(subscription.name)' is the name of lists of our own")
            } else if configuration.subscriptions.contains(where: { $0.name == subscription.name }) {
                element.error("there is another subscription named '\(subscription.name)'")
            } else {
                configuration.subscriptions.append(subscription)
            }
        }
    }

    private func subscription(_ element: Value) -> Configuration.Subscription? {
        guard case .mapping(let node) = element.node else {
            element.wants("a subscription, such as { name: drop, source: \"https://lists.example.net/drop.txt\", list: black },")
            return nil
        }
        let mapping = Mapping(node, path: "subscriptions[]", mark: element.mark, report: report)
        let name = mapping.takePart("name")
        let source = mapping.takePart("source")
        let list = mapping.takePart("list")
        let format = mapping.takePart("format")?.choice(Configuration.Subscription.Format.self)
        let every = mapping.takePart("every")?.duration(Configuration.Subscription.everyRange)
        let size = mapping.takePart("max_size")?.integer(Configuration.Subscription.sizeRange)
        let timeout = mapping.takePart("timeout")?.duration(Configuration.Subscription.timeoutRange)
        mapping.finish()
        guard let name, let source, let list else {
            element.error("a subscription needs a name, a source and a list: { name: drop, source: /var/lib/lists/drop.txt, list: black }")
            return nil
        }
        guard let nameText = name.listenerName(), let sourceText = source.text("a path, or an address of the web"),
            let colour = list.listWord()
        else { return nil }
        guard nameText.first != "." else {
            name.error("must not begin with a dot")
            return nil
        }
        var subscription = Configuration.Subscription(name: nameText, source: sourceText, colour: colour)
        if subscription.isOfTheWeb {
            let otherwise = "is neither a path that begins with / nor an address that begins with http:// or https://"
            guard let address = source.webAddress(sourceText, otherwise: otherwise) else { return nil }
            if !address.isEncrypted { source.warning("without TLS anybody on the way can change what the list says") }
        }
        if let format { subscription.format = format }
        subscription.every = every
        if let size { subscription.maxSize = size }
        if let timeout { subscription.timeout = timeout }
        return subscription
    }

    func readExports(_ value: Value?) {
        guard let value, let elements = value.list(of: "exports") else { return }
        guard elements.count <= Configuration.Export.mostExports else {
            return value.error("\(elements.count) exports are more than \(Configuration.Export.mostExports)")
        }
        configuration.exports = []
        for element in elements {
            guard let export = export(element) else { continue }
            checkZone(of: export, element)
            if configuration.exports.contains(where: { $0.file == export.file }) {
                element.error("'\(export.file.shortened)' is written by two exports")
            }
            configuration.exports.append(export)
        }
    }

    /// The names of sources, to be looked for by `checkSources`.
    func sourceNames(_ elements: [Value]) -> [String] {
        let named = elements.compactMap { element in element.listenerName().map { (name: $0, value: element) } }
        namedSources += named
        return named.map(\.name)
    }

    /// Whether the sources that are named are there.
    func checkSources() {
        let names = Self.ownSources + configuration.subscriptions.map(\.name)
        for (name, value) in namedSources where !names.contains(name) {
            value.error("there is no source '\(name)': it is none of \(names.joined(separator: ", "))")
        }
    }

    /// Whether a DNS service has the zone of an export, and a zone shows its colours and what the format can hold.
    private func checkZone(of export: Configuration.Export, _ element: Value) {
        guard export.format == .rbldnsd || export.zone != nil else { return }
        let zones = configuration.listeners.flatMap { $0.dnsService?.zones ?? [] }
        let candidates = zones.filter { export.zone == nil || $0.name == export.zone }
        if let zone = export.zone, candidates.isEmpty { element.conflict("exports[].zone: no DNS service has the zone '\(zone)'") }
        if let zone = export.zone, export.format == .nftables, candidates.contains(where: { $0.kind == .domain }) {
            element.conflict("exports[].zone: '\(zone)' shows domains, and nftables only knows addresses")
        }
        let wanted = export.colours ?? (export.zone == nil ? [.black] : [])
        guard !candidates.isEmpty, !candidates.contains(where: { Set(wanted).isSubset(of: $0.colours) }) else { return }
        let which = export.zone.map { "the zone '\($0)' does not show" } ?? "no zone shows"
        element.conflict(
            "exports[].colours of \(export.file.shortened): \(which) \(wanted.map(\.rawValue).joined(separator: " and "))")
    }

    private func export(_ element: Value) -> Configuration.Export? {
        guard case .mapping(let node) = element.node else {
            element.wants("an export, such as { file: /var/lib/postern/bl.zone, format: rbldnsd },")
            return nil
        }
        let mapping = Mapping(node, path: "exports[]", mark: element.mark, report: report)
        let file = mapping.takePart("file")
        let format = mapping.takePart("format")
        let every = mapping.takePart("every")?.duration(Configuration.Export.everyRange)
        let colours = mapping.takePart("colours")?.list(of: "colours")
        let sources = mapping.takePart("sources")?.list(of: "sources")
        let zone = mapping.takePart("zone")
        mapping.finish()
        guard let file, let format else {
            element.error("an export needs a file and a format: { file: /var/lib/postern/bl.zone, format: rbldnsd }")
            return nil
        }
        guard let path = file.text("a path"), let kind = format.choice(Configuration.Export.Format.self) else { return nil }
        guard path.hasPrefix("/"), !path.hasSuffix("/") else {
            file.error("'\(path.shortened)' is not the whole path of a file")
            return nil
        }
        var export = Configuration.Export(file: path, format: kind)
        if let every { export.every = every }
        if let colours {
            let named = colours.compactMap { $0.choice(ListColour.self) }
            export.colours = ListColour.allCases.filter(named.contains)
            if named.isEmpty { element.error("an export needs at least one colour") }
        }
        if let sources { export.sources = sourceNames(sources) }
        export.zone = zone?.domainName()
        return export
    }
}

extension Value {
    /// A colour, or `block` or `allow` for black and white.
    fileprivate func listWord() -> ListColour? {
        switch node.string {
        case "block": .black
        case "allow": .white
        default: choice(ListColour.self)
        }
    }
}

// MARK: - Printing

extension Configuration.Subscription {
    var yaml: String {
        var keys = ["name: \(YAMLText.quoted(name))", "source: \(YAMLText.quoted(source))", "list: \(colour.rawValue)"]
        keys.append("format: \(format.rawValue)")
        if let every { keys.append("every: \(every)") }
        keys += ["max_size: \(maxSize)", "timeout: \(timeout)"]
        return "{ \(keys.joined(separator: ", ")) }"
    }
}

extension Configuration.Export {
    var yaml: String {
        var keys = ["file: \(YAMLText.quoted(file))", "format: \(format.rawValue)", "every: \(every)"]
        if let colours { keys.append("colours: [\(colours.map(\.rawValue).joined(separator: ", "))]") }
        if let sources { keys.append("sources: \(YAMLText.list(sources))") }
        if let zone { keys.append("zone: \(YAMLText.quoted(zone.text))") }
        return "{ \(keys.joined(separator: ", ")) }"
    }
}
