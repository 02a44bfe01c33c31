import DNSProtocol
import PosternCore
import PosternEngine

/// What the DNS lists that recorded data names are worth.
public struct RecordedLists: Sendable {
    /// By zone, in lower case.
    private let filters: [String: ListFilters]
    /// The zones of lists that data calls by another name: one that holds a key is never written.
    private let zones: [String: String]

    /// `names` leads from what else lists are called, as an admin writes it, to their zones.
    public init(_ filters: [String: ListFilters] = [:], names: [(name: String, zone: String)] = []) {
        self.filters = filters
        // A name that is another list's zone stands for the zone.
        zones = Dictionary(names.map { (Listing.recordedName($0.name), $0.zone) }, uniquingKeysWith: { first, _ in first })
            .filter { filters[$0.key] == nil }
    }

    /// What the zones said all in all.
    struct Word {
        var listings: [Listing] = []
        /// Zones whose replies were an answer, and zones with a reply that speaks of the one who asked.
        var answered = 0
        var failed = 0
    }

    /// Judges all replies of a zone together, as the daemon does.
    func word(of recorded: [RecordedListing]) -> Word {
        var groups: [(zone: String, listings: [RecordedListing])] = []
        for listing in recorded {
            let zone = zones[listing.zone] ?? listing.zone
            if let place = groups.firstIndex(where: { $0.zone == zone }) {
                groups[place].listings.append(listing)
            } else {
                groups.append((zone, [listing]))
            }
        }
        var word = Word()
        for (zone, listings) in groups {
            switch reply(of: zone, listings.compactMap(\.reply)) {
            case .listed(let codes, let weight):
                let reply = codes.map { IPAddress(v4: $0).description }.joined(separator: ",")
                word.listings.append(Listing(list: listings[0].zone, score: weight, reply: reply))
                word.answered += 1
            case .notListed: word.answered += 1
            case .error: word.failed += 1
            }
        }
        return word
    }

    private func reply(of zone: String, _ replies: [IPAddress]) -> ListReply {
        let filters = filters[zone] ?? ListFilters([])
        guard replies.isEmpty else {
            // RFC 5782 §2.1: no listing is an IPv6 address, and none is 0.0.0.0.
            return filters.reply(for: replies.map { $0.family == .v4 ? UInt32(truncatingIfNeeded: $0.low) : 0 })
        }
        // It is known only that there was a reply: what counts is what counts with any.
        let any = filters.entries.filter { $0.filter == nil }
        return any.isEmpty ? .notListed : .listed(codes: [], weight: any.reduce(0) { $0 + $1.weight })
    }
}
