import PosternCore

/// A row of counts as a store keeps it.
public struct CountRow: Equatable, Sendable {
    /// Which table.
    public var table: UInt8
    public var key: UInt64
    public var data: [UInt8]
    /// From here on it is of no use.
    public var expires: WallTime

    public init(table: UInt8, key: UInt64, data: [UInt8], expires: WallTime) {
        self.table = table
        self.key = key
        self.data = data
        self.expires = expires
    }
}

/// Where a row of counts stands among all.
public struct CountPosition: Hashable, Comparable, Sendable {
    public var table: UInt8
    public var key: UInt64

    public init(table: UInt8, key: UInt64) {
        self.table = table
        self.key = key
    }

    public static func < (a: CountPosition, b: CountPosition) -> Bool { (a.table, a.key) < (b.table, b.key) }
}

extension CountRow {
    public var position: CountPosition { CountPosition(table: table, key: key) }
}
