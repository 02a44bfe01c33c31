import PosternCore

/// Counts of a bounded number of keys, over windows of several lengths.
///
/// **The estimate.** Each count is kept for this window and the last one; what of the last still matters is taken to be spread
/// evenly: `this + last × (1 − elapsed)`. A key that never has more than half a limit within any window is thus never over it.
/// Keys that do something of a column's limit are followed step by step (`StepLog`) as far as there is room, those above a
/// quarter of it first, and counted by the moment.
///
/// **One row per block** holds all its members and their total. Rows are of fixed capacities; a row that is full moves to a
/// larger one, and a block of more members than the largest lets the smallest count go.
///
/// **Memory** is bounded: at the bound, of sixteen rows the one that has not been touched for the longest gives way.
public struct CountTable: Sendable {
    public struct Settings: Sendable {
        /// Octets of rows and index.
        public var maximumBytes = 64 << 20
        /// Counts that are followed step by step: most take 200 octets, one of a large limit up to 16 KiB.
        public var maximumLogs = 8192
        /// A secret, so that nobody can choose addresses that fall on each other.
        public var seed: UInt64

        public init(seed: UInt64) {
            self.seed = seed
        }
    }

    public static let capacities = [1, 2, 4, 6, 8, 12, 16, 24, 32, 44, 60, 84, 120, 176, 256]
    public static let maximumColumns = 24
    /// A handle has 28 bits for a row of a capacity.
    static let maximumRows = 1 << 28
    /// Rows that are looked at for one to give way.
    static let evictionSample = 16

    public private(set) var columns: [CountColumn]
    private var settings: Settings
    let layout: RowLayout
    private(set) var memory: RowMemory
    /// Which units some column counts, a bit each.
    private let units: UInt32
    /// Open addressing: the upper half of a slot is the hash, the lower the handle; 0 is empty.
    private(set) var slots: [UInt64]
    private var mask: Int
    public private(set) var rows = 0
    private var rowBytes = 0
    private var hand = 0
    private var logs: StepLogs
    private var dirty: [UInt64] = []
    /// Who was looked at last: most are looked at, and then charged.
    private var recent = (slot: 0, value: UInt64(0), key: CountKey(block: 0, member: 0), member: 0)
    /// Rows that gave way at the bound.
    public private(set) var evictedRows: UInt64 = 0
    /// Members that gave way in a block that has too many.
    public private(set) var evictedMembers: UInt64 = 0

    public init(columns: [CountColumn], settings: Settings) {
        let columns = Array(columns.prefix(Self.maximumColumns))
        self.columns = columns
        self.settings = settings
        memory = RowMemory(columns)
        layout = memory.layout
        units = columns.reduce(0) { $0 | 1 << UInt32($1.unit.rawValue) }
        slots = [UInt64](repeating: 0, count: 64)
        mask = 63
        logs = StepLogs(maximum: settings.maximumLogs)
    }

    /// Goes on with other limits, and within another bound, where units and windows stay as they are.
    ///
    /// - Returns: false where they do not: then nothing has changed.
    public mutating func retune(_ other: CountTable) -> Bool {
        guard settings.seed == other.settings.seed, settings.maximumLogs == other.settings.maximumLogs,
            columns.count == other.columns.count,
            zip(columns, other.columns).allSatisfy({ $0.unit == $1.unit && $0.window == $1.window })
        else { return false }
        settings = other.settings
        guard columns != other.columns else { return true }
        columns = other.columns
        own()
        for (index, column) in columns.enumerated() { memory.columns[index] = RowMemory.ColumnState(column) }
        return true
    }

    /// Octets of rows and index; free room within chunks, and logs, come on top.
    public var bytes: Int { rowBytes + slots.count * 8 }
    public var followed: Int { logs.count }
    /// Who is followed: whoever is above a quarter of a column's limit, and others as far as there is room. At most
    /// `Settings.maximumLogs`.
    public var followedKeys: Set<CountKey> { logs.keys }

    /// Whether any column counts a unit.
    public func counts(_ unit: CountUnit) -> Bool { units & 1 << UInt32(unit.rawValue) != 0 }

    /// Before anything is written, or a window is moved on.
    @inline(__always)
    mutating func own() {
        if !isKnownUniquelyReferenced(&memory) { memory = memory.copy() }
    }

    // MARK: - Counting

