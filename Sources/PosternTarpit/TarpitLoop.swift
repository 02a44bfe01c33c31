import CEpoll
import Glibc
import PosternCore

/// The tarpit's thread: one descriptor for each client, one place in a table, and one look at each when it is due.
///
/// What the kernel reports of a client is noted; all that is done for it is done when it is next due. So a client that
/// floods costs no more than one that is silent.
final class TarpitLoop {
    private enum Token {
        case client(Int32, generation: UInt16)
        case listener(Int)
        case inbox

        init(_ value: UInt64) {
            switch value >> 48 {
            case 1: self = .listener(Int(UInt32(truncatingIfNeeded: value)))
            case 2: self = .inbox
            default: self = .client(Int32(truncatingIfNeeded: value), generation: UInt16(truncatingIfNeeded: value >> 32))
            }
        }

        var value: UInt64 {
            switch self {
            case .client(let index, let generation): UInt64(generation) << 32 | UInt64(index)
            case .listener(let source): 1 << 48 | UInt64(source)
            case .inbox: 2 << 48
            }
        }
    }

    private let epoll: Int32
    private let inbox: TarpitInbox
    private let standing: @Sendable (IPAddress) -> TarpitStanding
    private let departed: @Sendable ([TarpitVisit]) -> Void
    private let isShort: @Sendable (String, Int32) -> Void
    private let totals: TarpitTotalsBox
    private let clock = TarpitClock()
    private var table = TarpitTable(at: 0)
    /// By number; those that were shut leave a gap.
    private var sources: [TarpitSource?] = []
    private var random = SystemRandomNumberGenerator()
    private let events = UnsafeMutableBufferPointer<epoll_event>.allocate(capacity: TarpitLoop.batch)
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 1024, alignment: 16)
    private var visits: [TarpitVisit] = []
    /// Ticks since the start; the table has them wound.
    private var tick: UInt64 = 0
    private var hasEnded = false

    /// Events taken from the kernel, and connections accepted, at once.
    private static let batch = 512
    /// How long, in ticks, somebody who was told to go has before the connection is closed.
    private static let leavingPatience: UInt32 = 100
    /// How long, in ticks, nothing is accepted when there are no descriptors.
    private static let descriptorPatience: UInt32 = 50

    /// `nil` where the process has no descriptor left.
    init?(
        inbox: TarpitInbox, totals: TarpitTotalsBox, standing: @escaping @Sendable (IPAddress) -> TarpitStanding,
        departed: @escaping @Sendable ([TarpitVisit]) -> Void, isShort: @escaping @Sendable (String, Int32) -> Void
    ) {
        self.inbox = inbox
        self.totals = totals
        self.standing = standing
        self.departed = departed
        self.isShort = isShort
        epoll = cepoll_create()
        guard epoll >= 0, cepoll_control(epoll, EPOLL_CTL_ADD, inbox.descriptor, cepoll_in, Token.inbox.value) == 0 else { return nil }
    }

    deinit {
        events.deallocate()
        scratch.deallocate()
        if epoll >= 0 { close(epoll) }
    }

    private var now: UInt32 { UInt32(truncatingIfNeeded: tick) }

    /// Until it is told to end.
    func run() {
        while !hasEnded {
            let sleep: Int32 = table.count > 0 || sources.contains { $0?.pausedUntil != nil } ? clock.now().untilNext : -1
            let count = epoll_wait(epoll, events.baseAddress, Int32(events.count), sleep)
            tick = clock.now().tick
            for index in 0..<Int(max(count, 0)) {
                let event = events[index]
                handle(Token(event.data.u64), event.events)
            }
            while let index = table.nextDue(by: now) { look(at: index) }
            resumeAccepting()
            report()
        }
        finish()
    }

    private func handle(_ token: Token, _ happened: UInt32) {
        switch token {
        case .inbox: for letter in inbox.take() { read(letter) }
        case .listener(let number): accept(for: number)
        case .client(let index, let generation):
            // It may have been let go within this batch, and its place have a new tenant.
            guard table[index].isTaken, table[index].generation == generation else { return }
            if happened & cepoll_gone != 0 { return depart(index) }
            noteInput(index)
        }
    }

    private func noteInput(_ index: Int32) {
        table[index].hasInput = true
        // Only who waits for it has an answer coming; everybody else is looked at when the next octet is due.
        guard table[index].stage == .awaiting else { return }
        let soon = now &+ (source(of: index)?.pace ?? 1)
        if soon.ticks(since: table[index].due) < 0 { table.schedule(index, at: soon) }
    }

    // MARK: - Those who come

    private func accept(for number: Int) {
        guard let source = sources[number] else { return }
        for _ in 0..<Self.batch where source.listener >= 0 {
            var storage = sockaddr_storage()
            let descriptor = cepoll_accept(source.listener, &storage)
            guard descriptor >= 0 else {
                let error = errno
                switch error {
                case EAGAIN: return
                case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                    source.ranOutOfDescriptors()
                    isShort(source.name, error)
                    // Room is made at the cost of whoever has been held longest, never of anybody else in the process.
                    guard shedOldest(of: source) else { return pauseAccepting(source, number) }
                // It has gone already, or the network has complained in its name (accept(2)).
                default: break
                }
                continue
            }
            guard let address = TarpitSockets.address(&storage) else {
                close(descriptor)
                continue
            }
            admit(address, descriptor, to: source, number)
        }
    }

    private func admit(_ address: IPAddress, _ descriptor: Int32, to source: TarpitSource, _ number: Int) {
        if standing(address) == .exempt {
            source.letOneGo()
            _ = source.script.farewell.withUnsafeBytes { TarpitSockets.send(descriptor, $0) }
            close(descriptor)
            return
        }
        if source.count >= source.settings.capacity { _ = shedOldest(of: source) }
        let index = table.insert(
            address, descriptor: descriptor, source: UInt16(number), heldUntil: now &+ source.hold, now: now)
        let token = Token.client(index, generation: table[index].generation)
        guard cepoll_control(epoll, EPOLL_CTL_ADD, descriptor, cepoll_in | cepoll_gone | cepoll_edge, token.value) == 0 else {
            table.remove(index)
            source.ranOutOfDescriptors()
            close(descriptor)
            return
        }
        source.arrived(at: tick)
        table.enlist(index, in: source)
        schedule(index, after: source.greetingPace)
    }

    private func pauseAccepting(_ source: TarpitSource, _ number: Int) {
        _ = cepoll_control(epoll, EPOLL_CTL_MOD, source.listener, 0, Token.listener(number).value)
        source.pausedUntil = now &+ Self.descriptorPatience
    }

    private func resumeAccepting() {
        for (number, source) in sources.enumerated() {
            guard let source, let until = source.pausedUntil, now.ticks(since: until) >= 0 else { continue }
            source.pausedUntil = nil
            if source.listener >= 0 { _ = cepoll_control(epoll, EPOLL_CTL_MOD, source.listener, cepoll_in, Token.listener(number).value) }
        }
    }

    private func source(of index: Int32) -> TarpitSource? { sources[Int(table[index].source)] }

    // MARK: - Those who are here

    /// It is due.
    private func look(at index: Int32) {
        guard let source = source(of: index), table[index].stage != .leaving else { return depart(index) }
        if table[index].hasInput, !takeInput(index) { return depart(index) }
        if now.ticks(since: table[index].heldUntil) >= 0 {
            guard standing(table[index].address) == .listed else {
                source.letOneGo()
                return perform(table[index].letGo(source.script.farewell), for: index, before: table[index].position, source)
            }
            table[index].heldUntil = now &+ source.hold
        }
        let position = table[index].position
        let stage = table[index].stage
        let move = table[index].next(source.script, greetingPace: source.greetingPace, pace: source.pace)
        guard case .send(let offset, let pause) = move else { return perform(move, for: index, before: position, source) }
        let outcome = source.script.octets.withUnsafeBytes {
            TarpitSockets.send(table[index].descriptor, UnsafeRawBufferPointer(rebasing: $0[offset...offset]))
        }
        switch outcome {
        case .done: source.sentOctets(1)
        case .later:
            // It does not read. The same octet is tried again.
            table[index].position = position
            table[index].stage = stage
        case .gone: return depart(index)
        }
        schedule(index, after: pause)
    }

    private func perform(_ move: TarpitMove, for index: Int32, before position: UInt16, _ source: TarpitSource) {
        switch move {
        case .wait: table.schedule(index, at: table[index].heldUntil)
        case .sayGoodbye(let text):
            guard say(source.script.restOfLine(at: Int(position)) + text, to: index) else { return depart(index) }
            shutdown(table[index].descriptor, Int32(SHUT_WR))
            table.schedule(index, at: now &+ Self.leavingPatience)
        case .send: preconditionFailure("octets are sent where they are looked up")
        }
    }

    /// `false` when it could not take it.
    private func say(_ text: ArraySlice<UInt8>, to index: Int32) -> Bool {
        guard case .done(let sent) = text.withUnsafeBytes({ TarpitSockets.send(table[index].descriptor, $0) }) else { return false }
        source(of: index)?.sentOctets(sent)
        return sent == text.count
    }

    private func schedule(_ index: Int32, after pause: UInt32) {
        let due = now &+ pause
        let end = table[index].heldUntil
        table.schedule(index, at: due.ticks(since: end) < 0 ? due : end)
    }

    /// Takes what the client has sent: its first line to see what kind it is, everything else unseen. `false` when it is gone.
    private func takeInput(_ index: Int32) -> Bool {
        let descriptor = table[index].descriptor
        guard table[index].heard == .nothing else {
            let outcome = TarpitSockets.discard(descriptor)
            table[index].hasInput = outcome == .done(TarpitSockets.discardSize)
            return outcome != .gone
        }
        let outcome = TarpitSockets.receive(descriptor, into: scratch)
        if case .done(let count) = outcome {
            let octets = scratch[..<count]
            table[index].received(UnsafeRawBufferPointer(rebasing: octets))
            // It is forgotten at once.
            scratch[..<count].withMemoryRebound(to: UInt8.self) { $0.update(repeating: 0) }
        }
        table[index].hasInput = outcome == .done(scratch.count)
        return outcome != .gone
    }

    // MARK: - Those who go

    /// `false` where there is none.
    private func shedOldest(of source: TarpitSource) -> Bool {
        let index = source.oldest
        guard index != TarpitTable.none else { return false }
        source.shedOne()
        if table[index].stage != .leaving {
            _ = say(source.script.restOfLine(at: Int(table[index].position)) + source.script.farewell, to: index)
        }
        depart(index)
        return true
    }

    private func depart(_ index: Int32) {
        let entry = table[index]
        // What is unread would make the kernel reset the connection, and our last words with it.
        if entry.stage == .leaving { _ = TarpitSockets.discard(entry.descriptor) }
        close(entry.descriptor)
        let number = Int(entry.source)
        if let source = sources[number] {
            table.delist(index, from: source)
            let ticks = UInt64(max(now.ticks(since: entry.connected), 0))
            source.departed(after: ticks, at: tick)
            let end = TarpitClock.wall()
            let span = WallTime.Span(milliseconds: Int64(ticks) * TarpitClock.tickMilliseconds)
            visits.append(TarpitVisit(listener: source.name, address: entry.address, connected: end - span, disconnected: end))
            if source.count == 0, let whenEmpty = source.whenEmpty { remove(number, then: whenEmpty) }
        }
        table.remove(index)
    }

    // MARK: - Letters

    private func read(_ letter: TarpitLetter) {
        switch letter {
        case .open(let number, let name, let descriptor, let settings):
            let script = TarpitScript(hostname: settings.hostname, random: &random)
            while sources.count <= number { sources.append(nil) }
            sources[number] = TarpitSource(name: name, listener: descriptor, settings: settings, script: script)
            reserveTable()
            guard let descriptor else { return }
            TarpitSockets.prepare(descriptor)
            _ = cepoll_control(epoll, EPOLL_CTL_ADD, descriptor, cepoll_in, Token.listener(number).value)
        case .update(let number, let settings):
            guard let source = sources[number] else { return }
            if settings.hostname != source.settings.hostname { change(source, to: settings.hostname) }
            source.adopt(settings)
            reserveTable()
            while source.count > settings.capacity, shedOldest(of: source) {}
        case .adopt(let number, let descriptor, let address):
            guard let source = sources[number], source.whenEmpty == nil else {
                close(descriptor)
                return
            }
            TarpitSockets.prepare(descriptor)
            admit(address, descriptor, to: source, number)
        case .shut(let number, let whenEmpty): shut(number, whenEmpty)
        case .end: hasEnded = true
        }
    }

    private func reserveTable() {
        table.reserve(sources.reduce(1) { $0 + ($1?.settings.capacity ?? 0) })
    }

    /// A new name. Those in the middle of a text begin its line again.
    private func change(_ source: TarpitSource, to hostname: String) {
        source.script = TarpitScript(hostname: hostname, random: &random)
        var index = source.oldest
        while index != TarpitTable.none {
            switch table[index].stage {
            case .greeting: table[index].position = 0
            case .busy: table[index].position = UInt16(table[index].heard == .hello ? source.script.keywords : source.script.refusal)
            case .awaiting, .leaving: break
            }
            index = table[index].younger
        }
    }

    private func shut(_ number: Int, _ whenEmpty: @escaping @Sendable () -> Void) {
        guard let source = sources[number] else { return whenEmpty() }
        if source.listener >= 0 { close(source.listener) }
        source.listener = -1
        source.whenEmpty = whenEmpty
        guard source.count > 0 else { return remove(number, then: whenEmpty) }
        var index = source.oldest
        while index != TarpitTable.none {
            let younger = table[index].younger
            if table[index].stage != .leaving {
                perform(table[index].letGo(source.script.farewell), for: index, before: table[index].position, source)
            }
            index = younger
        }
    }

    private func remove(_ number: Int, then whenEmpty: () -> Void) {
        report()
        sources[number] = nil
        whenEmpty()
    }

    // MARK: - Telling

    private func report() {
        for (number, source) in sources.enumerated() {
            if let source { totals.keep(source.totals(at: tick), of: number) }
        }
        guard !visits.isEmpty else { return }
        departed(visits)
        visits.removeAll(keepingCapacity: visits.capacity <= 4 * Self.batch)
    }

    private func finish() {
        for index in 0..<Int32(table.entries.count) where table[index].isTaken { depart(index) }
        report()
        for source in sources {
            guard let source else { continue }
            if source.listener >= 0 { close(source.listener) }
            source.whenEmpty?()
        }
        for letter in inbox.closeForGood() {
            switch letter {
            case .open(_, _, let descriptor?, _), .adopt(_, let descriptor, _): close(descriptor)
            case .shut(_, let whenEmpty): whenEmpty()
            case .open, .update, .end: break
            }
        }
    }
}
