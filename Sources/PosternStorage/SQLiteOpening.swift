import Foundation
import PosternCore
import PosternEngine

/// What it takes to open a store's files, the first time and again after a failure.
struct SQLiteOpening: Sendable {
    let path: String
    let keyPath: String
    let settings: SQLiteSettings
    let secret: [UInt8]
    let hasher: KeyHasher
    let index = DecisionIndex()
    /// Held for as long as the store lives, through failures of the database.
    private let lock: StoreLock?

    /// Looks at both files and finds or makes the secret; writes nothing to the database.
    init(path: String, keyPath: String, settings: SQLiteSettings) throws(StoreFailure) {
        self.path = path
        self.keyPath = keyPath
        self.settings = settings
        // Told before there is a lock file beside it.
        var status = stat()
        if stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
            throw StoreFailure(.uncreatable, "\(path) is not a file that a database can be in; name another")
        }
        lock =
            try settings.lock.map { kind throws(StoreFailure) in
                try StoreLock(path + ".lock", isShared: kind == .shared, patience: settings.lockPatience)
            } ?? nil
        let exists = try Schema.inspect(path, busyTimeout: Int32(clamping: settings.busyTimeout.milliseconds))
        if let found = try KeyFile.read(keyPath) {
            secret = found
        } else if exists {
            throw Self.missing(keyPath, path)
        } else {
            secret = try KeyFile.make(keyPath)
        }
        guard let hasher = KeyHasher(secret: secret) else { throw StoreFailure(.corrupt, "the key file \(keyPath) is no key") }
        self.hasher = hasher
    }

    private static func missing(_ keyPath: String, _ path: String) -> StoreFailure {
        StoreFailure(
            .corrupt,
            "the key file \(keyPath) is missing, without it nothing in the database \(path) is recognised; restore it from a backup, or move the database away to start afresh"
        )
    }

    func open(busyTimeout: WallTime.Span) throws(StoreFailure) -> HotDatabase {
        let exists = try Schema.inspect(path, busyTimeout: Int32(clamping: busyTimeout.milliseconds))
        switch try KeyFile.read(keyPath) {
        case secret: break
        case nil where !exists: _ = try KeyFile.write(secret, to: keyPath)
        case nil: throw Self.missing(keyPath, path)
        case .some: throw StoreFailure(.corrupt, "the key file \(keyPath) was replaced while in use; put it back, or restart Postern")
        }
        if !exists { try makeFile() }
        return try HotDatabase(path: path, settings: settings, hasher: hasher, index: index, busyTimeout: busyTimeout)
    }

    /// Decisions name people: the file, and with it what SQLite puts beside it, is for its owner alone.
    private func makeFile() throws(StoreFailure) {
        let descriptor = Foundation.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        if descriptor >= 0 {
            close(descriptor)
        } else if errno != EEXIST {
            throw StoreFailure(
                StoreFailure.Kind(errno: errno),
                "cannot make the database \(path): \(systemMessage(errno)); its folder must exist and be writable to the user that runs Postern"
            )
        }
    }
}