    /// Adds to every column of a unit.
    public mutating func charge(_ key: CountKey, _ unit: CountUnit, _ amount: UInt32 = 1, at now: WallTime) {
        guard amount > 0, counts(unit) else { return }
        own()
        let (handle, member) = place(key, at: now)
        let row = row(handle)
        let capacity = Self.capacity(handle)
        let record = row + layout.record(member, capacity: capacity)
        let age = UInt32(truncatingIfNeeded: now.milliseconds) &- record[0]
        for column in 0..<layout.columns where memory.columns[column].column.unit == unit {
            add(amount, key, row, record + 1 + 2 * column, capacity, column, age: age, at: now)
        }
        record[0] = UInt32(truncatingIfNeeded: now.milliseconds)
    }

    /// `age` is how many milliseconds ago the member was charged last.
    @inline(__always)
    private mutating func add(
        _ amount: UInt32, _ key: CountKey, _ row: UnsafeMutablePointer<UInt32>, _ count: UnsafeMutablePointer<UInt32>, _ capacity: Int,
        _ column: Int, age: UInt32, at now: WallTime
    ) {
        let epoch = memory.columns[column].epoch(at: max(now.milliseconds, 0))
        if epoch != row[layout.epoch(column)] { Self.roll(row, column, to: epoch, layout, capacity: capacity) }
        let total = row + layout.total(column)
        total[0] = min(total[0].plusSaturating(amount), RowLayout.mostCounted)
        let this = count[0]
        count[0] = min(this.plusSaturating(amount), RowLayout.mostCounted)
        let last = count[1] & RowLayout.mostCounted
        let isFollowed = count[1] & RowLayout.isFollowed != 0
        let sum = UInt64(this) + UInt64(last) + UInt64(amount)
        let near = memory.columns[column].near
        let least = logs.isCrowded ? near : min(memory.columns[column].mentionable, near)
        if !isFollowed, sum <= least { return }
        let window = memory.columns[column].column.window
        let logKey = StepLogs.Key(key: key, column: UInt8(truncatingIfNeeded: column))
        if isFollowed {
            let isThere: Void? = logs.with(logKey) { $0.add(amount, window: window, at: now) }
            if isThere != nil { return }
        }
        let follows = sum > least
        if follows {
            var log = StepLog(
                this: this, last: last, elapsed: memory.columns[column].elapsed(at: max(now.milliseconds, 0)), window: window,
                latest: now - .milliseconds(Int64(age)), at: now)
            log.add(amount, window: window, at: now)
            logs.insert(log, logKey)
        }
        if follows != isFollowed { count[1] = last | (follows ? RowLayout.isFollowed : 0) }
    }

    /// What a key has in every column now; of the columns that `blocks` has a bit for, what its whole block has. One look at one
    /// row tells it all.
    ///
    /// - Returns: false where there is nothing of the block.
    @discardableResult
    public mutating func counts(_ key: CountKey, at now: WallTime, blocks: UInt32 = 0, into values: inout CountValues) -> Bool {
        guard let slot = find(key.block, expecting: key.member) else { return false }
        own()
        let handle = slots[slot] & 0xffff_ffff
        let row = row(handle)
        let member = Self.member(row, key.member, layout)
        if let member { recent = (slot, slots[slot], key, member) }
        guard member != nil || blocks != 0 else { return true }
        let record = row + layout.record(member ?? 0, capacity: Self.capacity(handle))
        let milliseconds = max(now.milliseconds, 0)
        for column in 0..<layout.columns {
            let epoch = memory.columns[column].epoch(at: milliseconds)
            let kept = row[layout.epoch(column)]
            if blocks & 1 << UInt32(column) != 0 {
                let (this, last) = Self.windows(row + layout.total(column), kept: kept, now: epoch)
                values.setBlock(column, memory.columns[column].estimate(this, last, at: milliseconds))
            }
            guard member != nil else { continue }
            let count = record + 1 + 2 * column
            let (this, last) = Self.windows(count, kept: kept, now: epoch)
            guard this > 0 || last > 0 else { continue }
            let isFollowed = count[1] & RowLayout.isFollowed != 0
            guard isFollowed else {
                values[column] = memory.columns[column].estimate(this, last, at: milliseconds)
                continue
            }
            let window = memory.columns[column].column.window
            let exact = logs.with(StepLogs.Key(key: key, column: UInt8(truncatingIfNeeded: column))) { log in
                log.expire(window: window, at: now)
                return Double(log.sum)
            }
            values[column] = exact ?? memory.columns[column].estimate(this, last, at: milliseconds)
        }
        return true
    }

    /// What a key has in every column now, in the order of the columns. `body` is not called where it has nothing.
    public mutating func counts(_ key: CountKey, at now: WallTime, _ body: (Int, Double) -> Void) {
        var values = CountValues()
        counts(key, at: now, into: &values)
        for column in 0..<layout.columns where values[column] > 0 { body(column, values[column]) }
    }

