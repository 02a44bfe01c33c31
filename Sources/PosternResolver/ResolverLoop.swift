import CCares
import DNSProtocol
import Glibc
import PosternCore

/// The resolver's thread: takes questions from the inbox, puts them to servers, keeps what they answer.
final class ResolverLoop {
    let counters: ResolverCounters
    private let inbox: Inbox
    private let cache: AnswerCache
    private var settings: ResolverSettings
    private var upstreams: [Upstream] = []
    /// By question; those that follow an alias stand alone, or two aliases of each other would wait for each other.
    private var flights: [Question: Flight] = [:]
    /// What waits until there is room under `window`.
    private var waiting = FlightQueue()
    /// What has to be put to another server: not from inside c-ares, which is busy with the last one.
    private var again: [Flight] = []
    private var waiters: WaiterTable
    private var inFlight = 0
    private var window = ResolverSettings.inFlight.lowerBound
    private var answersUntilWider = answersPerStep
    private var identifiers: UInt64 = 0
    private var identifiersLeft = 0
    private var random = SystemRandomNumberGenerator()
    private var watched: [pollfd]
    private var now: Int64
    private var lastTick: Int64 = 0
    private var isClosed = false

    /// Answers that come while others wait, until the window grows by one.
    private static let answersPerStep = 4
    /// How often, in milliseconds, c-ares looks for messages without an answer.
    private static let tick: Int64 = 50
    /// Aliases followed from answer to answer, besides those inside each.
    static let longestAliasChain = 8
    /// Milliseconds that those who follow an alias wait for its target.
    private static let aliasPatience: Int64 = 15_000

    init(settings: ResolverSettings, inbox: Inbox, cache: AnswerCache, counters: ResolverCounters) {
        self.settings = settings
        self.inbox = inbox
        self.cache = cache
        self.counters = counters
        now = Deadline.now().milliseconds
        waiters = WaiterTable(now: now)
        watched = [pollfd(fd: inbox.descriptor, events: Int16(POLLIN), revents: 0)]
        connect()
    }

    private func connect() {
        upstreams = settings.servers.prefix(ResolverSettings.mostServers).enumerated().compactMap {
            Upstream($0.element, index: $0.offset, timeout: settings.attemptTimeout, loop: self)
        }
    }

    /// Until the inbox is closed.
    func run() {
        while !isClosed {
            now = Deadline.now().milliseconds
            // Only a thread that said so is woken.
            let sleeping = again.isEmpty
            let letters = inbox.take(sleeping: sleeping)
            if letters.isClosed { isClosed = true }
            if let settings = letters.settings { change(to: settings) }
            for request in letters.requests { begin(request) }
            sendWhatWaits()
            poll(canSleep: sleeping && letters.requests.isEmpty && letters.settings == nil && again.isEmpty && !isClosed)
        }
        finish()
    }

    private func poll(canSleep: Bool) {
        var patience = canSleep ? waiters.untilNext(at: now) ?? -1 : 0
        if canSleep, inFlight > 0 {
            let tick = max(lastTick + Self.tick - now, 0)
            patience = patience < 0 ? tick : min(patience, tick)
        }
        let count = Glibc.poll(&watched, nfds_t(watched.count), Int32(clamping: patience))
        now = Deadline.now().milliseconds
        if count > 0 {
            if watched[0].revents != 0 { inbox.drain() }
            // The table changes while answers are read.
            let ready = watched.dropFirst().filter { $0.revents != 0 }
            for entry in ready {
                let writable = entry.revents & Int16(POLLOUT) != 0
                let readable = entry.revents & ~Int16(POLLOUT) != 0
                for upstream in upstreams where upstream.inFlight > 0 {
                    ares_process_fd(upstream.channel, readable ? entry.fd : ARES_SOCKET_BAD, writable ? entry.fd : ARES_SOCKET_BAD)
                }
            }
        }
        if now - lastTick >= Self.tick {
            lastTick = now
            for upstream in upstreams where upstream.inFlight > 0 {
                ares_process_fd(upstream.channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD)
            }
        }
        for (flight, completion) in waiters.expired(at: now) {
            flight.liveWaiters -= 1
            counters.timeouts.increase()
            answer(completion, Answer(.failure(.timeout)))
        }
    }

    /// c-ares tells which descriptors it waits for.
    func watch(_ descriptor: Int32, _ readable: Bool, _ writable: Bool) {
        let events = Int16(readable ? POLLIN : 0) | Int16(writable ? POLLOUT : 0)
        let index = watched.firstIndex { $0.fd == descriptor }
        switch (index, events) {
        case (nil, 0): break
        case (nil, _): watched.append(pollfd(fd: descriptor, events: events, revents: 0))
        case (let index?, 0): watched.remove(at: index)
        case (let index?, _): watched[index].events = events
        }
    }

