import PosternCore
import PosternEngine

/// Learns from past logs whom a site knows: who has written to it, and to whom its users have written.
public struct KnownSenders {
    /// Clients, triplets and correspondents that are kept at once; beyond it those unseen for longest are forgotten.
    public static let maximum = 2_000_000

    /// A sender that wrote to a recipient by a client.
    public struct Triplet: Equatable, Sendable {
        public var client: Client
        public var sender: ReversePath
        public var recipient: Mailbox
        public var first: WallTime
        public var last: WallTime
        /// Messages that were accepted.
        public var messages: Int
    }

    /// A client that messages came from.
    public struct Source: Equatable, Sendable {
        public var client: Client
        public var messages: Int
        /// Days (UTC) on which one came.
        public var days: Int
        public var last: WallTime
    }

    /// Somebody a user of the site wrote to.
    public struct Correspondent: Equatable, Sendable {
        public var correspondent: Mailbox
        public var user: Mailbox
        public var last: WallTime
    }

    private let lifetime: WallTime.Span
    private var domains: SenderDomains
    private var tripletRows: [UInt64: Triplet] = [:]
    private var sourceRows: [UInt64: Source] = [:]
    private var correspondentRows: [UInt64: Correspondent] = [:]
    private var lastMessage: UInt64 = 0
    private var latest = WallTime(milliseconds: .min)
    private var sweepAt = 65_536

    /// What has not been seen for `lifetime` at the end of the log is forgotten, as the greylist would have forgotten it.
    public init(lifetime: WallTime.Span, domains: any OrganisationalDomains) {
        self.lifetime = lifetime
        self.domains = SenderDomains(domains)
    }

    /// An attempt of the log. Only what the server accepted teaches anything; bounces teach nothing of who sends them.
    public mutating func take(_ attempt: LoggedAttempt) {
        guard attempt.outcome == .accepted, attempt.label != .spam, let sender = attempt.sender.mailbox,
            let address = attempt.client.address
        else { return }
        latest = max(latest, attempt.time)
        let clientDomain = domains.domain(of: attempt.client)
        var source = KeyHash()
        if let clientDomain {
            source.add(clientDomain)
        } else {
            let network = Prefix(address, length: address.family == .v4 ? 24 : 64)
            source.add(network.address.high)
            source.add(network.address.low)
        }
        var triplet = source
        triplet.add(sender.folded)
        triplet.add(attempt.recipient.folded)

        var row =
            tripletRows[triplet.value]
            ?? Triplet(
                client: attempt.client, sender: attempt.sender, recipient: attempt.recipient, first: attempt.time, last: attempt.time,
                messages: 0)
        row.messages += 1
        row.last = max(row.last, attempt.time)
        row.client = attempt.client
        tripletRows[triplet.value] = row

        // A message to many recipients is one.
        if attempt.message == 0 || attempt.message != lastMessage {
            let key = source.value
            var row = sourceRows[key] ?? Source(client: attempt.client, messages: 0, days: 0, last: WallTime(milliseconds: .min))
            row.messages += 1
            if row.days == 0 || Self.day(row.last) != Self.day(attempt.time) { row.days += 1 }
            row.last = max(row.last, attempt.time)
            row.client = attempt.client
            sourceRows[key] = row
        }
        lastMessage = attempt.message
        sweepIfFull()
    }

    public mutating func take(_ sent: SentMessage) {
        guard let user = sent.sender.mailbox, !user.domain.isEmpty else { return }
        latest = max(latest, sent.time)
        var hash = KeyHash()
        hash.add(user.folded)
        hash.add(sent.recipient.folded)
        correspondentRows[hash.value] = Correspondent(correspondent: sent.recipient, user: user, last: sent.time)
        sweepIfFull()
    }

    private static func day(_ time: WallTime) -> Int64 { time.milliseconds / Calendar.millisecondsADay }

    private mutating func sweepIfFull() {
        let count = tripletRows.count + sourceRows.count + correspondentRows.count
        guard count > sweepAt else { return }
        var age = lifetime
        repeat {
            let limit = latest - age
            tripletRows = tripletRows.filter { $0.value.last > limit }
            sourceRows = sourceRows.filter { $0.value.last > limit }
            correspondentRows = correspondentRows.filter { $0.value.last > limit }
            age = .milliseconds(age.milliseconds / 2)
        } while tripletRows.count + sourceRows.count + correspondentRows.count > Self.maximum && age > .seconds(1)
        sweepAt = max(65_536, (tripletRows.count + sourceRows.count + correspondentRows.count) * 2)
    }

    // MARK: - What was learnt

    private var limit: WallTime { latest - lifetime }

    /// Triplets by which at least so many messages came, the last seen first.
    public func triplets(messages: Int) -> [Triplet] {
        tripletRows.values.filter { $0.messages >= messages && $0.last > limit }.sorted {
            ($1.last, $0.sender.description, $0.recipient.description) < ($0.last, $1.sender.description, $1.recipient.description)
        }
    }

    /// Clients from which at least so many messages came, on at least so many days.
    public func sources(messages: Int, days: Int) -> [Source] {
        sourceRows.values.filter { $0.messages >= messages && $0.days >= days && $0.last > limit }.sorted {
            ($1.last, $0.client.address?.description ?? "") < ($0.last, $1.client.address?.description ?? "")
        }
    }

    public func correspondents() -> [Correspondent] {
        correspondentRows.values.filter { $0.last > limit }.sorted {
            ($1.last, $0.correspondent.description, $0.user.description) < ($0.last, $1.correspondent.description, $1.user.description)
        }
    }
}
