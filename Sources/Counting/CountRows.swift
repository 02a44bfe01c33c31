import PosternCore

// Rows: where in one a member stands, and how they are given room.

extension CountTable {
    static func handle(slab: Int, index: Int) -> UInt64 { UInt64(slab + 1) << 28 | UInt64(index) }

    @inline(__always)
    static func capacity(_ handle: UInt64) -> Int { capacities[Int(handle >> 28 & 0xf) - 1] }

    @inline(__always)
    func row(_ handle: UInt64) -> UnsafeMutablePointer<UInt32> {
        memory.row(Int(handle >> 28 & 0xf) - 1, Int(handle & 0xfff_ffff))
    }

    @inline(__always)
    static func block(_ row: UnsafeMutablePointer<UInt32>) -> UInt64 { UInt64(row[0]) | UInt64(row[1]) << 32 }

    /// This window's count and the last one's, as they are by now.
    @inline(__always)
    static func windows(_ count: UnsafeMutablePointer<UInt32>, kept: UInt32, now: UInt32) -> (this: UInt32, last: UInt32) {
        let age = CountColumn.age(of: kept, at: now)
        // A row that was kept by a clock that was ahead counts as it stands.
        if age <= 0 { return (count[0], count[1] & RowLayout.mostCounted) }
        return age == 1 ? (0, count[0]) : (0, 0)
    }

    /// Brings a column of a row to a later window.
    static func roll(_ row: UnsafeMutablePointer<UInt32>, _ column: Int, to epoch: UInt32, _ layout: RowLayout, capacity: Int) {
        let age = CountColumn.age(of: row[layout.epoch(column)], at: epoch)
        guard age > 0 else { return }
        row[layout.epoch(column)] = epoch
        let follows = age == 1
        func turn(_ count: UnsafeMutablePointer<UInt32>) {
            // Whoever did nothing for two windows is followed no more.
            count[1] = follows && count[0] > 0 ? count[0] | count[1] & RowLayout.isFollowed : 0
            count[0] = 0
        }
        turn(row + layout.total(column))
        var count = row + layout.record(0, capacity: capacity) + 1 + 2 * column
        for _ in 0..<Int(row[RowLayout.state] & RowLayout.countMask) {
            turn(count)
            count += layout.record
        }
    }

    /// At which place of a row a member stands. Without a branch that hangs on where: rows are far apart in memory, and a wrong
    /// guess would keep the processor from asking for what it needs next.
    @inline(__always)
    static func member(_ row: UnsafeMutablePointer<UInt32>, _ member: UInt16, _ layout: RowLayout) -> Int? {
        let members = UnsafeRawPointer(row + layout.members)
        let count = Int(row[RowLayout.state] & RowLayout.countMask)
        guard count > 16 else { return place(of: member, in: members, from: 0, to: count) }
        let likely = min(max(RowLayout.guess(member, of: count) - 8, 0), count - 16)
        return place(of: member, in: members, from: likely, to: count) ?? elsewhere(member, in: members, than: likely, to: count)
    }

    /// A member that does not stand where it most likely would.
    @inline(never)
    private static func elsewhere(_ member: UInt16, in members: UnsafeRawPointer, than likely: Int, to end: Int) -> Int? {
        let numbers = members.assumingMemoryBound(to: UInt16.self)
        // Members stand in order: between two of those it would have been there.
        if numbers[likely] < member, member < numbers[likely + 15] { return nil }
        var start = 0
        while start < end {
            if let place = place(of: member, in: members, from: start, to: end) { return place }
            start += 16
        }
        return nil
    }

