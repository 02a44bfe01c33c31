import AsyncHTTPClient
import DNSListServer
import DNSProtocol
import Foundation
import Logging
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PublishedLists
import Subscriptions

/// Looks after lists that come in and go out: asks for subscriptions and writes exports, each at its own times.
actor ListKeeper {
    private let publisher: ListPublisher
    private let decisions: DecisionService
    private let clock: ServiceClock
    private let logger: Logger
    private var configuration: Configuration
    /// Where subscriptions are kept: another data_directory holds from the next start.
    private let folder: String
    /// In the order of the configuration.
    private var subscriptions: [(settings: SubscriptionSettings, subscription: Subscription)] = []
    private var lists: [String: SubscribedList] = [:]
    private var reports: [String: StatusReport.Subscription] = [:]
    private var tasks: [Task<Void, Never>] = []
    private var client: HTTPClient?
    /// How often what has expired, and reasons that nobody has any more, are thrown away.
    private static let clearing = Duration.seconds(3600)
    /// What `status` shows; read from other threads.
    nonisolated let shown = NIOLockedValueBox<[StatusReport.Subscription]>([])

    init(publisher: ListPublisher, decisions: DecisionService, clock: ServiceClock, logger: Logger, configuration: Configuration) {
        self.publisher = publisher
        self.decisions = decisions
        self.clock = clock
        self.logger = logger
        self.configuration = configuration
        folder = configuration.dataDirectory + "/subscriptions"
    }

    /// Reads what was kept, so that the first client meets the lists, and begins.
    func start() async {
        // Of commands that were broken off.
        for name in (try? FileManager.default.contentsOfDirectory(atPath: configuration.dataDirectory)) ?? []
        where name.hasPrefix("export-") && name.hasSuffix(".tmp") {
            unlink("\(configuration.dataDirectory)/\(name)")
        }
        await takeUp(configuration)
    }

    /// Takes up another configuration; what has not changed goes on.
    func update(_ configuration: Configuration) async {
        let lists = configuration.subscriptions != self.configuration.subscriptions
        let exports = configuration.exports != self.configuration.exports || configuration.listeners != self.configuration.listeners
        guard lists || exports else { return }
        await takeUp(configuration)
    }

    func stop() async {
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
        tasks = []
        try? await client?.shutdown()
        client = nil
    }

    private func takeUp(_ configuration: Configuration) async {
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
        tasks = []
        self.configuration = configuration
        let before = subscriptions
        subscriptions = []
        for subscription in configuration.subscriptions {
            let settings = SubscriptionSettings(subscription)
            if let known = before.first(where: { $0.settings == settings }) {
                subscriptions.append(known)
                continue
            }
            let fresh = Subscription(settings, folder: folder)
            subscriptions.append((settings, fresh))
            // What cannot be read with these settings leaves in force what was read of the same source with others.
            let isOfSameSource = before.contains { $0.settings.name == settings.name && $0.settings.source == settings.source }
            let restored = await fresh.restore(ListPublisher.time(clock), checked: clock.now().steady)
            lists[settings.name] = restored ?? (isOfSameSource ? lists[settings.name] : nil)
            reports[settings.name] = nil
            // A file is there at once.
            if case .file = settings.source { await lookAfter(fresh, settings) }
        }
        let names = subscriptions.map(\.settings.name)
        lists = lists.filter { names.contains($0.key) }
        reports = reports.filter { names.contains($0.key) }
        putInForce()
        for (settings, subscription) in subscriptions {
            let every = configuration.subscriptions.first { $0.name == settings.name }?.interval ?? .hours(1)
            let waitsFirst = if case .file = settings.source { true } else { false }
            tasks.append(
                Task {
                    if waitsFirst { await Self.pause(every) }
                    while !Task.isCancelled {
                        if await self.lookAfter(subscription, settings) { self.putInForce() }
                        await Self.pause(every)
                    }
                })
        }
        tasks.append(
            Task { [publisher] in
                while !Task.isCancelled {
                    try? await Task.sleep(for: Self.clearing)
                    if !Task.isCancelled { publisher.removeExpired() }
                }
            })
        for export in configuration.exports {
            tasks.append(
                Task {
                    // The harvest and the lists have a moment to come in.
                    await Self.pause(min(export.every, .seconds(1)))
                    while !Task.isCancelled {
                        self.write(export)
                        await Self.pause(export.every)
                    }
                })
        }
    }

    /// Up to a tenth longer, so that the subscribers of a list do not all come at once.
    private static func pause(_ span: WallTime.Span) async {
        let longer = Int64.random(in: 0...max(span.milliseconds / 10, 0))
        try? await Task.sleep(for: .milliseconds(span.milliseconds + longer))
    }

    // MARK: - Subscriptions

    /// Whether it has changed.
    @discardableResult
    private func lookAfter(_ subscription: Subscription, _ settings: SubscriptionSettings) async -> Bool {
        var client: HTTPClient?
        if case .web = settings.source { client = webClient() }
        let outcome = await subscription.refresh(with: client, ListPublisher.time(clock), checked: clock.now().steady)
        guard !Task.isCancelled else { return false }
        let name = settings.name
        let wall = clock.now().wall.description
        switch outcome {
        case .unchanged:
            note(name) {
                $0.checked = wall
                $0.failure = nil
            }
            return false
        case .changed(let list, let bad, let firstBad):
            lists[name] = list
            note(name) {
                $0.checked = wall
                $0.changed = wall
                $0.failure = nil
                $0.badLines = bad
            }
            var metadata: Logger.Metadata = ["subscription": "\(name)", "entries": "\(list.count)"]
            if bad > 0 {
                metadata["lines_left_out"] = "\(bad)"
                metadata["first"] = "\(firstBad ?? "")"
            }
            logger.info("subscription read", metadata: metadata)
            return true
        case .failed(let why):
            let isNews = reports[name]?.failure != why
            note(name) { $0.failure = why }
            if isNews {
                logger.warning(
                    "subscription not read; what there was stays in force", metadata: ["subscription": "\(name)", "error": "\(why)"])
            }
            return false
        }
    }

    private func note(_ name: String, _ change: (inout StatusReport.Subscription) -> Void) {
        var report = reports[name] ?? StatusReport.Subscription(name: name)
        change(&report)
        report.entries = lists[name]?.count ?? 0
        reports[name] = report
        show()
    }

    private func show() {
        let all = subscriptions.map { subscription in
            var report = reports[subscription.settings.name] ?? StatusReport.Subscription(name: subscription.settings.name)
            report.entries = lists[subscription.settings.name]?.count ?? 0
            return report
        }
        shown.withLockedValue { $0 = all }
    }

    private func putInForce() {
        let inOrder = subscriptions.compactMap { lists[$0.settings.name] }
        decisions.update { $0.lists.subscribed = inOrder }
        publisher.subscriptionsChanged(inOrder.map { PublishedSource($0) })
        show()
        // A large list leaves holes behind when it is read.
        FreeMemory.giveBack()
    }

    private func webClient() -> HTTPClient {
        if let client { return client }
        let made = SubscriptionClient.make()
        client = made
        return made
    }

    // MARK: - Exports

    private func write(_ export: Configuration.Export) {
        do {
            let draft = ExportDraft(
                format: export.format.rawValue, colours: export.colours ?? [], sources: export.sources, zone: export.zone?.text)
            let count = try ListExport(draft, configuration, decisions.engine.lists, publisher.sources, ListPublisher.time(clock)).write(
                to: export.file)
            if failedExports.remove(export.file) != nil {
                logger.info("export written again", metadata: ["file": "\(export.file)", "entries": "\(count)"])
            }
        } catch {
            if failedExports.insert(export.file).inserted {
                logger.error("export not written", metadata: ["file": "\(export.file)", "error": "\(error)"])
            }
        }
    }

    private var failedExports: Set<String> = []
}

