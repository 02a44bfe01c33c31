import GRDB
import GRDBSQLite
import PosternCore
import PosternEngine

// Makes the blocks of `DecisionIndex` for what was there when the store was opened, beside the writer and in small steps.

extension SQLiteStore {
    /// Decisions that one step reads: some tens of milliseconds of a reader's time.
    static let indexStepRows = 50_000

    /// Makes blocks for some of the decisions that have none. Called again and again by upkeep; where all have one it costs
    /// nothing.
    public func indexStep() async throws(StoreFailure) {
        let index = index
        guard index.isWanting else { return }
        let work = try await onWriter(writes: false) { _ throws(StoreFailure) in index.begin() }
        guard let work else { return }
        let path = opening.path
        do throws(StoreFailure) {
            let made = try await onReader { db in try BlockMaking(db, path: path).make(work, decisions: Self.indexStepRows) }
            index.finish(work, made.blocks, isComplete: made.isComplete)
        } catch {
            index.abandon(work)
            throw error
        }
    }
}

/// Reads decisions and makes blocks of them, on a reader's connection.
private struct BlockMaking {
    private let connection: OpaquePointer
    private let path: String

    init(_ db: Database, path: String) throws {
        guard let connection = db.sqliteConnection else { throw StoreFailure.closed }
        self.connection = connection
        self.path = path
    }

    /// Blocks of the next decisions below what has blocks, the highest first, and whether nothing is left.
    func make(_ work: DecisionIndex.Work, decisions: Int) throws -> (blocks: [DecisionIndex.Block], isComplete: Bool) {
        let statement = try Statement(DecisionLot.selection, on: connection, path: path)
        statement.bind(1, Int64.min)
        statement.bind(2, work.below - 1)
        var blocks: [DecisionIndex.Block] = []
        var block = DecisionIndex.Block(low: .min, high: work.below - 1)
        var inBlock = 0
        while try statement.step() {
            var lot = DecisionLot(statement.octets(0))
            while let decision = lot.next() {
                guard decision.reference < work.below else { continue }
                block.insert(decision)
                inBlock += 1
                guard inBlock == DecisionIndex.blockRows else { continue }
                block.low = decision.reference
                blocks.append(block)
                if blocks.count * DecisionIndex.blockRows >= decisions, decision.reference > .min { return (blocks, false) }
                block = DecisionIndex.Block(low: .min, high: max(decision.reference, .min + 1) - 1)
                inBlock = 0
            }
            if lot.isDamaged { throw StoreFailure.damagedDecisions(path: path) }
        }
        // The last has all that is left, however little, and stands for what may still come below.
        blocks.append(block)
        return (blocks, true)
    }
}
