import PosternCore

/// Puts attempts into the order of time. A log tells of an attempt only when its recipients are known, some moments after it
/// was made, and several logs are told side by side.
struct TimeOrder {
    /// So far behind the log an attempt may come to light and still find its place.
    static let window = WallTime.Span.minutes(10)
    /// As many are held back at once at most. A table that is out of order by more rows is replayed out of order.
    static let maximum = 131_072

    private struct Entry: Comparable {
        var time: WallTime
        var number: UInt64
        var attempt: LoggedAttempt

        static func < (a: Entry, b: Entry) -> Bool { (a.time.milliseconds, a.number) < (b.time.milliseconds, b.number) }
        static func == (a: Entry, b: Entry) -> Bool { a.number == b.number }
    }

    private var heap = Heap<Entry>()
    private var number: UInt64 = 0
    private var released = WallTime(milliseconds: .min)
    /// Attempts that came too late to find their place.
    private(set) var late = 0

    var count: Int { heap.count }

    mutating func insert(_ attempt: LoggedAttempt) {
        if attempt.time < released { late += 1 }
        heap.insert(Entry(time: attempt.time, number: number, attempt: attempt))
        number += 1
    }

    /// The next attempt that no earlier one will come before. `now` is how far the input has been read, `nil` for to its end.
    mutating func next(readTo now: WallTime?, window: WallTime.Span?) -> LoggedAttempt? {
        guard let first = heap.first else { return nil }
        if let now, heap.count <= Self.maximum {
            guard let window, first.time < now - window else { return nil }
        }
        _ = heap.removeFirst()
        released = max(released, first.time)
        return first.attempt
    }
}

/// A binary heap: the least first.
struct Heap<Element: Comparable> {
    private var elements: [Element] = []

    var count: Int { elements.count }
    var first: Element? { elements.first }

    mutating func insert(_ element: Element) {
        elements.append(element)
        var index = elements.count - 1
        while index > 0 {
            let parent = (index - 1) / 2
            guard elements[index] < elements[parent] else { return }
            elements.swapAt(index, parent)
            index = parent
        }
    }

    mutating func removeFirst() -> Element? {
        guard !elements.isEmpty else { return nil }
        elements.swapAt(0, elements.count - 1)
        let least = elements.removeLast()
        var index = 0
        while true {
            var child = index * 2 + 1
            guard child < elements.count else { return least }
            if child + 1 < elements.count, elements[child + 1] < elements[child] { child += 1 }
            guard elements[child] < elements[index] else { return least }
            elements.swapAt(index, child)
            index = child
        }
    }
}