    /// What a key has in one column now.
    public mutating func count(_ key: CountKey, column: Int, at now: WallTime) -> Double {
        var values = CountValues()
        counts(key, at: now, into: &values)
        return values[column]
    }

    /// When a key will have no more than `target` in one column if it does nothing; `nil` where that is so now.
    public mutating func falls(_ key: CountKey, column: Int, to target: Double, at now: WallTime) -> WallTime? {
        let target = max(target, 0)
        guard count(key, column: column, at: now) > target, let slot = find(key.block) else { return nil }
        let handle = slots[slot] & 0xffff_ffff
        let row = row(handle)
        guard let member = Self.member(row, key.member, layout) else { return nil }
        let window = columns[column].window
        let epoch = memory.columns[column].epoch(at: max(now.milliseconds, 0))
        let elapsed = memory.columns[column].elapsed(at: max(now.milliseconds, 0))
        let count = row + layout.record(member, capacity: Self.capacity(handle)) + 1 + 2 * column
        let windows = Self.windows(count, kept: row[layout.epoch(column)], now: epoch)
        let (this, last) = (Double(windows.this), Double(windows.last))
        if count[1] & RowLayout.isFollowed != 0 {
            let logKey = StepLogs.Key(key: key, column: UInt8(truncatingIfNeeded: column))
            if let exact = logs.with(logKey, { $0.falls(to: target, window: window) }) ?? nil { return exact }
        }
        // By the two windows: of the last one it falls away until that is over, then of this one.
        let width = Double(window.milliseconds)
        let rest = width * (1 - elapsed)
        let wait =
            this <= target && last > 0 ? (this + last * (1 - elapsed) - target) / last * width : rest + width * (1 - target / max(this, 1))
        return now + .milliseconds(Int64(min(wait, 2 * width).rounded(.up)))
    }

    /// What a block has in one column now, each member counted up to `cap`, `except` not at all: how many there are that do
    /// much, not how much the worst of them does.
    public mutating func breadth(of block: UInt64, column: Int, cap: Double, except: UInt16?, at now: WallTime) -> Double {
        guard let slot = find(block) else { return 0 }
        own()
        let handle = slots[slot] & 0xffff_ffff
        let row = row(handle)
        let milliseconds = max(now.milliseconds, 0)
        let epoch = memory.columns[column].epoch(at: milliseconds)
        let state = memory.columns[column]
        let kept = row[layout.epoch(column)]
        let members = UnsafeRawPointer(row + layout.members).assumingMemoryBound(to: UInt16.self)
        var count = row + layout.record(0, capacity: Self.capacity(handle)) + 1 + 2 * column
        var sum = 0.0
        for member in 0..<Int(row[RowLayout.state] & RowLayout.countMask) {
            if members[member] != except {
                let (this, last) = Self.windows(count, kept: kept, now: epoch)
                sum += min(state.estimate(this, last, at: milliseconds), cap)
            }
            count += layout.record
        }
        return sum
    }

    /// What a block has in one column now, all members together.
    public mutating func total(of block: UInt64, column: Int, at now: WallTime) -> Double {
        guard let slot = find(block) else { return 0 }
        own()
        let row = row(slots[slot] & 0xffff_ffff)
        let milliseconds = max(now.milliseconds, 0)
        let epoch = memory.columns[column].epoch(at: milliseconds)
        let (this, last) = Self.windows(row + layout.total(column), kept: row[layout.epoch(column)], now: epoch)
        return memory.columns[column].estimate(this, last, at: milliseconds)
    }

    // MARK: - Rows

