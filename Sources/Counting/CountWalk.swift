import PosternCore

// Going over all rows, in turns that are short.

extension CountTable {
    /// From what on somebody is found, of one column.
    public struct Threshold: Sendable {
        /// `infinity` for nobody.
        public var least: Double
        /// Where the block of it has more than `block`, from this on.
        public var beside: Double
        public var block: Double

        public init(least: Double = .infinity, beside: Double = .infinity, block: Double = .infinity) {
            self.least = least
            self.beside = beside
            self.block = block
        }
    }

    /// Where a walk over all rows stands: from the last slot to the first, since rows that move for others that went move down.
    public struct Walk: Sendable {
        fileprivate var slot: Int
        fileprivate var slots: Int
    }

    public func walk() -> Walk { Walk(slot: slots.count, slots: slots.count) }

    /// Goes on with a walk over all rows, by at most about so many slots and members. Where the index was widened meanwhile it begins
    /// anew, so somebody may be found twice. By the two windows; whoever is followed may have more.
    ///
    /// - Returns: false where it is over.
    public mutating func next(
        _ walk: inout Walk, looks: Int, thresholds: [Threshold], at now: WallTime, _ found: (CountKey) -> Void
    ) -> Bool {
        own()
        if walk.slots != slots.count { walk = self.walk() }
        let milliseconds = max(now.milliseconds, 0)
        let watched = thresholds.indices.prefix(layout.columns).filter { min(thresholds[$0].least, thresholds[$0].beside) < .infinity }
        let epochs = watched.map { memory.columns[$0].epoch(at: milliseconds) }
        var isFound = [Bool](repeating: false, count: Self.capacities.last ?? 0)
        var left = looks
        while left > 0, walk.slot > 0 {
            walk.slot -= 1
            left -= 1
            guard slots[walk.slot] != 0 else { continue }
            let handle = slots[walk.slot] & 0xffff_ffff
            let row = row(handle)
            let members = Int(row[RowLayout.state] & RowLayout.countMask)
            left -= members
            let numbers = UnsafeRawPointer(row + layout.members).assumingMemoryBound(to: UInt16.self)
            for member in 0..<members { isFound[member] = false }
            for (position, column) in watched.enumerated() {
                let state = memory.columns[column]
                let kept = row[layout.epoch(column)]
                // What is older counts for nothing.
                guard CountColumn.age(of: kept, at: epochs[position]) <= 1 else { continue }
                var least = thresholds[column].least
                if thresholds[column].block < .infinity {
                    let (this, last) = Self.windows(row + layout.total(column), kept: kept, now: epochs[position])
                    if state.estimate(this, last, at: milliseconds) > thresholds[column].block { least = thresholds[column].beside }
                }
                var count = row + layout.record(0, capacity: Self.capacity(handle)) + 1 + 2 * column
                for member in 0..<members {
                    let (this, last) = Self.windows(count, kept: kept, now: epochs[position])
                    if this > 0 || last > 0, state.estimate(this, last, at: milliseconds) >= least { isFound[member] = true }
                    count += layout.record
                }
            }
            let block = Self.block(row)
            for member in 0..<members where isFound[member] { found(CountKey(block: block, member: numbers[member])) }
        }
        return walk.slot > 0
    }
}
