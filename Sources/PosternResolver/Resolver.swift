import DNSProtocol
import Glibc
import NIOConcurrencyHelpers
import PosternCore

/// Asks recursive resolvers, and remembers what they answered.
///
/// One thread owns the sockets (c-ares); what is known already is answered on the caller's own thread.
public final class Resolver: Sendable {
    private let inbox: Inbox
    private let cache: AnswerCache
    private let counters = ResolverCounters()
    private let settings: NIOLockedValueBox<ResolverSettings>
    private let isOff: NIOLockedValueBox<Bool>
    private let mostWaiting: Int
    private let thread: ResolverThread

    /// - Throws: where the system has no descriptor or thread left.
    public init(_ settings: ResolverSettings) throws(ResolverStartFailure) {
        guard let inbox = Inbox() else { throw ResolverStartFailure(description: "no descriptor: \(String(cString: strerror(errno)))") }
        self.inbox = inbox
        cache = AnswerCache(entries: settings.cacheEntries, bytes: settings.cacheBytes)
        self.settings = NIOLockedValueBox(settings)
        isOff = NIOLockedValueBox(settings.servers.isEmpty)
        mostWaiting = settings.mostWaiting
        let (cache, counters) = (cache, counters)
        thread = try ResolverThread {
            ResolverLoop(settings: settings, inbox: inbox, cache: cache, counters: counters).run()
        }
    }

    deinit { inbox.closeForGood() }

    /// Asks, and calls `completion` once: at once on the caller's thread with what is known, else on the resolver's thread
    /// with the answer, or with `.timeout` at the deadline (at most a few milliseconds later). It must not block.
    ///
    /// An answer that comes after the deadline is kept all the same: a later question finds it. With `fresh` what is
    /// known already is passed over; the answer takes its place.
    public func ask(_ question: Question, deadline: Deadline, fresh: Bool = false, completion: @escaping @Sendable (Answer) -> Void) {
        counters.queries.increase()
        if isOff.withLockedValue({ $0 }) { return completion(Answer(.failure(.switchedOff))) }
        if !fresh, let known = cache.find(question, at: Deadline.coarse()) { return completion(known) }
        guard counters.waiting.wrappingAdd(1, ordering: .relaxed).newValue <= mostWaiting else {
            counters.waiting.wrappingSubtract(1, ordering: .relaxed)
            counters.overloaded.increase()
            return completion(Answer(.failure(.overloaded)))
        }
        if !inbox.put(Request(question: question, deadline: deadline, isFresh: fresh, completion: completion)) {
            counters.waiting.wrappingSubtract(1, ordering: .relaxed)
            completion(Answer(.failure(.closed)))
        }
    }

    /// The same for a task. Its cancellation changes nothing: the deadline ends it.
    public func ask(_ question: Question, deadline: Deadline, fresh: Bool = false) async -> Answer {
        await withCheckedContinuation { continuation in
            ask(question, deadline: deadline, fresh: fresh) { continuation.resume(returning: $0) }
        }
    }

    /// What is known already; `nil` where it would have to be asked. For those who will not wait.
    public func known(_ question: Question) -> Answer? { cache.find(question, at: Deadline.coarse()) }

    /// Takes up other servers, time-outs and times to live at once; questions under way are put to the new servers. The
    /// bounds of cache and queue stay as they were.
    public func update(_ settings: ResolverSettings) {
        self.settings.withLockedValue { $0 = settings }
        isOff.withLockedValue { $0 = settings.servers.isEmpty }
        inbox.put(settings)
    }

    public var servers: [ResolverSettings.Server] { settings.withLockedValue { $0.servers } }

    public var counts: ResolverCounts {
        let cached = cache.totals
        var counts = ResolverCounts()
        counts.queries = counters.queries.value
        counts.hits = cached.hits
        counts.misses = cached.misses
        counts.coalesced = counters.coalesced.value
        counts.sent = counters.sent.value
        counts.timeouts = counters.timeouts.value
        counts.failures = counters.failures.value
        counts.overloaded = counters.overloaded.value
        counts.serverTimeouts = counters.serverTimeouts.value
        counts.tcp = counters.tcp.value
        counts.cacheEntries = cached.entries
        counts.cacheBytes = cached.bytes
        counts.cacheEvictions = cached.evictions
        return counts
    }

    /// Ends the thread; whoever waits is answered with `.closed` before this returns. Not to be called from a completion.
    public func close() {
        inbox.closeForGood()
        thread.join()
    }
}

/// Why a resolver could not be made.
public struct ResolverStartFailure: Error, CustomStringConvertible, Sendable {
    public let description: String
}

/// A thread that runs one body.
final class ResolverThread: Sendable {
    private let handle: pthread_t
    private let isJoined = NIOLockedValueBox(false)

    private final class Body: Sendable {
        let run: @Sendable () -> Void

        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    init(_ body: @escaping @Sendable () -> Void) throws(ResolverStartFailure) {
        let box = Unmanaged.passRetained(Body(body))
        var made = pthread_t()
        let status = pthread_create(
            &made, nil,
            { argument in
                if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, box.toOpaque())
        guard status == 0 else {
            box.release()
            throw ResolverStartFailure(description: "no thread: \(String(cString: strerror(status)))")
        }
        handle = made
    }

    deinit {
        if !isJoined.withLockedValue({ $0 }) { pthread_detach(handle) }
    }

    func join() {
        let first = isJoined.withLockedValue { joined in
            defer { joined = true }
            return !joined
        }
        if first { pthread_join(handle, nil) }
    }
}
