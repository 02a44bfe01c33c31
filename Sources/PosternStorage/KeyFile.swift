import Foundation
import PosternEngine

/// The secret behind a store's keys: 32 random octets in a file of their own beside the database (mode 0600), so that
/// the database alone, or its copy, tells nobody who wrote to whom.
enum KeyFile {
    /// Reads the secret. `nil` where there is no such file; throws where it cannot be read or is no key.
    static func read(_ path: String) throws(StoreFailure) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            let code = errno
            if code == ENOENT { return nil }
            throw unreadable(code, path)
        }
        defer { close(descriptor) }
        // One octet more than a key has, to tell a longer file.
        var bytes = [UInt8](repeating: 0, count: KeyHasher.secretLength + 1)
        var count = 0
        while count < bytes.count {
            let wanted = bytes.count - count
            let got = bytes.withUnsafeMutableBytes { Foundation.read(descriptor, $0.baseAddress! + count, wanted) }
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw unreadable(errno, path) }
            if got == 0 { break }
            count += got
        }
        guard count == KeyHasher.secretLength else {
            throw StoreFailure(
                .corrupt,
                "the key file \(path) is not \(KeyHasher.secretLength) octets long; restore it from a backup, or move the key file and the database away to start afresh"
            )
        }
        return Array(bytes.prefix(count))
    }

    /// Makes a new secret and its file; where another process was quicker, theirs is taken.
    static func make(_ path: String) throws(StoreFailure) -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        let secret = (0..<KeyHasher.secretLength).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        if try write(secret, to: path) { return secret }
        guard let theirs = try read(path) else { throw StoreFailure(.other, "the key file \(path) vanished while it was read; try again") }
        return theirs
    }

    /// Writes a secret to a new file, whole or not at all, and syncs it; `false` where the file is there already.
    static func write(_ secret: [UInt8], to path: String) throws(StoreFailure) -> Bool {
        let partial = "\(path).\(getpid()).\(UInt32.random(in: .min ... .max)).partial"
        let descriptor = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure(errno, path) }
        defer { unlink(partial) }
        var written = 0
        while written < secret.count {
            let put = secret.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress! + written, secret.count - written) }
            if put < 0, errno == EINTR { continue }
            guard put > 0 else {
                let code = errno
                close(descriptor)
                throw failure(code, path)
            }
            written += put
        }
        let synced = fsync(descriptor)
        let code = errno
        close(descriptor)
        guard synced == 0 else { throw failure(code, path) }
        // A link, unlike a renaming, never replaces what is there.
        guard link(partial, path) == 0 else {
            if errno == EEXIST { return false }
            throw failure(errno, path)
        }
        syncFolder(of: path)
        return true
    }

    private static func unreadable(_ code: Int32, _ path: String) -> StoreFailure {
        let kind = StoreFailure.Kind(errno: code)
        let advice =
            switch kind {
            case .denied: "; make it readable to the user that runs Postern"
            case .uncreatable: "; data_directory must name a folder, and the key file in it must be a file"
            default: ""
            }
        return StoreFailure(kind, "cannot read the key file \(path): \(systemMessage(code))\(advice)")
    }

    private static func failure(_ code: Int32, _ path: String) -> StoreFailure {
        StoreFailure(
            StoreFailure.Kind(errno: code),
            "cannot write the key file \(path): \(systemMessage(code)); the folder must exist and be writable to the user that runs Postern"
        )
    }
}

extension StoreFailure.Kind {
    /// What it means that a file or folder could not be opened, made or written: permission is lacking in two cases only.
    init(errno code: Int32) {
        switch code {
        case EACCES, EPERM: self = .denied
        case ENOSPC, EDQUOT: self = .full
        case ENOENT, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG, EROFS: self = .uncreatable
        default: self = .other
        }
    }
}

/// The system's words for an `errno`.
func systemMessage(_ code: Int32) -> String { String(cString: strerror(code)) }

/// Makes a new or renamed file's name durable; best effort, since some file systems cannot.
func syncFolder(of path: String) {
    let folder = (path as NSString).deletingLastPathComponent
    let descriptor = open(folder.isEmpty ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
}
