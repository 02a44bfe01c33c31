import Foundation
import PosternEngine
import Testing

@testable import PosternStorage

/// Which items are kept back for others, and until when.
@Suite(.timeLimit(.minutes(1))) struct WriteQueueTests {
    /// Longer than a test may take: whoever waits for it fails.
    private static let never: TimeInterval = 600

    private func taken(from queue: WriteQueue<Int>) async -> [Int]? {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                guard case .items(let items) = queue.next(timeout: Self.never) else { return continuation.resume(returning: nil) }
                continuation.resume(returning: items)
            }
        }
    }

    @Test func whatNobodyWaitsForLeavesWithWhatSomebodyWaitsFor() async {
        let queue = WriteQueue<Int>(bound: 1000, lateness: Self.never)
        for item in 0..<3 { #expect(queue.append(item, isUpkeep: false, isAwaited: false) == nil) }
        async let items = taken(from: queue)
        #expect(queue.append(3, isUpkeep: false) == nil)
        #expect(await items == [0, 1, 2, 3])
    }

    @Test func whatNobodyWaitsForLeavesByItself() async {
        let queue = WriteQueue<Int>(bound: 1000, lateness: 0.001)
        #expect(queue.append(1, isUpkeep: false, isAwaited: false) == nil)
        #expect(await taken(from: queue) == [1])
        // And again: that somebody waits is said of each turn anew.
        #expect(queue.append(2, isUpkeep: false) == nil)
        #expect(await taken(from: queue) == [2])
        #expect(queue.append(3, isUpkeep: false, isAwaited: false) == nil)
        #expect(await taken(from: queue) == [3])
    }

    @Test(arguments: [(1000, WriteQueue<Int>.plenty), (10, 5), (1, 1)])
    func enoughOfThemLeave(bound: Int, count: Int) async {
        let queue = WriteQueue<Int>(bound: bound, lateness: Self.never)
        async let items = taken(from: queue)
        for item in 0..<count { #expect(queue.append(item, isUpkeep: false, isAwaited: false) == nil) }
        #expect(await items == Array(0..<count))
    }

    @Test func closingEndsTheWait() async {
        let queue = WriteQueue<Int>(bound: 1000, lateness: Self.never)
        #expect(queue.append(1, isUpkeep: false, isAwaited: false) == nil)
        async let items = taken(from: queue)
        queue.close()
        #expect(await items == [1])
        #expect(await taken(from: queue) == nil)
        #expect(queue.append(2, isUpkeep: false, isAwaited: false) == .closed)
    }
}
