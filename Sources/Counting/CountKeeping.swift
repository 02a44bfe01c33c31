import PosternCore

// What is taken out of a table and put back: what was forgotten by mistake, and rows that are written down.

extension CountTable {
    /// Lets a key have nothing to its name; its block's total stays.
    ///
    /// - Parameter sparing: columns that stay, less so much each.
    /// - Returns: what it had, for `giveBack`; `nil` where it had nothing.
    @discardableResult
    public mutating func forget(_ key: CountKey, sparing: [Int: UInt32] = [:]) -> [UInt8]? {
        guard let slot = find(key.block) else { return nil }
        own()
        let handle = slots[slot] & 0xffff_ffff
        let row = row(handle)
        let capacity = Self.capacity(handle)
        guard let member = Self.member(row, key.member, layout), Self.weight(row, member, layout, capacity: capacity) > 0 else {
            return nil
        }
        let kept = KeptRow(row, layout, columns, capacity: capacity).only(key.member)
        let counts = row + layout.record(member, capacity: capacity) + 1
        for column in 0..<layout.columns {
            let count = counts + 2 * column
            guard let less = sparing[column] else {
                (count[0], count[1]) = (0, 0)
                continue
            }
            // By the two windows: what came last goes first.
            let ofThis = min(less, count[0])
            count[0] -= ofThis
            count[1] = (count[1] & RowLayout.mostCounted) - min(less - ofThis, count[1] & RowLayout.mostCounted)
        }
        if row[RowLayout.state] & RowLayout.isDirty == 0 {
            row[RowLayout.state] |= RowLayout.isDirty
            dirty.append(key.block)
        }
        return kept.encoded
    }

    /// Gives a key back what `forget` took from it, as far as it still counts, on top of what came since.
    ///
    /// - Returns: false where the octets are none of ours.
    public mutating func giveBack(_ key: CountKey, _ data: [UInt8], at now: WallTime) -> Bool {
        guard let kept = KeptRow(data) else { return false }
        own()
        for (position, column) in kept.columns.enumerated() {
            guard let member = kept.members.first(where: { $0.member == key.member }),
                let index = columns.firstIndex(where: { $0.unit == column.unit && $0.window == column.window })
            else { continue }
            let epoch = columns[index].epoch(at: now)
            let counts = member.counts[position]
            let back: (this: UInt32, last: UInt32)
            let age = CountColumn.age(of: column.epoch, at: epoch)
            if age <= 0 {
                back = counts
            } else if age == 1 {
                back = (0, counts.this)
            } else {
                continue
            }
            guard back != (0, 0) else { continue }
            let (handle, place) = place(key, at: now)
            let row = row(handle)
            let capacity = Self.capacity(handle)
            Self.roll(row, index, to: epoch, layout, capacity: capacity)
            let count = row + layout.record(place, capacity: capacity) + 1 + 2 * index
            count[0] = min(count[0].plusSaturating(back.this), RowLayout.mostCounted)
            // No longer followed step by step: the steps are not known any more.
            count[1] = min((count[1] & RowLayout.mostCounted).plusSaturating(back.last), RowLayout.mostCounted)
        }
        return true
    }

    /// Blocks whose rows have changed since they were last taken, at most so many, with what is to be written of each.
    public mutating func takeChanges(_ limit: Int) -> [(block: UInt64, data: [UInt8])] {
        own()
        var taken: [(block: UInt64, data: [UInt8])] = []
        while taken.count < limit, let block = dirty.popLast() {
            // It may have given way meanwhile.
            guard let slot = find(block) else { continue }
            let handle = slots[slot] & 0xffff_ffff
            let row = row(handle)
            row[RowLayout.state] &= ~RowLayout.isDirty
            taken.append((block, KeptRow(row, layout, columns, capacity: Self.capacity(handle)).encoded))
        }
        return taken
    }

    /// Every row, as it is to be written.
    public func all() -> [(block: UInt64, data: [UInt8])] {
        slots.compactMap { slot in
            guard slot != 0 else { return nil }
            let handle = slot & 0xffff_ffff
            let row = row(handle)
            return (Self.block(row), KeptRow(row, layout, columns, capacity: Self.capacity(handle)).encoded)
        }
    }

    /// Takes in a row as it was written; columns that there are no more, and windows that have gone by, count for nothing.
    ///
    /// - Returns: false where it cannot be read, or holds nothing of use.
    @discardableResult
    public mutating func restore(block: UInt64, data: [UInt8], at now: WallTime) -> Bool {
        guard let kept = KeptRow(data) else { return false }
        own()
        var isUsed = false
        for (position, column) in kept.columns.enumerated() {
            guard let index = columns.firstIndex(where: { $0.unit == column.unit && $0.window == column.window }) else { continue }
            let epoch = columns[index].epoch(at: now)
            guard (-1...1).contains(CountColumn.age(of: column.epoch, at: epoch)) else { continue }
            isUsed = true
            for member in kept.members where member.counts[position] != (0, 0) {
                let (handle, place) = place(CountKey(block: block, member: member.member), at: now)
                let row = row(handle)
                row[layout.epoch(index)] = column.epoch
                let count = row + layout.record(place, capacity: Self.capacity(handle)) + 1 + 2 * index
                count[0] = member.counts[position].this
                count[1] = member.counts[position].last
            }
            guard let slot = find(block) else { continue }
            let row = row(slots[slot] & 0xffff_ffff)
            row[layout.total(index)] = column.this
            row[layout.total(index) + 1] = column.last
        }
        return isUsed
    }

    /// How long what is written of a row can matter.
    public var lifetime: WallTime.Span {
        let longest = columns.map(\.window).max() ?? .zero
        return longest + longest
    }
}