extension SubscriptionSettings {
    init(_ subscription: Configuration.Subscription) {
        self.init(
            name: subscription.name, source: subscription.isOfTheWeb ? .web(subscription.source) : .file(subscription.source),
            format: subscription.format == .csv ? .csv : .text, colour: subscription.colour, longest: subscription.maxSize,
            patience: subscription.timeout)
    }
}

extension ListExport {
    /// What is asked for, of the sources that there are.
    init(
        _ draft: ExportDraft, _ configuration: Configuration, _ lists: Lists, _ sources: [PublishedSource], _ time: ZoneTime
    ) throws(ControlFailure) {
        guard let format = Format(rawValue: draft.format) else {
            throw ControlFailure(
                .badData, "'\(draft.format)' is not one of \(Format.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        let zone = try ExportedZone(draft, format, configuration)
        var chosen = sources.shownByDefault
        if let names = draft.sources {
            for name in names where !sources.contains(where: { $0.name == name }) {
                throw ControlFailure(
                    .badData, "there is no source '\(name)'; there are \(sources.map(\.name).joined(separator: ", "))")
            }
            chosen = sources.filter { names.contains($0.name) }
        } else if let names = zone.sources {
            chosen = sources.filter { names.contains($0.name) }
        }
        guard format != .nftables || zone.only != .domain else {
            throw ControlFailure(.badData, "the zone \(zone.settings.name) shows domains, and nftables only knows addresses")
        }
        self.init(format, colours: zone.colours, sources: chosen, time: time, zone: zone.settings)
        only = zone.only
        if draft.isOfOwnEntries { entries = Array(lists.allEntries) }
    }

    /// Writes it in place of the file; returns how many entries are in it.
    func write(to path: String) throws(ControlFailure) -> Int {
        do throws(AtomicFile.Failure) {
            let file = try AtomicFile(path)
            let count = try write { (octets) throws(AtomicFile.Failure) in try file.write(octets) }
            try file.finish()
            return count
        } catch {
            throw ControlFailure(error.number == EACCES ? .noPermission : .cannotCreate, error.description)
        }
    }
}

extension ExportDraft {
    /// Whether the admin's entries are asked for as they are.
    fileprivate var isOfOwnEntries: Bool {
        format == ListExport.Format.csv.rawValue && sources == [Configuration.DNSService.ownSource] && zone == nil
    }
}

/// The zone that an export is written for, and what of it.
private struct ExportedZone {
    var settings: ZoneSettings
    var colours: Set<ListColour>
    /// Those of the zone that is named; `nil` for all that are shown without being named.
    var sources: [String]?
    /// What the zone that is named shows; `nil` where none is.
    var only: ZoneSettings.Kind?

    /// A zone of a DNS service: the one that is named, or the first that shows what is exported; where there is none, one that only the
    /// export has.
    init(_ draft: ExportDraft, _ format: ListExport.Format, _ configuration: Configuration) throws(ControlFailure) {
        let services = configuration.listeners.compactMap(\.dnsService)
        let zones = services.flatMap { service in service.zones.map { (zone: $0, service: service) } }
        let named = draft.colours.map(\.rawValue).joined(separator: " or ")
        // The admin's own entries are black and white.
        let ofOwn: [ListColour] = draft.isOfOwnEntries ? [.black, .white] : [.black]
        var wanted = Set(draft.colours.isEmpty ? ofOwn : draft.colours)
        if let name = draft.zone, !zones.isEmpty {
            guard let (zone, service) = zones.first(where: { $0.zone.name.text == name.lowercased().withALabels }) else {
                throw ControlFailure(.badData, "no DNS service has the zone '\(name)'")
            }
            if draft.colours.isEmpty { wanted = Set(zone.colours) }
            guard wanted.isSubset(of: zone.colours) else {
                throw ControlFailure(
                    .badData,
                    "the zone \(zone.name) shows only \(zone.colours.map(\.rawValue).joined(separator: ", ")), not all of \(named)")
            }
            settings = ZoneSettings(zone, of: service, configuration)
            sources = zone.sources
            only = settings.kind
            colours = wanted
            return
        }
        colours = wanted
        if let (zone, service) = zones.first(where: { [wanted] in wanted.isSubset(of: $0.zone.colours) }) {
            settings = ZoneSettings(zone, of: service, configuration)
            return
        }
        guard zones.isEmpty || format != .rbldnsd else {
            throw ControlFailure(.badData, "no zone of a DNS service shows \(named.isEmpty ? "black" : named): name one that does (zone)")
        }
        let text = draft.zone ?? "bl.\(configuration.hostname)"
        guard let own = DomainName(text), own.labels.count >= 2 else {
            throw ControlFailure(.badData, "'\(text)' is not the name of a zone")
        }
        settings = ZoneSettings(.init(name: own), of: .init(zones: []), configuration)
    }
}

extension ZoneSettings {
    init(_ zone: Configuration.DNSService.Zone, of service: Configuration.DNSService, _ configuration: Configuration) {
        let hostname = DomainName(configuration.hostname).map { DNSName($0) } ?? .root
        self.init(
            name: DNSName(zone.name), nameServers: service.nameServers.isEmpty ? [hostname] : service.nameServers.map { DNSName($0) },
            mailbox: DNSName(mailbox: service.contact ?? "postmaster@\(configuration.hostname)") ?? hostname)
        kind = zone.kind == .domain ? .domain : .address
        colours = Set(zone.colours)
        timeToLive = UInt32(clamping: service.timeToLive.milliseconds / 1000)
        negativeTimeToLive = UInt32(clamping: service.negativeTimeToLive.milliseconds / 1000)
        lookup = service.lookup
        contact = service.contact ?? ""
    }
}
