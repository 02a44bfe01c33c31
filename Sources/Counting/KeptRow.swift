import PosternCore

/// A row as it is written down: all that is needed to read it where columns have changed meanwhile.
///
/// Octets: 1 (the version); the number of columns; of each its unit, its window in milliseconds, its epoch and its two totals; the
/// number of members; of each its number and its two counts in each column. Numbers are LEB128.
struct KeptRow {
    struct Column: Equatable {
        var unit: CountUnit
        var window: WallTime.Span
        var epoch: UInt32
        var this: UInt32
        var last: UInt32
    }

    struct Member {
        var member: UInt16
        var counts: [(this: UInt32, last: UInt32)]
    }

    private static let version: UInt8 = 1

    private(set) var columns: [Column] = []
    private(set) var members: [Member] = []

    init(_ row: UnsafeMutablePointer<UInt32>, _ layout: RowLayout, _ columns: [CountColumn], capacity: Int) {
        for (index, column) in columns.enumerated() {
            self.columns.append(
                Column(
                    unit: column.unit, window: column.window, epoch: row[layout.epoch(index)], this: row[layout.total(index)],
                    last: row[layout.total(index) + 1]))
        }
        let numbers = UnsafeRawPointer(row + layout.members).assumingMemoryBound(to: UInt16.self)
        for member in 0..<Int(row[RowLayout.state] & RowLayout.countMask) {
            members.append(
                Member(
                    member: numbers[member],
                    counts: columns.indices.map { column in
                        let count = row + layout.record(member, capacity: capacity) + 1 + 2 * column
                        return (count[0], count[1] & RowLayout.mostCounted)
                    }))
        }
    }

    /// The row with one member alone, and without totals.
    func only(_ member: UInt16) -> KeptRow {
        var row = self
        row.members.removeAll { $0.member != member }
        for index in row.columns.indices { (row.columns[index].this, row.columns[index].last) = (0, 0) }
        return row
    }

    /// `nil` where the octets are none of ours.
    init?(_ data: [UInt8]) {
        var rest = data[...]
        func number(_ bound: UInt64) -> UInt64? {
            var value: UInt64 = 0
            for shift in stride(from: UInt64(0), to: 63, by: 7) {
                guard let octet = rest.popFirst() else { return nil }
                value |= UInt64(octet & 0x7f) << shift
                if octet & 0x80 == 0 { return value <= bound ? value : nil }
            }
            return nil
        }
        guard rest.popFirst() == Self.version, let count = number(UInt64(CountTable.maximumColumns)) else { return nil }
        for _ in 0..<count {
            guard let unit = number(255).flatMap({ CountUnit(rawValue: UInt8($0)) }), let window = number(1 << 40),
                let epoch = number(UInt64(UInt32.max)), let this = number(UInt64(RowLayout.mostCounted)),
                let last = number(UInt64(RowLayout.mostCounted))
            else { return nil }
            columns.append(
                Column(
                    unit: unit, window: .milliseconds(Int64(window)), epoch: UInt32(epoch), this: UInt32(this), last: UInt32(last)))
        }
        guard let population = number(UInt64(CountTable.capacities.last ?? 0)) else { return nil }
        for _ in 0..<population {
            guard let member = number(UInt64(UInt16.max)) else { return nil }
            var counts: [(this: UInt32, last: UInt32)] = []
            for _ in columns {
                guard let this = number(UInt64(RowLayout.mostCounted)), let last = number(UInt64(RowLayout.mostCounted)) else { return nil }
                counts.append((UInt32(this), UInt32(last)))
            }
            members.append(Member(member: UInt16(member), counts: counts))
        }
        guard rest.isEmpty else { return nil }
    }

    var encoded: [UInt8] {
        var out = [Self.version]
        func append(_ value: UInt64) {
            var value = value
            while value >= 0x80 {
                out.append(UInt8(value & 0x7f) | 0x80)
                value >>= 7
            }
            out.append(UInt8(value))
        }
        append(UInt64(columns.count))
        for column in columns {
            append(UInt64(column.unit.rawValue))
            append(UInt64(max(column.window.milliseconds, 0)))
            for value in [column.epoch, column.this, column.last] { append(UInt64(value)) }
        }
        append(UInt64(members.count))
        for member in members {
            append(UInt64(member.member))
            for count in member.counts {
                append(UInt64(count.this))
                append(UInt64(count.last))
            }
        }
        return out
    }
}
