import DNSProtocol
import NIOConcurrencyHelpers
import PosternConfiguration
import PosternCore
import PosternResolver
import Synchronization

/// One DNS list at work: what to ask, whether its self-test speaks for it, and what it has said so far.
public final class ListZone: Sendable {
    public let list: Configuration.DNSList
    /// As questions have it.
    let name: DNSName
    /// What a reply can add to a score at most, downwards and upwards: what this zone can still change.
    public let reach: ClosedRange<Double>

    let state: NIOLockedValueBox<State>
    let counters = Counters()
    /// Replies in a row that were listings or errors: what makes a test worth its while before it is due.
    let suspicious = Synchronization.Atomic<Int>(0)

    /// Listings in a row that make a zone suspicious of listing the world.
    static let suspiciousListings = 30

    enum State: Equatable {
        /// Not tested yet; not asked.
        case untested
        case live
        case disabled(Ailment)
    }

    /// Why a zone is not asked.
    public enum Ailment: Equatable, Sendable {
        /// It lists what no list lists (127.0.0.1, or INVALID).
        case listsEverything
        /// It does not list what every list lists (127.0.0.2, or TEST).
        case listsNothing
        /// It answers with an error, such as 127.255.255.254.
        case refuses(code: UInt32)
        /// It does not answer.
        case silent
    }

    /// What it said.
    public enum Outcome: Hashable, Sendable {
        /// The codes that counted, and what they add to the score together.
        case listed(codes: [UInt32], weight: Double)
        case notListed
        /// It refused to answer the question.
        case error(code: UInt32)
        /// Nobody knows, mostly since the deadline came first.
        case silent(Answer.Failure)
    }

    final class Counters: Sendable {
        let listed = Synchronization.Atomic<UInt64>(0)
        let notListed = Synchronization.Atomic<UInt64>(0)
        let errors = Synchronization.Atomic<UInt64>(0)
        let silent = Synchronization.Atomic<UInt64>(0)
        let overlapping = Synchronization.Atomic<UInt64>(0)
    }

    init(_ list: Configuration.DNSList) {
        self.list = list
        name = DNSName(list.zone)
        reach = list.filters.reach
        state = NIOLockedValueBox(list.tests ? .untested : .live)
    }

    public var isLive: Bool { state.withLockedValue { $0 == .live } }

    /// Whether its first test has not ended; a zone without tests never does.
    var awaitsTest: Bool { state.withLockedValue { $0 == .untested } }

    /// `nil` where the name would be too long for DNS, or the zone is not for such a subject.
    func question(_ subject: ListSubject) -> Question? {
        switch (subject, list.kind) {
        case (.address(let address), .address): ListName.address(address, zone: name).map { Question($0, .a) }
        case (.domain(let domain), .domain): ListName.domain(domain, zone: name).map { Question($0, .a) }
        case (.label(let label), .domain): DNSName(label)?.followed(by: name).map { Question($0, .a) }
        default: nil
        }
    }

    /// What an answer of the resolver's says, and counts it.
    func outcome(of answer: Answer) -> Outcome {
        let outcome: Outcome =
            switch answer.outcome {
            case .failure(let failure): .silent(failure)
            case .noSuchDomain, .noData: .notListed
            case .records:
                switch list.filters.reply(for: answer.addresses4) {
                case .listed(let codes, let weight): .listed(codes: codes, weight: weight)
                case .notListed: .notListed
                case .error(let code): .error(code: code)
                }
            }
        switch outcome {
        case .listed: counters.listed.wrappingAdd(1, ordering: .relaxed)
        case .notListed: counters.notListed.wrappingAdd(1, ordering: .relaxed)
        case .error: counters.errors.wrappingAdd(1, ordering: .relaxed)
        case .silent: counters.silent.wrappingAdd(1, ordering: .relaxed)
        }
        switch outcome {
        case .listed: suspicious.wrappingAdd(1, ordering: .relaxed)
        case .error: suspicious.store(Self.suspiciousListings, ordering: .relaxed)
        case .notListed: suspicious.store(0, ordering: .relaxed)
        case .silent: break
        }
        return outcome
    }

    public var status: ListStatus {
        let ailment: Ailment? = state.withLockedValue { if case .disabled(let ailment) = $0 { ailment } else { nil } }
        func value(_ counter: borrowing Synchronization.Atomic<UInt64>) -> UInt64 { counter.load(ordering: .relaxed) }
        return ListStatus(
            name: list.name, isLive: isLive, ailment: ailment, listed: value(counters.listed), notListed: value(counters.notListed),
            errors: value(counters.errors), silent: value(counters.silent), overlapping: value(counters.overlapping))
    }
}

/// Whom or what a list is asked about.
public enum ListSubject: Hashable, Sendable {
    case address(IPAddress)
    case domain(DomainName)
    /// A test entry of a list of domains, which is one label.
    case label(String)
}

/// One list's figures since the start. Never the zone's own name, which may bear a key.
public struct ListStatus: Equatable, Sendable {
    public var name: String
    /// Whether it is asked.
    public var isLive: Bool
    /// Why it is not; `nil` too before its first test has ended.
    public var ailment: ListZone.Ailment?
    public var listed: UInt64
    public var notListed: UInt64
    public var errors: UInt64
    public var silent: UInt64
    /// Listings that at least one other list had as well.
    public var overlapping: UInt64
}

extension ListZone.Ailment: CustomStringConvertible {
    /// What is wrong, and what to do.
    public var description: String {
        switch self {
        case .listsEverything:
            "it lists what no list may list, as a zone does that was given up or sold; take it out of dns_lists unless its operator says otherwise"
        case .listsNothing:
            "it does not list its own test entry, so it is empty or gone; take it out of dns_lists, or write test: false where it has no test entry"
        case .refuses(let code):
            "it refuses our questions (\(IPAddress(v4: code))); ask through a resolver of your own (dns.resolvers), and check your key or quota with its operator"
        case .silent: "it does not answer; check that dns.resolvers reach it, or take it out of dns_lists"
        }
    }
}
