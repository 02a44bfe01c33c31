import Foundation
import PosternCore
import PosternEngine

/// Says who uses a store's files: one daemon, or commands while there is none. What a daemon knows of lists and releases it has read
/// once, so nobody else may write them beside it.
///
/// A lock of the whole file (`flock`) on a file of its own, which stays: the system lets go of it when the process ends, however it does.
final class StoreLock: Sendable {
    private let descriptor: Int32

    /// How often a lock that another has is tried, in microseconds.
    private static let pause: UInt32 = 20_000

    /// Waits up to `patience` for whoever has it. `nil` where the file system knows no such locks, or the file cannot be made, which
    /// those who open the database are told.
    init?(_ path: String, isShared: Bool, patience: WallTime.Span) throws(StoreFailure) {
        descriptor = Foundation.open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return nil }
        let until = ContinuousClock.now + .milliseconds(patience.milliseconds)
        while flock(descriptor, (isShared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR else { return nil }
            guard ContinuousClock.now < until else {
                throw StoreFailure(
                    .locked, "the store is held by another Postern, which has locked \(path); let it end, or name another data_directory")
            }
            usleep(Self.pause)
        }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }
}
