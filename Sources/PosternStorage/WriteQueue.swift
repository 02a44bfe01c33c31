import PosternEngine

/// What waits for the writer's thread: bounded, in order, and refused at once while the store cannot work.
// All that changes is touched only while the condition's lock is held.
final class WriteQueue<Item: Sendable>: @unchecked Sendable {
    private let condition = SteadyCondition()
    private var items: [Item] = []
    private var spare: [Item] = []
    /// Whether somebody waits for one of the items.
    private var isAwaited = false
    /// At how many items a waiting writer is woken; `nil` while it does not wait.
    private var wakeAt: Int?
    /// Whether it is woken by any item that somebody waits for.
    private var wakesForAwaited = false
    private var lastTaken = ContinuousClock.now
    /// About how many were taken at once lately.
    private var crowd = 0.0
    private var refusal: StoreFailure?
    private var isClosed = false

    private let bound: Int
    private let lateness: Double
    /// What may wait beyond the bound for the sake of those who look after a store that is too busy.
    static var reserve: Int { 1000 }

    /// Where things come this soon after the last were taken, there is load, and the writer waits a moment for more to
    /// come: a commit costs the same for many as for one.
    static var busy: Duration { .milliseconds(1) }
    /// For how long at most, in seconds, how often again while more comes, and for how many: no more than came together lately, since
    /// those who wait for their answers ask nothing.
    static var gathering: Double { 0.0002 }
    static var gatherings: Int { 4 }
    static var enough: Int { 8 }
    /// What is left of how many came together after as many as that came no more.
    static var fading: Double { 0.98 }

    /// Up to how many items the writer waits for more where nobody waits for it.
    static var plenty: Int { 256 }

    /// - Parameter lateness: for how long at most, in seconds, it does so.
    init(bound: Int, lateness: Double = 0.02) {
        self.bound = max(bound, 1)
        self.lateness = lateness
    }

    /// `nil` when the item was taken, otherwise why not.
    func append(_ item: consuming Item, isUpkeep: Bool, isAwaited: Bool = true) -> StoreFailure? {
        condition.lock()
        defer { condition.unlock() }
        if isClosed { return .closed }
        if let refusal { return refusal }
        if items.count >= (isUpkeep ? bound + Self.reserve : bound) { return .overloaded(items.count) }
        items.append(item)
        if isAwaited { self.isAwaited = true }
        if let count = wakeAt, items.count >= count || (isAwaited && wakesForAwaited) {
            wakeAt = nil
            condition.signal()
        }
        return nil
    }

    enum Next {
        case items([Item])
        case idle
        /// Closed, and nothing waits any more.
        case closed
    }

    /// All that waits, in order; waits up to the time-out for something to come.
    func next(timeout: Double) -> Next {
        condition.lock()
        defer { condition.unlock() }
        wait(for: 1, timeout: timeout)
        if items.isEmpty { return isClosed ? .closed : .idle }
        if !isAwaited {
            wakesForAwaited = true
            wait(for: min(Self.plenty, max(bound / 2, 1)), timeout: lateness)
            wakesForAwaited = false
        }
        if ContinuousClock.now - lastTaken < Self.busy { gather() }
        lastTaken = .now
        let taken = items
        items = spare
        spare = []
        isAwaited = false
        crowd = max(Double(taken.count), crowd * Self.fading)
        return .items(taken)
    }

    /// Waits for more, as long as more comes.
    private func gather() {
        let enough = min(Self.enough, Int(crowd))
        for _ in 0..<Self.gatherings where items.count < enough {
            let count = items.count
            wait(for: enough, timeout: Self.gathering)
            if items.count == count { return }
        }
    }

    private func wait(for count: Int, timeout: Double) {
        let until = SteadyCondition.Moment(in: timeout)
        while items.count < count, !isClosed, !(isAwaited && wakesForAwaited) {
            wakeAt = count
            defer { wakeAt = nil }
            if !condition.wait(until: until) { break }
        }
    }

    /// Gives an emptied array back, so that its memory is used again.
    func recycle(_ array: consuming [Item]) {
        array.removeAll(keepingCapacity: true)
        condition.lock()
        defer { condition.unlock() }
        spare = array
    }

    /// From here on everything is refused with this failure; `nil` lets it in again. Returns what waited.
    func refuse(with failure: StoreFailure?) -> [Item] {
        condition.lock()
        defer { condition.unlock() }
        refusal = failure
        guard failure != nil else { return [] }
        let taken = items
        items = []
        isAwaited = false
        return taken
    }

    /// Lets the writer finish what waits.
    func close() {
        condition.lock()
        defer { condition.unlock() }
        isClosed = true
        condition.signal()
    }
}
