import Foundation
import Logging
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PublishedLists
import Subscriptions

/// Exports without a running daemon.
public enum OfflineExport {
    /// Of the admin's own entries, of the harvest as its rows are kept, and of subscriptions as they were.
    public static func write(
        _ draft: ExportDraft, _ configuration: Configuration, _ lists: Lists, harvest: [HarvestEntry], _ clock: ServiceClock
    ) async throws(ControlFailure) -> ExportReport {
        let time = ListPublisher.time(clock)
        // As a daemon publishes it: the live ones, and in `shadow` none.
        let now = clock.now().steady
        var trusted = configuration.trusted
        let files = TrustedFiles(configuration.trustedFiles, logger: .silent)
        _ = files.refresh()
        trusted.formUnion(files.trusted)
        var settings = configuration.engineSettings
        settings.trusted = trusted
        let spared = settings.spared
        let published =
            settings.harvest.mode == .on ? harvest.filter { now < $0.expires && !spared.contains($0.prefix) }.map(\.published) : []
        var sources = [ListPublisher.own(lists), ListPublisher.harvest(published)]
        for subscription in configuration.subscriptions {
            let kept = Subscription(SubscriptionSettings(subscription), folder: configuration.dataDirectory + "/subscriptions")
            if let list = await kept.restore(time, checked: clock.now().steady) { sources.append(PublishedSource(list)) }
        }
        sources.append(ListPublisher.trusted(trusted))
        let path = temporaryPath()
        let export = try ListExport(draft, configuration, lists, sources, time)
        return ExportReport(path: path, format: draft.format, entries: try export.write(to: path))
    }

    /// Sets of the networks of countries and systems, as the .mmdb files have them, for nft(8).
    ///
    /// - Parameters:
    ///   - countries: ISO 3166-1 codes in capitals.
    ///   - warn: Is called for each file that cannot be read, where the others have all that is asked for.
    public static func writeNetworks(
        databases: [String], countries: [String], systems: [UInt32], warn: (String) -> Void = { _ in }
    ) throws(ControlFailure) -> ExportReport {
        guard !databases.isEmpty else {
            throw ControlFailure(.configuration, "no database tells countries and networks apart: name .mmdb files in geo.databases")
        }
        var found: [String: Set<Prefix>] = [:]
        let wanted = NetworkDatabase.Wanted(countries: Set(countries), systems: Set(systems))
        var unread: [String] = []
        for path in databases {
            do throws(NetworkDatabase.OpenFailure) {
                let database = try NetworkDatabase(path: path)
                guard let networks = database.networks(wanted) else { throw .corrupt("its tree cannot be walked") }
                for (name, prefixes) in networks { found[name, default: []].formUnion(prefixes) }
            } catch {
                unread.append("cannot read \(path): \(error)")
            }
        }
        let names = countries + systems.map { "AS\($0)" }
        // An empty set in place of a full one would let everybody by.
        for name in names where found[name]?.isEmpty ?? true {
            let reasons = ["no file in geo.databases has a network of \(name); nothing is written"] + unread
            throw ControlFailure(.noInput, reasons.joined(separator: "; "))
        }
        for reason in unread { warn(reason) }
        let path = temporaryPath()
        do throws(AtomicFile.Failure) {
            let file = try AtomicFile(path)
            var writer = NetworkSetWriter()
            writer.begin()
            var count = 0
            for name in names {
                for family in [IPAddress.Family.v4, .v6] {
                    let elements = (found[name] ?? []).filter { $0.address.family == family }.map {
                        NetworkSetWriter.Element(prefix: $0, seconds: 0)
                    }
                    let set = (name.hasPrefix("AS") ? name.lowercased() : "country_\(name.lowercased())") + (family == .v4 ? "_4" : "_6")
                    count += try writer.set(set, family, elements, hasTimeouts: false) { (octets) throws(AtomicFile.Failure) in
                        try file.write(octets)
                    }
                }
            }
            try writer.finish { (octets) throws(AtomicFile.Failure) in try file.write(octets) }
            try file.finish()
            return ExportReport(path: path, format: "nftables", entries: count)
        } catch {
            throw ControlFailure(.cannotCreate, error.description)
        }
    }

    private static func temporaryPath() -> String {
        NSTemporaryDirectory() + "/postern-export-\(UInt64.random(in: .min ... .max)).tmp"
    }
}
