import Foundation
import GRDBSQLite
import PosternEngine

/// Writes the write-ahead log back into the database, on a thread and a connection of its own, so that no answer waits
/// for it.
///
/// A passive checkpoint runs beside the writer, but the log starts over only when all of it is written back while
/// nobody writes. So once the log is too long and little of it is left to do, the writer is asked to do the rest
/// between two transactions.
// All that changes is touched only while the condition's lock is held.
final class Checkpointer: @unchecked Sendable {
    private let condition = SteadyCondition()
    private var isDirty = false
    /// Whether the log is longer than it should be.
    private var isUrgent = false
    /// The log's length at the last commit, and when it was last written back.
    private var length: Int32 = 0
    private var lengthBefore: Int32 = 0
    /// Whether it has grown by so much since that it is not to wait any longer.
    private var isMuch: Bool { length - lengthBefore >= Self.much }
    private var writerIsAsked = false
    private var isStopped = false
    private var hasEnded = false

    private let path: String
    private let maximumFrames: Int32

    /// A commit is written back, and with it synced, at most this long after.
    static let interval: Double = 0.5
    /// So many frames are written back at once without waiting for that: the more there are, the longer does the disk keep others
    /// from writing.
    static let much: Int32 = 1024
    /// So few frames the writer writes back itself.
    static let tail: Int32 = 256
    /// Past this many times the wanted size the writer does the rest however much it is.
    static let patience: Int32 = 2
    /// Past this many times the wanted size every commit is held up, which bounds the log as long as no reader stands in
    /// the way, as a backup does.
    static let limit: Int32 = 3
    /// For how long, in seconds.
    static let brake = 0.05
    private static let pageOctets = 4096

    init(path: String, journalBytes: Int) {
        self.path = path
        maximumFrames = Int32(clamping: max(journalBytes / Self.pageOctets, 16))
        let thread = Thread { [self] in run() }
        thread.name = "postern-ckpt"
        thread.start()
    }

    // MARK: - Called by the writer

    /// After every commit, with the log's length. `true` when the writer is to call `finish` now. Holds a writer up that
    /// outruns the disk.
    func committed(frames: Int32) -> Bool {
        condition.lock()
        defer { condition.unlock() }
        let isLong = frames > maximumFrames
        let wasMuch = isMuch
        length = frames
        // It may have begun anew.
        lengthBefore = min(lengthBefore, frames)
        if !isDirty || isLong != isUrgent || isMuch != wasMuch {
            isDirty = true
            isUrgent = isLong
            condition.broadcast()
        }
        if frames > Self.limit * maximumFrames {
            let until = SteadyCondition.Moment(in: Self.brake)
            while !writerIsAsked, !isStopped, condition.wait(until: until) {}
        }
        return writerIsAsked
    }

    /// Writes back the rest on the writer's connection, so that its next transaction starts the log over.
    func finish(on connection: OpaquePointer) {
        sqlite3_wal_checkpoint_v2(connection, "main", SQLITE_CHECKPOINT_PASSIVE, nil, nil)
        condition.lock()
        defer { condition.unlock() }
        writerIsAsked = false
        isUrgent = false
        isDirty = false
        condition.broadcast()
    }

    /// Ends the thread and closes its connection.
    func stop() {
        condition.lock()
        defer { condition.unlock() }
        isStopped = true
        condition.broadcast()
        while !hasEnded { condition.wait() }
    }

    // MARK: - The thread

    private func run() {
        stepBack()
        var handle: OpaquePointer?
        if sqlite3_open_v2(path, &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nil) == SQLITE_OK {
            sqlite3_exec(handle, "PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -256", nil, nil, nil)
            while waitForWork() { work(handle) }
        } else {
            while waitForWork() {}
        }
        sqlite3_close(handle)
        condition.lock()
        defer { condition.unlock() }
        hasEnded = true
        condition.broadcast()
    }

    /// `false` when there is nothing more to do, ever.
    private func waitForWork() -> Bool {
        condition.lock()
        defer { condition.unlock() }
        while !isDirty, !isStopped { condition.wait() }
        let due = SteadyCondition.Moment(in: Self.interval)
        while !isStopped, !isUrgent, !isMuch, condition.wait(until: due) {}
        isDirty = false
        isUrgent = false
        lengthBefore = length
        return !isStopped
    }

    /// Through SQLite: to close a descriptor of our own would let go of the locks of all.
    private static func syncDatabase(_ handle: OpaquePointer?) {
        var file: UnsafeMutablePointer<sqlite3_file>?
        guard sqlite3_file_control(handle, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK, let file else { return }
        _ = file.pointee.pMethods?.pointee.xSync?(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY)
    }

    private var isStopping: Bool {
        condition.lock()
        defer { condition.unlock() }
        return isStopped
    }

    private func work(_ handle: OpaquePointer?) {
        var previous = Int32.max
        while true {
            var frames: Int32 = 0
            var done: Int32 = 0
            let code = sqlite3_wal_checkpoint_v2(handle, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &done)
            // What fails here the writer will meet too, and report.
            guard code == SQLITE_OK, frames > maximumFrames else { return }
            if isStopping { return }
            // SQLite syncs the database only where nothing is left to do; so that would fall to the writer.
            Self.syncDatabase(handle)
            let left = frames - done
            guard left < Self.tail || left >= previous || frames > Self.patience * maximumFrames else {
                previous = left
                continue
            }
            condition.lock()
            writerIsAsked = true
            condition.broadcast()
            let patience = SteadyCondition.Moment(in: Self.interval)
            while writerIsAsked, !isStopped, condition.wait(until: patience) {}
            condition.unlock()
            return
        }
    }
}

/// Lets other threads come before the calling one where there are few cores: somebody waits for an answer.
func stepBack() {
    // Linux takes 0 for the calling thread.
    _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10)
}
