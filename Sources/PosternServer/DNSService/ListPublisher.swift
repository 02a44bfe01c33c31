import AddressTables
import DNSListServer
import DNSProtocol
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PublishedLists

/// Gathers what is published, from the admin's own entries, the harvest and subscriptions, and hands it to those who tell
/// others: the zones, and whoever exports.
final class ListPublisher: PublishedEntriesReader {
    private struct State {
        var own: PublishedSource
        var harvest: Harvested
        var subscriptions: [PublishedSource] = []
        var trusted = ListPublisher.trusted(Trusted())
        /// With the services they had when they were started or last updated.
        var listeners: [(listener: DNSServiceListener, configuration: Configuration)] = []
        var serial: UInt32 = 0
        var pushIsDue = false

        var sources: [PublishedSource] { [own, harvest.source] + subscriptions + [trusted] }
    }

    private let clock: ServiceClock
    private let state: NIOLockedValueBox<State>

    /// Changes of the harvest come one by one: so long they gather.
    private static let gathering = Duration.milliseconds(200)

    init(clock: ServiceClock, lists: Lists) {
        self.clock = clock
        state = NIOLockedValueBox(State(own: Self.own(lists), harvest: Harvested()))
    }

    // MARK: - What is published

    func listsChanged(_ lists: Lists) {
        let own = Self.own(lists)
        state.withLockedValue { $0.own = own }
        push()
    }

    func published(_ entries: [PublishedEntry]) {
        state.withLockedValue { $0.harvest = Harvested(entries) }
        push()
    }

    func changed(_ changes: [PublishedChange]) {
        let isFirst = state.withLockedValue { state in
            for change in changes { state.harvest.apply(change) }
            defer { state.pushIsDue = true }
            return !state.pushIsDue
        }
        guard isFirst else { return }
        Task {
            try? await Task.sleep(for: Self.gathering)
            self.state.withLockedValue { $0.pushIsDue = false }
            self.push()
        }
    }

    func subscriptionsChanged(_ sources: [PublishedSource]) {
        state.withLockedValue { $0.subscriptions = sources }
        push()
    }

    func trustChanged(_ trusted: Trusted) {
        let source = Self.trusted(trusted)
        state.withLockedValue { $0.trusted = source }
        push()
    }

    /// All that is published: whoever lists an address first decides about it.
    var sources: [PublishedSource] { state.withLockedValue { $0.sources } }

    /// Throws away what has expired; it has lost its force before.
    func removeExpired() {
        let now = UInt32(clamping: clock.now().steady.milliseconds / 1000)
        state.withLockedValue { $0.harvest.removeExpired(at: now) }
        push()
    }

    // MARK: - Those who tell it

    /// What a service begins with.
    func service(_ listener: Configuration.Listener, of configuration: Configuration) -> ListService? {
        state.withLockedValue { state in
            nextSerial(&state)
            return ListService(listener, configuration, state.sources, state.serial)
        }
    }

    func add(_ listener: DNSServiceListener, _ configuration: Configuration) {
        state.withLockedValue { $0.listeners.append((listener, configuration)) }
        push()
    }

    func update(_ configuration: Configuration) {
        state.withLockedValue { state in
            for index in state.listeners.indices { state.listeners[index].configuration = configuration }
        }
        push()
    }

    /// The lock is held, so that an older state never comes after a newer one.
    private func push() {
        state.withLockedValue { state in
            guard !state.listeners.isEmpty else { return }
            nextSerial(&state)
            let sources = state.sources
            for (listener, configuration) in state.listeners {
                guard let settings = configuration.listeners.first(where: { $0.name == listener.name }),
                    let service = ListService(settings, configuration, sources, state.serial)
                else { continue }
                listener.update(service)
            }
        }
    }

    /// RFC 1035 §3.3.13: grows with every change. It is the time, so that it mostly grows over a restart, too: not where changes came
    /// faster than seconds just before. Zones are not transferred (RFC 5936), so nobody compares it with an older one.
    private func nextSerial(_ state: inout State) {
        state.serial = max(state.serial &+ 1, UInt32(truncatingIfNeeded: clock.now().wall.milliseconds / 1000))
    }

    /// The time as entries have it.
    static func time(_ clock: ServiceClock) -> ZoneTime {
        let (steady, wall) = clock.now()
        return ZoneTime(now: UInt32(clamping: steady.milliseconds / 1000), offset: wall - steady)
    }

    // MARK: - The admin's own

    /// Whom the admin trusts: for those who would skip a throttle, or who trust the same.
    static func trusted(_ trusted: Trusted) -> PublishedSource {
        var statements = StatementTable()
        var builder = AddressTableBuilder()
        let mark = statements.mark(PublishedStatement(.white, reason: "trusted"))
        for prefix in trusted.addresses.prefixes { builder.add(prefix, mark: mark, expires: 0) }
        var domains: [DNSName: AddressListing] = [:]
        for name in trusted.domains { domains[DNSName(name)] = AddressListing(mark: mark, length: 0, expires: 0) }
        return PublishedSource(
            name: Configuration.DNSService.trustedSource, layers: [builder.table()], statements: statements.statements, domains: [domains])
    }

    /// What traps have found.
    static func harvest(_ entries: [PublishedEntry]) -> PublishedSource { Harvested(entries).source }

