import GRDB

/// Another program's SQLite file, read and never changed, also while that program runs.
public struct ForeignDatabase {
    private let queue: DatabaseQueue

    /// Why it cannot be read, in words.
    public struct Failure: Error, CustomStringConvertible {
        public let description: String

        public init(description: String) {
            self.description = description
        }
    }

    /// What every such file begins with (SQLite's file format, §1.3).
    public static let signature = Array("SQLite format 3\0".utf8)

    public init(path: String) throws(Failure) {
        var configuration = GRDB.Configuration()
        configuration.readonly = true
        // Its owner may be writing just now.
        configuration.busyMode = .timeout(5)
        do {
            queue = try DatabaseQueue(path: path, configuration: configuration)
        } catch {
            throw Failure(description: "\(path): \(Self.words(error))")
        }
    }

    /// Calls `body` with each row's columns as texts, in the table's order; NULL is empty. Returns `false` where there is no such
    /// table. Names are ours, never a stranger's.
    public func rows(of table: String, columns: [String], _ body: ([String]) -> Void) throws(Failure) -> Bool {
        do {
            return try queue.read { database in
                guard try database.tableExists(table) else { return false }
                let list = columns.map { "CAST(\"\($0)\" AS TEXT)" }.joined(separator: ", ")
                let cursor = try Row.fetchCursor(database, sql: "SELECT \(list) FROM \"\(table)\"")
                while let row = try cursor.next() { body((0..<columns.count).map { (row[$0] as String?) ?? "" }) }
                return true
            }
        } catch {
            throw Failure(description: "\(table): \(Self.words(error))")
        }
    }

    private static func words(_ error: any Error) -> String { (error as? DatabaseError)?.message ?? "\(error)" }
}