    // MARK: - Questions

    private func begin(_ request: Request) {
        if request.deadline.milliseconds <= now {
            counters.timeouts.increase()
            answer(request.completion, Answer(.failure(.timeout)))
            return
        }
        begin(request.question, hops: 0, deadline: request.deadline.milliseconds, isFresh: request.isFresh, request.completion)
    }

    private func begin(
        _ question: Question, hops: Int, deadline: Int64, isFresh: Bool, _ completion: @escaping @Sendable (Answer) -> Void
    ) {
        if hops == 0, let flight = flights[question] {
            counters.coalesced.increase()
            wait(for: flight, deadline: deadline, completion)
            return
        }
        // It may have been answered while this request was on its way.
        if !isFresh, let known = cache.find(question, at: now) {
            answer(completion, known)
            return
        }
        let flight = Flight(question: question, hops: hops)
        if hops == 0 { flights[question] = flight }
        wait(for: flight, deadline: deadline, completion)
        waiting.append(flight)
    }

    private func wait(for flight: Flight, deadline: Int64, _ completion: @escaping @Sendable (Answer) -> Void) {
        flight.waiters.append(waiters.add(completion, flight: flight, deadline: deadline))
        flight.liveWaiters += 1
    }

    private func sendWhatWaits() {
        while let flight = again.popLast() {
            // Nobody waits any more: what its answer would be is not worth another message.
            if flight.liveWaiters == 0 { complete(flight, .failure(flight.failure), timeToLive: nil) } else { send(flight) }
        }
        while inFlight < window, let flight = waiting.popFirst() {
            if flight.liveWaiters == 0 { complete(flight, .failure(.timeout), timeToLive: nil) } else { send(flight) }
        }
    }

    private func send(_ flight: Flight) {
        guard flight.attempts < ResolverSettings.mostAttempts, let upstream = choose(for: flight) else {
            complete(flight, .failure(flight.failure), timeToLive: settings.failureTimeToLive)
            return
        }
        inFlight += 1
        counters.sent.increase()
        if identifiersLeft == 0 {
            identifiers = random.next()
            identifiersLeft = 4
        }
        identifiersLeft -= 1
        let id = UInt16(truncatingIfNeeded: identifiers)
        identifiers >>= 16
        upstream.send(flight, id: id, at: now)
    }

    /// The first server that is up and was not asked yet, else the first not asked yet. Once all were asked, a question
    /// that was merely not answered is put to them once more, to a lone server twice.
    private func choose(for flight: Flight) -> Upstream? {
        guard !upstreams.isEmpty else {
            flight.failure = .unreachable
            return nil
        }
        let left = upstreams.filter { flight.asked & $0.bit == 0 }
        if let upstream = left.first(where: { $0.isUp(at: now) }) ?? left.first { return upstream }
        guard flight.failure == .timeout || flight.failure == .unreachable, flight.attempts < max(upstreams.count * 2, 3) else {
            return nil
        }
        flight.asked = 0
        return upstreams.first { $0.isUp(at: now) } ?? upstreams[0]
    }

    // MARK: - Answers

    /// Called by c-ares, whose memory `octets` is.
    func attemptEnded(_ flight: Flight, status: Int32, octets: UnsafeBufferPointer<UInt8>) {
        guard let upstream = flight.upstream else { return }
        flight.upstream = nil
        upstream.inFlight -= 1
        inFlight -= 1
        switch status {
        case ARES_SUCCESS:
            upstream.answered()
            widen()
            conclude(flight, from: upstream, octets)
        case ARES_ETIMEOUT:
            counters.serverTimeouts.increase()
            upstream.failed(at: now)
            window = max(ResolverSettings.inFlight.lowerBound, window - window / 4)
            retry(flight, .timeout)
        case ARES_EDESTRUCTION:
            // The servers are others from now on.
            flight.asked = 0
            flight.attempts = 0
            again.append(flight)
        case ARES_EBADQUERY, ARES_ENOMEM:
            complete(flight, .failure(.serverFailure), timeToLive: nil)
        default:
            // Refused by the host, no route, a broken connection.
            upstream.failed(at: now)
            retry(flight, .unreachable)
        }
    }

    private func widen() {
        guard !waiting.isEmpty, window < ResolverSettings.inFlight.upperBound else { return }
        answersUntilWider -= 1
        guard answersUntilWider <= 0 else { return }
        answersUntilWider = Self.answersPerStep
        window += 1
    }

    private func retry(_ flight: Flight, _ failure: Answer.Failure) {
        // What a server said outweighs what another did not.
        if flight.attempts <= 1 || (failure != .timeout && failure != .unreachable) || flight.failure == .timeout {
            flight.failure = failure
        }
        again.append(flight)
    }