    /// Of an allow and a block for the same the allow counts, as everywhere, and once it has ended the block.
    static func own(_ lists: Lists) -> PublishedSource {
        var statements = StatementTable()
        var layers: [AddressTable] = []
        var domains: [[DNSName: AddressListing]] = []
        for list in [ListEntry.List.allow, .block] {
            var builder = AddressTableBuilder()
            var names: [DNSName: AddressListing] = [:]
            for entry in longestLived(lists.allEntries.filter { $0.list == list && $0.kind != .recipient }) {
                let colour: ListColour = list == .block ? .black : .white
                let reason = entry.note.isEmpty ? (list == .block ? "blocked by the operator" : "allowed by the operator") : entry.note
                let statement = PublishedStatement(colour, reason: reason)
                let expires = entry.expires.map(\.roundedDownSecond) ?? 0
                switch entry.pattern {
                case .prefix(let prefix): builder.add(prefix, mark: statements.mark(statement), expires: expires)
                case .domain(let name):
                    names[DNSName(name)] = AddressListing(mark: statements.mark(statement), length: 0, expires: expires)
                case .mailbox, .localPart: break
                }
            }
            layers.append(builder.table())
            domains.append(names)
        }
        return PublishedSource(
            name: Configuration.DNSService.ownSource, layers: layers, statements: statements.statements, domains: domains)
    }

    /// Each pattern once: of those that are listed as a client and as a sender what counts for longer.
    private static func longestLived(_ entries: [ListEntry]) -> some Sequence<ListEntry> {
        func rank(_ entry: ListEntry) -> (Int64, Int) { (entry.expires?.milliseconds ?? .max, entry.kind == .client ? 1 : 0) }
        return Dictionary(entries.map { ($0.pattern, $0) }) { rank($0) < rank($1) ? $1 : $0 }.values
    }
}

extension WallTime {
    /// The last whole second that is not after it: no entry is told of for longer than it counts.
    var roundedDownSecond: UInt32 { UInt32(clamping: max(1, milliseconds / 1000)) }
}

/// The harvest's entries as a table that changes.
private struct Harvested {
    private var table = ChangingAddressTable()
    private var statements = StatementTable()

    init(_ entries: [PublishedEntry] = []) {
        var builder = AddressTableBuilder()
        builder.reserve(entries.count)
        for entry in entries {
            builder.add(
                entry.prefix, mark: statements.mark(PublishedStatement(entry.colour, reason: entry.reason)),
                expires: entry.expires.roundedDownSecond)
        }
        table = ChangingAddressTable(builder.table())
    }

    mutating func apply(_ change: PublishedChange) {
        switch change {
        case .put(let entry):
            let mark = statements.mark(PublishedStatement(entry.colour, reason: entry.reason))
            table.set(entry.prefix, .init(mark: mark, expires: entry.expires.roundedDownSecond))
        case .remove(let prefix): table.set(prefix, nil)
        }
    }

    mutating func removeExpired(at now: UInt32) {
        table.removeExpired(at: now)
        // Reasons that nobody has any more go too.
        var used = StatementTable()
        var builder = AddressTableBuilder()
        source.forEach(at: now) { prefix, listing in
            builder.add(prefix, mark: used.mark(statements.statements[Int(listing.mark)]), expires: listing.expires)
        }
        table = ChangingAddressTable(builder.table())
        statements = used
    }

    var source: PublishedSource {
        PublishedSource(
            name: Configuration.DNSService.harvestSource, layers: table.layers, statements: statements.statements)
    }
}

// MARK: - From the configuration

extension ListService {
    init?(_ listener: Configuration.Listener, _ configuration: Configuration, _ sources: [PublishedSource], _ serial: UInt32) {
        guard let service = listener.dnsService else { return nil }
        let zones = service.zones.map { zone in
            let settings = ZoneSettings(zone, of: service, configuration)
            let shown = zone.sources.map { names in sources.filter { names.contains($0.name) } } ?? sources.shownByDefault
            return PublishedZone(settings, sources: shown, serial: serial)
        }
        let perSecond = service.rateLimit ?? Configuration.DNSService.defaultRateLimit
        var unlimited = configuration.networks.local.prefixes
        // Nobody forges these from elsewhere; who sets a limit means everybody.
        if service.rateLimit == nil {
            unlimited += [
                Prefix(IPAddress(v4: 0x7f00_0000), length: 8), Prefix(IPAddress(v6High: 0, low: 1), length: 128),
            ]
        }
        self.init(
            responder: ListResponder(zones: zones), allowed: service.allow, rateLimit: .init(perSecond: perSecond, slip: service.slip),
            unlimited: PrefixSet(unlimited))
    }
}

extension DNSName {
    /// A mailbox as SOA records have it: the local part is the first label (RFC 1035 §8).
    init?(mailbox: String) {
        guard let at = mailbox.lastIndex(of: "@"), let domain = DNSName(mailbox[mailbox.index(after: at)...]) else { return nil }
        self.init(labels: [Array(mailbox[..<at].utf8)] + domain.labels.map { Array($0) })
    }
}

extension [PublishedSource] {
    /// Whom somebody trusts is nobody's business, until a zone or an export names that source.
    var shownByDefault: [PublishedSource] { filter { $0.name != Configuration.DNSService.trustedSource } }
}
