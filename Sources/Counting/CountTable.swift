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
    private(set) var settings: Settings
    let layout: RowLayout
    private(set) var memory: RowMemory
    /// Which units some column counts, a bit each.
    private let units: UInt32
    /// Open addressing: the upper half of a slot is the hash, the lower the handle; 0 is empty.
    var slots: [UInt64]
    var mask: Int
    public internal(set) var rows = 0
    var rowBytes = 0
    var hand = 0
    private var logs: StepLogs
    var dirty: [UInt64] = []
    /// Who was looked at last: most are looked at, and then charged.
    var recent = (slot: 0, value: UInt64(0), key: CountKey(block: 0, member: 0), member: 0)
    /// Rows that gave way at the bound.
    public internal(set) var evictedRows: UInt64 = 0
    /// Members that gave way in a block that has too many.
    public internal(set) var evictedMembers: UInt64 = 0

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
}