    private func conclude(_ flight: Flight, from upstream: Upstream, _ octets: UnsafeBufferPointer<UInt8>) {
        let conclusion: Conclusion
        do throws(DNSFormatError) {
            conclusion = try DNSMessage(parsing: Span(_unsafeElements: octets)).conclusion(for: flight.question)
        } catch {
            conclusion = .malformed
        }
        switch conclusion {
        case .records(let records, let owner, let timeToLive):
            let timeToLive = min(max(timeToLive, settings.timesToLive.lowerBound), settings.timesToLive.upperBound)
            complete(flight, .records(records, owner: owner), timeToLive: timeToLive)
        case .noSuchDomain(let timeToLive):
            complete(flight, .noSuchDomain, timeToLive: timeToLive.map { min($0, settings.longestNegative) })
        case .noData(let timeToLive):
            complete(flight, .noData, timeToLive: timeToLive.map { min($0, settings.longestNegative) })
        case .alias(let target, let timeToLive):
            follow(flight, to: target, timeToLive: timeToLive)
        case .failure(.formatError) where !upstream.isPlain:
            upstream.isPlain = true
            flight.asked &= ~upstream.bit
            retry(flight, .serverFailure)
        case .failure(.refused): retry(flight, .refused)
        case .failure, .lame: retry(flight, .serverFailure)
        case .malformed: retry(flight, .malformed)
        }
    }

    /// Asks for the target of an alias on behalf of those who wait for `flight`.
    private func follow(_ flight: Flight, to target: DNSName, timeToLive: UInt32) {
        guard flight.hops < Self.longestAliasChain else {
            complete(flight, .failure(.aliasChain), timeToLive: settings.failureTimeToLive)
            return
        }
        counters.waiting.wrappingAdd(1, ordering: .relaxed)
        let question = Question(target, flight.question.type, recordClass: flight.question.recordClass)
        // Only ever called on this thread, as is everything that touches a flight.
        nonisolated(unsafe) let flight = flight
        // The same.
        nonisolated(unsafe) let loop = self
        begin(question, hops: flight.hops + 1, deadline: now + Self.aliasPatience, isFresh: false) { answer in
            if case .failure(let failure) = answer.outcome {
                loop.complete(flight, .failure(failure), timeToLive: loop.settings.failureTimeToLive)
            } else {
                let least = min(timeToLive, answer.timeToLive)
                loop.complete(flight, answer.outcome, timeToLive: least == 0 ? nil : least)
            }
        }
    }

    /// `timeToLive` is `nil` for what is not to be kept.
    private func complete(_ flight: Flight, _ outcome: Answer.Outcome, timeToLive: UInt32?) {
        guard !flight.isDone else { return }
        flight.isDone = true
        if let timeToLive, timeToLive > 0 { cache.keep(outcome, for: flight.question, until: now + Int64(timeToLive) * 1000) }
        if flight.hops == 0 { flights[flight.question] = nil }
        let result = Answer(outcome, timeToLive: timeToLive ?? 0)
        for place in flight.waiters {
            guard let completion = waiters.remove(place, of: flight) else { continue }
            if case .failure = outcome { counters.failures.increase() }
            answer(completion, result)
        }
        flight.waiters = []
        flight.liveWaiters = 0
    }

    private func answer(_ completion: @Sendable (Answer) -> Void, _ answer: Answer) {
        counters.waiting.wrappingSubtract(1, ordering: .relaxed)
        completion(answer)
    }

    // MARK: - Changes

    private func change(to settings: ResolverSettings) {
        let same = settings.servers == self.settings.servers && settings.attemptTimeout == self.settings.attemptTimeout
        self.settings = settings
        guard !same else { return }
        let old = upstreams
        upstreams = []
        for upstream in old { upstream.destroy() }
        connect()
        // What another resolver said may not be what this one says.
        cache.removeAll()
    }

    private func finish() {
        for upstream in upstreams { upstream.destroy() }
        upstreams = []
        again = []
        for flight in Array(flights.values) { complete(flight, .failure(.closed), timeToLive: nil) }
        for completion in waiters.removeAll() { answer(completion, Answer(.failure(.closed))) }
        for request in inbox.take(sleeping: false).requests { answer(request.completion, Answer(.failure(.closed))) }
    }
}

/// Flights in the order they came.
struct FlightQueue {
    private var items: [Flight?] = []
    private var start = 0

    var isEmpty: Bool { start == items.count }

    mutating func append(_ flight: Flight) { items.append(flight) }

    mutating func popFirst() -> Flight? {
        guard start < items.count else { return nil }
        defer {
            items[start] = nil
            start += 1
            if start == items.count || start > 4096 {
                items.removeFirst(start)
                start = 0
            }
        }
        return items[start]
    }
}