    /// Of sixteen places, where one has this member.
    @inline(__always)
    static func place(of member: UInt16, in members: UnsafeRawPointer, from start: Int, to end: Int) -> Int? {
        let here = members.loadUnaligned(fromByteOffset: 2 * start, as: SIMD16<UInt16>.self)
        let wanted = SIMD16<UInt16>(repeating: member)
        // Places count from one, so that nothing is none; at most one of them stays, since a member stands in a row once.
        let places = SIMD16<UInt16>(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
        let last = SIMD16<UInt16>(repeating: UInt16(truncatingIfNeeded: end - start))
        let words = unsafeBitCast(places.replacing(with: 0, where: (here .!= wanted) .| (places .> last)), to: SIMD4<UInt64>.self)
        var place = words[0] | words[1] | words[2] | words[3]
        place |= place >> 32
        place |= place >> 16
        return place & 0xffff == 0 ? nil : start + Int(place & 0xffff) - 1
    }

    /// Where a key is counted; makes room for it.
    @inline(__always)
    mutating func place(_ key: CountKey, at now: WallTime) -> (handle: UInt64, member: Int) {
        let known = recentMember(key)
        let slot = known == nil ? find(key.block, expecting: key.member) ?? insert(key.block, at: now) : recent.slot
        let handle = slots[slot] & 0xffff_ffff
        let row = row(handle)
        row[RowLayout.touched] = UInt32(truncatingIfNeeded: max(now.milliseconds, 0) / 1000)
        if row[RowLayout.state] & RowLayout.isDirty == 0 {
            row[RowLayout.state] |= RowLayout.isDirty
            dirty.append(key.block)
        }
        if let found = known ?? Self.member(row, key.member, layout) { return (handle, found) }
        return makeRoom(key, slot, at: now)
    }

    /// The place of a key in the row at `recent.slot`, if it was looked at last, and still stands there.
    @inline(__always)
    func recentMember(_ key: CountKey) -> Int? {
        guard recent.key == key, recent.value != 0, recent.slot < slots.count, slots[recent.slot] == recent.value else { return nil }
        let row = row(recent.value & 0xffff_ffff)
        let members = UnsafeRawPointer(row + layout.members).assumingMemoryBound(to: UInt16.self)
        guard Self.block(row) == key.block, recent.member < Int(row[RowLayout.state] & RowLayout.countMask),
            members[recent.member] == key.member
        else { return nil }
        return recent.member
    }

    mutating func makeRoom(_ key: CountKey, _ slot: Int, at now: WallTime) -> (handle: UInt64, member: Int) {
        var handle = slots[slot] & 0xffff_ffff
        if isFull(handle) { compact(handle, at: now) }
        if isFull(handle) { handle = grow(slot) }
        let capacity = Self.capacity(handle)
        let row = row(handle)
        if isFull(handle) {
            // As many members as a row may have: the one with the least to its name gives way.
            evictedMembers += 1
            let least = (0..<capacity).min { a, b in
                Self.weight(row, a, layout, capacity: capacity) < Self.weight(row, b, layout, capacity: capacity)
            }
            removeMember(row, at: least ?? 0, capacity: capacity)
        }
        return (handle, insertMember(row, key.member, capacity: capacity))
    }

    /// Puts a member into its place in a row that has room for it.
    func insertMember(_ row: UnsafeMutablePointer<UInt32>, _ member: UInt16, capacity: Int) -> Int {
        let members = UnsafeMutableRawPointer(row + layout.members).assumingMemoryBound(to: UInt16.self)
        let count = Int(row[RowLayout.state] & RowLayout.countMask)
        var place = count
        while place > 0, members[place - 1] > member { place -= 1 }
        let record = row + layout.record(place, capacity: capacity)
        (members + place + 1).update(from: members + place, count: count - place)
        (record + layout.record).update(from: record, count: (count - place) * layout.record)
        members[place] = member
        record.update(repeating: 0, count: layout.record)
        row[RowLayout.state] += 1
        return place
    }

    func removeMember(_ row: UnsafeMutablePointer<UInt32>, at place: Int, capacity: Int) {
        let members = UnsafeMutableRawPointer(row + layout.members).assumingMemoryBound(to: UInt16.self)
        let rest = Int(row[RowLayout.state] & RowLayout.countMask) - place - 1
        let record = row + layout.record(place, capacity: capacity)
        (members + place).update(from: members + place + 1, count: rest)
        record.update(from: record + layout.record, count: rest * layout.record)
        (record + rest * layout.record).update(repeating: 0, count: layout.record)
        row[RowLayout.state] -= 1
    }

    func isFull(_ handle: UInt64) -> Bool {
        Int(row(handle)[RowLayout.state] & RowLayout.countMask) >= Self.capacity(handle)
    }

    static func weight(_ row: UnsafeMutablePointer<UInt32>, _ member: Int, _ layout: RowLayout, capacity: Int) -> UInt64 {
        let counts = row + layout.record(member, capacity: capacity) + 1
        var sum: UInt64 = 0
        for word in 0..<2 * layout.columns { sum += UInt64(counts[word]) }
        return sum
    }

    /// Lets members go that have nothing to their name any more.
    mutating func compact(_ handle: UInt64, at now: WallTime) {
        let row = row(handle)
        let capacity = Self.capacity(handle)
        for column in 0..<layout.columns {
            Self.roll(row, column, to: memory.columns[column].epoch(at: max(now.milliseconds, 0)), layout, capacity: capacity)
        }
        let members = UnsafeMutableRawPointer(row + layout.members).assumingMemoryBound(to: UInt16.self)
        let count = Int(row[RowLayout.state] & RowLayout.countMask)
        var kept = 0
        for member in 0..<count where Self.weight(row, member, layout, capacity: capacity) > 0 {
            if kept != member {
                members[kept] = members[member]
                (row + layout.record(kept, capacity: capacity)).update(
                    from: row + layout.record(member, capacity: capacity), count: layout.record)
            }
            kept += 1
        }
        for member in kept..<count { (row + layout.record(member, capacity: capacity)).update(repeating: 0, count: layout.record) }
        row[RowLayout.state] = row[RowLayout.state] & ~RowLayout.countMask | UInt32(kept)
    }

    /// Moves a row to the next capacity, where there is one.
    mutating func grow(_ slot: Int) -> UInt64 {
        let handle = slots[slot] & 0xffff_ffff
        let slab = Int(handle >> 28 & 0xf) - 1
        guard slab + 1 < Self.capacities.count else { return handle }
        let (old, new) = (Self.capacities[slab], Self.capacities[slab + 1])
        let moved = allocate(slab + 1)
        let (from, to) = (row(handle), row(moved))
        to.update(from: from, count: layout.members + (old + 1) / 2)
        (to + layout.record(0, capacity: new)).update(from: from + layout.record(0, capacity: old), count: layout.record * old)
        free(handle)
        slots[slot] = slots[slot] & 0xffff_ffff_0000_0000 | moved
        return moved
    }

    mutating func allocate(_ slab: Int) -> UInt64 {
        rowBytes += memory.stride(slab) * 4
        return Self.handle(slab: slab, index: memory.take(slab))
    }

    mutating func free(_ handle: UInt64) {
        let slab = Int(handle >> 28 & 0xf) - 1
        rowBytes -= memory.stride(slab) * 4
        memory.giveBack(slab, Int(handle & 0xfff_ffff))
    }
}
