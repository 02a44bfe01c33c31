import GRDB
import GRDBSQLite
import PosternCore
import PosternEngine

// Makes the blocks of `DecisionIndex`, beside the writer and in small steps.

extension SQLiteStore {
    /// Decisions that one step reads: some tens of milliseconds of a reader's time.
    static let indexStepRows = 20_000

    /// Makes blocks for some of the decisions that have none. Called again and again by upkeep; where all have one it costs a
    /// look at the newest.
    public func indexStep() async throws(StoreFailure) {
        let index = index
        // On the writer, so that whatever comes later knows that it is late.
        let work = try await onWriter(writes: false) { hot throws(StoreFailure) in index.begin(highest: hot.highestReference) }
        guard let work else { return }
        let path = opening.path
        do throws(StoreFailure) {
            let made = try await onReader { db in try BlockMaking(db, path: path).make(work, rows: Self.indexStepRows) }
            index.finish(work, risen: made.risen, sunk: made.sunk, isComplete: made.isComplete, lowest: made.lowest)
        } catch {
            index.abandon()
            throw error
        }
    }
}

/// Reads decisions and makes blocks of them, on a reader's connection.
private struct BlockMaking {
    struct Made: Sendable {
        var risen: [DecisionIndex.Block] = []
        var sunk: [DecisionIndex.Block] = []
        var isComplete = false
        var lowest: Int64?
    }

    private static let columns = "SELECT reference, time, action, address, sender, recipient FROM decisions"

    private let connection: OpaquePointer
    private let path: String

    init(_ db: Database, path: String) throws {
        guard let connection = db.sqliteConnection else { throw StoreFailure.closed }
        self.connection = connection
        self.path = path
    }

    func make(_ work: DecisionIndex.Work, rows: Int) throws -> Made {
        var made = Made()
        let least = try Statement("SELECT min(reference) FROM decisions", on: connection, path: path)
        if try least.step() { made.lowest = least.optionalInteger(0) }
        if let above = work.above {
            let statement = try Statement(
                "\(Self.columns) WHERE reference > ? AND reference <= ? ORDER BY reference LIMIT ?", on: connection, path: path)
            statement.bind(1, above)
            statement.bind(2, work.through)
            statement.bind(3, Int64(rows))
            var low = above + 1
            // What does not fill a block waits for more.
            _ = try blocks(of: statement) { references, block in
                var block = block
                block.low = low
                block.high = references.upperBound
                low = block.high + 1
                made.risen.append(block)
            }
        }
        guard let below = work.below else { return made }
        let statement = try Statement(
            "\(Self.columns) WHERE reference < ? ORDER BY reference DESC LIMIT ?", on: connection, path: path)
        statement.bind(1, below)
        statement.bind(2, Int64(rows))
        var high = below - 1
        let (seen, rest) = try blocks(of: statement) { references, block in
            var block = block
            block.high = high
            block.low = references.lowerBound
            high = block.low - 1
            made.sunk.append(block)
        }
        if seen < rows {
            // All that is left goes into the last, however few they are, but for a table with hardly anything in it.
            made.isComplete = work.above != nil || !made.sunk.isEmpty
            if made.isComplete, var rest {
                rest.low = .min
                rest.high = high
                made.sunk.append(rest)
            }
        }
        return made
    }

    /// Hands over each full block with the references in it; returns how many rows there were, and a block that is not full.
    private func blocks(
        of statement: Statement, _ take: (ClosedRange<Int64>, DecisionIndex.Block) -> Void
    ) throws -> (rows: Int, rest: DecisionIndex.Block?) {
        var seen = 0
        var inBlock = 0
        var block = DecisionIndex.Block(low: 0, high: 0)
        var range: ClosedRange<Int64> = 0...0
        while try statement.step() {
            let reference = statement.integer(0)
            range = inBlock == 0 ? reference...reference : min(range.lowerBound, reference)...max(range.upperBound, reference)
            block.newest = max(block.newest, statement.integer(1))
            block.bits.insert(DecisionIndex.place(ofWord: statement.octets(2), .action))
            DecisionIndex.places(statement.octets(3), .address) { block.bits.insert($0) }
            DecisionIndex.places(statement.octets(4), .sender) { block.bits.insert($0) }
            DecisionIndex.places(statement.octets(5), .recipient) { block.bits.insert($0) }
            seen += 1
            inBlock += 1
            if inBlock == DecisionIndex.blockRows {
                take(range, block)
                block = DecisionIndex.Block(low: 0, high: 0)
                inBlock = 0
            }
        }
        return (seen, inBlock > 0 ? block : nil)
    }
}
