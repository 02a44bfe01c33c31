import PosternCore

// The index: how the row of a block is found, and which rows go.

extension CountTable {
    /// After the finisher of MurmurHash3; the seed keeps it from being foreseen.
    @inline(__always)
    func hash(_ block: UInt64) -> UInt64 {
        var h = block ^ settings.seed
        h ^= h >> 33
        h = h &* 0xff51_afd7_ed55_8ccd
        h ^= h >> 33
        h = h &* (0xc4ce_b9fe_1a85_ec53 ^ settings.seed << 1)
        h ^= h >> 33
        return h | 1 << 32
    }

    @inline(__always)
    func home(_ slot: UInt64) -> Int { Int(slot >> 33) & mask }

    /// `expecting`: the member that is looked at next.
    @inline(__always)
    func find(_ block: UInt64, expecting member: UInt16? = nil) -> Int? {
        let tag = hash(block) & 0xffff_ffff_0000_0000
        var slot = home(tag)
        while slots[slot] != 0 {
            if slots[slot] & 0xffff_ffff_0000_0000 == tag {
                let handle = slots[slot] & 0xffff_ffff
                let row = row(handle)
                if let member { memory.expect(member, in: row, capacity: Self.capacity(handle)) }
                if Self.block(row) == block { return slot }
            }
            slot = (slot + 1) & mask
        }
        return nil
    }

    mutating func insert(_ block: UInt64, at now: WallTime) -> Int {
        while bytes >= settings.maximumBytes || rows >= Self.maximumRows, rows > 1 { evict() }
        if (rows + 1) * 4 > slots.count * 3 { widen() }
        let handle = allocate(0)
        let row = row(handle)
        row[0] = UInt32(truncatingIfNeeded: block)
        row[1] = UInt32(truncatingIfNeeded: block >> 32)
        // As of windows that have gone by.
        for column in 0..<layout.columns {
            row[layout.epoch(column)] = memory.columns[column].epoch(at: max(now.milliseconds, 0)) &- 2
        }
        rows += 1
        return fill(hash(block) & 0xffff_ffff_0000_0000 | handle)
    }

    mutating func fill(_ value: UInt64) -> Int {
        var slot = home(value)
        while slots[slot] != 0 { slot = (slot + 1) & mask }
        slots[slot] = value
        return slot
    }

    mutating func widen() {
        let old = slots
        slots = [UInt64](repeating: 0, count: old.count * 2)
        mask = slots.count - 1
        hand = 0
        for value in old where value != 0 { _ = fill(value) }
    }

    mutating func remove(at slot: Int) {
        free(slots[slot] & 0xffff_ffff)
        rows -= 1
        // What came after it for want of its place moves up (Knuth, TAOCP vol. 3, §6.4, algorithm R).
        var hole = slot
        var next = (slot + 1) & mask
        while slots[next] != 0 {
            let distance = (next - home(slots[next])) & mask
            if distance >= (next - hole) & mask {
                slots[hole] = slots[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        slots[hole] = 0
    }

    /// Of the next rows in the order of their hashes, which is none, the one that was not touched for the longest goes.
    mutating func evict() {
        var coldest: (slot: Int, touched: UInt32)?
        var seen = 0
        for _ in 0..<slots.count where seen < Self.evictionSample {
            hand = (hand + 1) & mask
            guard slots[hand] != 0 else { continue }
            seen += 1
            let touched = row(slots[hand] & 0xffff_ffff)[RowLayout.touched]
            if coldest.map({ touched < $0.touched }) ?? true { coldest = (hand, touched) }
        }
        guard let coldest else { return }
        remove(at: coldest.slot)
        evictedRows += 1
    }

    /// Looks at some rows and lets those go whose windows have all gone by. Called again and again it goes round.
    ///
    /// - Returns: how many went.
    @discardableResult
    public mutating func sweep(_ looks: Int, at now: WallTime) -> Int {
        own()
        let epochs = columns.map { $0.epoch(at: now) }
        var removed = 0
        for _ in 0..<min(looks, slots.count) {
            hand = (hand + 1) & mask
            guard slots[hand] != 0 else { continue }
            let row = row(slots[hand] & 0xffff_ffff)
            let isOver = epochs.indices.allSatisfy { column in
                CountColumn.age(of: row[layout.epoch(column)], at: epochs[column]) > 1
            }
            guard isOver else { continue }
            remove(at: hand)
            removed += 1
            // What moved up into its place is looked at next.
            hand = (hand - 1) & mask
        }
        return removed
    }
}