    private static func handle(slab: Int, index: Int) -> UInt64 { UInt64(slab + 1) << 28 | UInt64(index) }

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
    private static func roll(_ row: UnsafeMutablePointer<UInt32>, _ column: Int, to epoch: UInt32, _ layout: RowLayout, capacity: Int) {
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
    private static func member(_ row: UnsafeMutablePointer<UInt32>, _ member: UInt16, _ layout: RowLayout) -> Int? {
        let members = UnsafeRawPointer(row + layout.members)
        let count = Int(row[RowLayout.state] & RowLayout.countMask)
        guard count > 16 else { return place(of: member, in: members, from: 0, to: count) }
        let likely = min(max(RowLayout.guess(member, of: count) - 8, 0), count - 16)
        return place(of: member, in: members, from: likely, to: count) ?? everyPlace(of: member, in: members, to: count)
    }

    @inline(never)
    private static func everyPlace(of member: UInt16, in members: UnsafeRawPointer, to end: Int) -> Int? {
        var start = 0
        while start < end {
            if let place = place(of: member, in: members, from: start, to: end) { return place }
            start += 16
        }
        return nil
    }

    /// Of sixteen places, where one has this member.
    @inline(__always)
    private static func place(of member: UInt16, in members: UnsafeRawPointer, from start: Int, to end: Int) -> Int? {
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
    private mutating func place(_ key: CountKey, at now: WallTime) -> (handle: UInt64, member: Int) {
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
    private func recentMember(_ key: CountKey) -> Int? {
        guard recent.key == key, recent.value != 0, recent.slot < slots.count, slots[recent.slot] == recent.value else { return nil }
        let row = row(recent.value & 0xffff_ffff)
        let members = UnsafeRawPointer(row + layout.members).assumingMemoryBound(to: UInt16.self)
        guard Self.block(row) == key.block, recent.member < Int(row[RowLayout.state] & RowLayout.countMask),
            members[recent.member] == key.member
        else { return nil }
        return recent.member
    }

    private mutating func makeRoom(_ key: CountKey, _ slot: Int, at now: WallTime) -> (handle: UInt64, member: Int) {
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
    private func insertMember(_ row: UnsafeMutablePointer<UInt32>, _ member: UInt16, capacity: Int) -> Int {
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

    private func removeMember(_ row: UnsafeMutablePointer<UInt32>, at place: Int, capacity: Int) {
        let members = UnsafeMutableRawPointer(row + layout.members).assumingMemoryBound(to: UInt16.self)
        let rest = Int(row[RowLayout.state] & RowLayout.countMask) - place - 1
        let record = row + layout.record(place, capacity: capacity)
        (members + place).update(from: members + place + 1, count: rest)
        record.update(from: record + layout.record, count: rest * layout.record)
        (record + rest * layout.record).update(repeating: 0, count: layout.record)
        row[RowLayout.state] -= 1
    }

    private func isFull(_ handle: UInt64) -> Bool {
        Int(row(handle)[RowLayout.state] & RowLayout.countMask) >= Self.capacity(handle)
    }

    private static func weight(_ row: UnsafeMutablePointer<UInt32>, _ member: Int, _ layout: RowLayout, capacity: Int) -> UInt64 {
        let counts = row + layout.record(member, capacity: capacity) + 1
        var sum: UInt64 = 0
        for word in 0..<2 * layout.columns { sum += UInt64(counts[word]) }
        return sum
    }

    /// Lets members go that have nothing to their name any more.
    private mutating func compact(_ handle: UInt64, at now: WallTime) {
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
    private mutating func grow(_ slot: Int) -> UInt64 {
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

    private mutating func allocate(_ slab: Int) -> UInt64 {
        rowBytes += memory.stride(slab) * 4
        return Self.handle(slab: slab, index: memory.take(slab))
    }

    private mutating func free(_ handle: UInt64) {
        let slab = Int(handle >> 28 & 0xf) - 1
        rowBytes -= memory.stride(slab) * 4
        memory.giveBack(slab, Int(handle & 0xfff_ffff))
    }

    // MARK: - Index

    /// After the finisher of MurmurHash3; the seed keeps it from being foreseen.
    @inline(__always)
    private func hash(_ block: UInt64) -> UInt64 {
        var h = block ^ settings.seed
        h ^= h >> 33
        h = h &* 0xff51_afd7_ed55_8ccd
        h ^= h >> 33
        h = h &* (0xc4ce_b9fe_1a85_ec53 ^ settings.seed << 1)
        h ^= h >> 33
        return h | 1 << 32
    }

    @inline(__always)
    private func home(_ slot: UInt64) -> Int { Int(slot >> 33) & mask }

    /// `expecting`: the member that is looked at next.
    @inline(__always)
    private func find(_ block: UInt64, expecting member: UInt16? = nil) -> Int? {
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

    private mutating func insert(_ block: UInt64, at now: WallTime) -> Int {
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

    private mutating func fill(_ value: UInt64) -> Int {
        var slot = home(value)
        while slots[slot] != 0 { slot = (slot + 1) & mask }
        slots[slot] = value
        return slot
    }

    private mutating func widen() {
        let old = slots
        slots = [UInt64](repeating: 0, count: old.count * 2)
        mask = slots.count - 1
        hand = 0
        for value in old where value != 0 { _ = fill(value) }
    }

    private mutating func remove(at slot: Int) {
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
    private mutating func evict() {
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

    // MARK: - Keeping

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
