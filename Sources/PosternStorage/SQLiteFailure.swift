import Foundation
import GRDB
import GRDBSQLite
import PosternEngine

extension StoreFailure {
    /// What a result code of SQLite's means to the admin. `code` may be an extended one (sqlite.org/rescode.html).
    static func sqlite(_ code: Int32, _ detail: String, path: String, systemError: Int32 = 0) -> StoreFailure {
        switch code & 0xff {
        case SQLITE_BUSY, SQLITE_LOCKED:
            return StoreFailure(.locked, "the database \(path) is locked by another process (\(detail)); end that process or wait for it")
        case SQLITE_FULL:
            return StoreFailure(.full, "no room to write the database \(path) (\(detail)); free disk space, or raise its limit")
        case SQLITE_IOERR where systemError == ENOSPC || systemError == EDQUOT:
            return StoreFailure(
                .full, "no room to write the database \(path) (\(systemMessage(systemError))); free disk space or raise the quota")
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            return StoreFailure(
                .corrupt,
                "the database \(path) is damaged or is no database (\(detail)); restore a backup, or move the file and its -wal and -shm away to start afresh"
            )
        case SQLITE_READONLY where code == readOnlyDatabaseMoved:
            return .replaced(path)
        case SQLITE_CANTOPEN, SQLITE_PERM, SQLITE_READONLY, SQLITE_AUTH:
            let reason = systemError == 0 ? detail : "\(detail): \(systemMessage(systemError))"
            return StoreFailure(
                .denied,
                "cannot open or write the database \(path) (\(reason)); the file and its folder must exist and be writable to the user that runs Postern"
            )
        default:
            let reason = systemError == 0 ? detail : "\(detail): \(systemMessage(systemError))"
            return StoreFailure(.other, "the database \(path) failed (SQLite \(code): \(reason))")
        }
    }

    /// SQLITE_READONLY_DBMOVED, which is not imported.
    private static let readOnlyDatabaseMoved = SQLITE_READONLY | 4 << 8

    static func replaced(_ path: String) -> StoreFailure {
        StoreFailure(
            .other, "the database file \(path) was deleted or replaced while in use; what is at that path now is used from here on")
    }

    static let closed = StoreFailure(.closed, "the store is closed")

    static func overloaded(_ waiting: Int) -> StoreFailure {
        StoreFailure(.overloaded, "\(waiting) transactions wait for the store, more are not taken; the disk may be slow")
    }

    /// Any error that came out of GRDB or of our own code.
    init(_ error: any Error, path: String) {
        switch error {
        case let failure as StoreFailure:
            self = failure
        case let error as DatabaseError:
            self = .sqlite(error.extendedResultCode.rawValue, error.message ?? "no detail", path: path)
        case is CancellationError:
            self = StoreFailure(.other, "cancelled")
        default:
            self = StoreFailure(.other, "the database \(path) failed: \(error)")
        }
    }
}
