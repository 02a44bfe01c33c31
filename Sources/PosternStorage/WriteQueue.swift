import Foundation
import PosternEngine

/// What waits for the writer's thread: bounded, in order, and refused at once while the store cannot work.
final class WriteQueue<Item: Sendable>: @unchecked Sendable {
    // Sendable since all state is touched only while the condition's lock is held.
    private let condition = NSCondition()
    private var items: [Item] = []
    private var spare: [Item] = []
    private var writerWaits = false
    private var refusal: StoreFailure?
    private var isClosed = false

    private let bound: Int
    /// What may wait beyond the bound for the sake of those who look after a store that is too busy.
    static var reserve: Int { 1000 }

    init(bound: Int) {
        self.bound = max(bound, 1)
    }

    /// `nil` when the item was taken, otherwise why not.
    func append(_ item: Item, isUpkeep: Bool) -> StoreFailure? {
        condition.lock()
        defer { condition.unlock() }
        if isClosed { return .closed }
        if let refusal { return refusal }
        if items.count >= (isUpkeep ? bound + Self.reserve : bound) { return .overloaded(items.count) }
        items.append(item)
        if writerWaits {
            writerWaits = false
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
    func next(timeout: TimeInterval) -> Next {
        condition.lock()
        defer { condition.unlock() }
        if items.isEmpty, !isClosed {
            writerWaits = true
            _ = condition.wait(until: Date(timeIntervalSinceNow: timeout))
            writerWaits = false
        }
        if items.isEmpty { return isClosed ? .closed : .idle }
        let taken = items
        items = spare
        spare = []
        return .items(taken)
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
