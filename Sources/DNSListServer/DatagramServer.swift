import CDatagrams
import Foundation
import Glibc
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine
import PublishedLists

/// What a DNS service has done since it started.
public struct ListServiceTotals: Equatable, Sendable {
    /// By `AnswerKind`.
    public var outcomes = [UInt64](repeating: 0, count: AnswerKind.allCases.count)
    /// Over the limit of responses: not answered, and asked to come by TCP.
    public var dropped: UInt64 = 0
    public var slipped: UInt64 = 0
    /// Queries over TCP, of all of them.
    public var overStreams: UInt64 = 0
    /// Responses that the system did not take.
    public var unsent: UInt64 = 0

    public init() {}

    public subscript(outcome: AnswerKind) -> UInt64 {
        get { outcomes[outcome.rawValue] }
        set { outcomes[outcome.rawValue] = newValue }
    }

    public static func + (a: ListServiceTotals, b: ListServiceTotals) -> ListServiceTotals {
        var sum = a
        for index in sum.outcomes.indices { sum.outcomes[index] += b.outcomes[index] }
        sum.dropped += b.dropped
        sum.slipped += b.slipped
        sum.overStreams += b.overStreams
        sum.unsent += b.unsent
        return sum
    }
}

/// What a DNS service answers with, and to whom.
public struct ListService: Sendable {
    public var responder: ListResponder
    /// Who may ask; `nil` for everybody.
    public var allowed: PrefixSet?
    public var rateLimit: ResponseRateLimiter.Settings
    /// Who is never limited.
    public var unlimited: PrefixSet

    public init(
        responder: ListResponder, allowed: PrefixSet? = nil, rateLimit: ResponseRateLimiter.Settings = .off,
        unlimited: PrefixSet = PrefixSet([])
    ) {
        self.responder = responder
        self.allowed = allowed
        self.rateLimit = rateLimit
        self.unlimited = unlimited
    }
}

/// Answers queries over UDP: one thread, which waits for a datagram, takes all that are there, and answers them at once.
///
/// Two system calls for a batch, two for a single query, and no memory is allocated on the way.
public final class DatagramServer: Sendable {
    private struct Shared {
        var service: ListService
        /// Counts changes of `service`.
        var version = 0
        var isStopping = false
        var totals = ListServiceTotals()
    }

    private let shared: NIOLockedValueBox<Shared>
    private let descriptor: Int32
    private let ended = NSCondition()
    private let hasEnded = NIOLockedValueBox(false)

    /// Octets of a query that are read: what is longer is cut, and then malformed.
    static let longestQuery = 1024

    /// Answers on a bound, *blocking* descriptor, which the server then owns.
    ///
    /// - Parameters:
    ///   - tellsAddresses: whether the socket is bound to every address, so that a reply has to name the one it comes from.
    ///   - time: called for each batch, on the server's thread; must not block.
    public init(
        descriptor: Int32, tellsAddresses: Bool, service: ListService, time: @escaping @Sendable () -> ZoneTime, seed: UInt64
    ) {
        self.descriptor = descriptor
        if tellsAddresses { Self.noteAddresses(of: descriptor) }
        shared = NIOLockedValueBox(Shared(service: service))
        let thread = Thread { [self] in
            run(tellsAddresses, time, seed)
            ended.withLock {
                hasEnded.withLockedValue { $0 = true }
                ended.broadcast()
            }
        }
        thread.name = "postern-dns"
        thread.start()
    }

    /// From now on the system notes with each datagram which address it came to. Before the socket is bound: what waits in it without
    /// that is answered from another address.
    public static func noteAddresses(of descriptor: Int32) {
        // It is of one family; the other's option is refused, and does nothing.
        for family in [4, 6] as [Int32] { _ = cdatagram_want_info(descriptor, family) }
    }

    /// From the next batch on.
    public func update(_ service: ListService) {
        shared.withLockedValue {
            $0.service = service
            $0.version += 1
        }
    }

    public var totals: ListServiceTotals { shared.withLockedValue { $0.totals } }

    /// Answers what it has taken, and closes the descriptor. Returns when the thread has ended.
    public func stop() {
        shared.withLockedValue { $0.isStopping = true }
        // On an unconnected socket this reports an error, and wakes whoever waits on it nevertheless.
        _ = shutdown(descriptor, Int32(SHUT_RDWR))
        ended.withLock { while !hasEnded.withLockedValue({ $0 }) { ended.wait() } }
    }

    // MARK: - On the thread

    private func run(_ tellsAddresses: Bool, _ time: () -> ZoneTime, _ seed: UInt64) {
        defer { close(descriptor) }
        guard let batch = DatagramBatch() else { return }
        var service = shared.withLockedValue { $0.service }
        var version = 0
        var limiter = ResponseRateLimiter(service.rateLimit, seed: seed)
        while true {
            let count = batch.receive(from: descriptor, tellsAddresses: tellsAddresses)
            var fresh: ListService?
            let isStopping = shared.withLockedValue { shared in
                if shared.version != version {
                    version = shared.version
                    fresh = shared.service
                }
                return shared.isStopping
            }
            guard !isStopping else { return }
            if let fresh {
                if fresh.rateLimit != service.rateLimit { limiter = ResponseRateLimiter(fresh.rateLimit, seed: seed) }
                service = fresh
            }
            guard count > 0 else {
                // A message of the network's about what we sent, or a signal; of nothing else is anything known (recv(2)).
                if count < 0, errno != EINTR, errno != EAGAIN, errno != ECONNREFUSED { usleep(1000) }
                continue
            }
            var totals = BatchTotals()
            batch.answer(count, service, &limiter, time(), &totals)
            totals.unsent = UInt64(batch.send(on: descriptor))
            shared.withLockedValue { $0.totals.add(totals) }
        }
    }
}

/// Memory that the allocator keeps for later.
public enum FreeMemory {
    /// Gives it back to the system: worth it when something large has gone for good.
    public static func giveBack() { cdatagram_give_back() }
}

/// The counters of one batch: numbers only, so that counting allocates nothing.
struct BatchTotals {
    var outcomes: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)
    var dropped: UInt64 = 0
    var slipped: UInt64 = 0
    var unsent: UInt64 = 0

    mutating func count(_ outcome: AnswerKind) {
        switch outcome {
        case .listed: outcomes.0 += 1
        case .notListed: outcomes.1 += 1
        case .zone: outcomes.2 += 1
        case .refused: outcomes.3 += 1
        case .rejected: outcomes.4 += 1
        case .ignored: outcomes.5 += 1
        }
    }
}

extension ListServiceTotals {
    mutating func add(_ batch: BatchTotals) {
        outcomes[0] += batch.outcomes.0
        outcomes[1] += batch.outcomes.1
        outcomes[2] += batch.outcomes.2
        outcomes[3] += batch.outcomes.3
        outcomes[4] += batch.outcomes.4
        outcomes[5] += batch.outcomes.5
        dropped += batch.dropped
        slipped += batch.slipped
        unsent += batch.unsent
    }
}
