import GRDBSQLite
import PosternEngine

/// A prepared statement on the raw handle of a connection, for what runs thousands of times a second. Used only while
/// its connection is ours.
final class Statement {
    private let handle: OpaquePointer
    private let connection: OpaquePointer
    private let path: String

    init(_ sql: String, on connection: OpaquePointer, path: String) throws(StoreFailure) {
        var handle: OpaquePointer?
        let code = sqlite3_prepare_v3(connection, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &handle, nil)
        guard code == SQLITE_OK, let handle else { throw sqliteFailure(of: connection, path: path) }
        self.handle = handle
        self.connection = connection
        self.path = path
    }

    deinit { sqlite3_finalize(handle) }

    func bind(_ index: Int32, _ value: Int64) { sqlite3_bind_int64(handle, index, value) }

    func bind(_ index: Int32, _ value: Int64?) {
        if let value { sqlite3_bind_int64(handle, index, value) } else { sqlite3_bind_null(handle, index) }
    }

    /// The octets must live until `reset`.
    func bind(_ index: Int32, text: UnsafeRawBufferPointer) {
        guard let start = text.baseAddress, !text.isEmpty else {
            sqlite3_bind_text(handle, index, "", 0, nil)
            return
        }
        sqlite3_bind_text(handle, index, start.assumingMemoryBound(to: CChar.self), Int32(text.count), nil)
    }

    /// The octets must live until `reset`.
    func bind(_ index: Int32, blob: UnsafeRawBufferPointer) {
        if blob.isEmpty {
            sqlite3_bind_null(handle, index)
        } else {
            sqlite3_bind_blob(handle, index, blob.baseAddress, Int32(blob.count), nil)
        }
    }

    /// `true` while there is a row.
    func step() throws(StoreFailure) -> Bool {
        switch sqlite3_step(handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        default:
            let failure = sqliteFailure(of: connection, path: path)
            sqlite3_reset(handle)
            throw failure
        }
    }

    func reset() { sqlite3_reset(handle) }

    /// Steps once and resets, for what yields no row that matters.
    func run() throws(StoreFailure) {
        _ = try step()
        sqlite3_reset(handle)
    }

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }

    func optionalInteger(_ column: Int32) -> Int64? {
        sqlite3_column_type(handle, column) == SQLITE_NULL ? nil : sqlite3_column_int64(handle, column)
    }

    /// Valid until the next step or reset.
    func octets(_ column: Int32) -> UnsafeRawBufferPointer {
        let start = sqlite3_column_blob(handle, column)
        return UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : Int(sqlite3_column_bytes(handle, column)))
    }

    func text(_ column: Int32) -> String { String(decoding: octets(column), as: UTF8.self) }
}

/// The last error of a connection.
func sqliteFailure(of connection: OpaquePointer, path: String) -> StoreFailure {
    .sqlite(
        sqlite3_extended_errcode(connection), String(cString: sqlite3_errmsg(connection)), path: path,
        systemError: sqlite3_system_errno(connection))
}
