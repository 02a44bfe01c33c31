/// What a key has in each column of a table, and its block as far as that was asked for.
public struct CountValues: Sendable {
    private var counts = InlineArray<24, Double>(repeating: 0)
    private var blocks = InlineArray<24, Double>(repeating: 0)

    public init() {}

    public subscript(column: Int) -> Double {
        @inline(__always) get { counts[column] }
        @inline(__always) set { counts[column] = newValue }
    }

    /// All members of the block together.
    @inline(__always)
    public func block(_ column: Int) -> Double { blocks[column] }

    @inline(__always)
    mutating func setBlock(_ column: Int, _ value: Double) { blocks[column] = value }
}
