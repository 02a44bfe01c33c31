import Glibc

/// A file that appears whole, in place of what was there, or not at all. Where the path is a symbolic link the file that it leads to is
/// replaced, and the link stays.
public struct AtomicFile: ~Copyable {
    private let path: String
    /// Where links lead.
    private let target: String
    private let temporary: String
    private let descriptor: Int32

    public struct Failure: Error, CustomStringConvertible {
        public let description: String
        public let number: Int32

        init(_ path: String) {
            number = errno
            description = "cannot write \(path): \(String(cString: strerror(number)))"
        }

        init(notAFile path: String) {
            number = EEXIST
            description = "cannot write \(path): there is something that is not a file"
        }
    }

    /// Whether something is there that a file must not take the place of: a device, a pipe, a folder.
    public static func isOccupied(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT != S_IFREG
    }

    /// Readable for everybody that may look into the folder, where `mode` is not another.
    public init(_ path: String, mode: mode_t = 0o644) throws(Failure) {
        guard !Self.isOccupied(path) else { throw Failure(notAFile: path) }
        let target = try Self.target(of: path)
        // The name can be guessed: what lies there is not ours to follow or to write to.
        let temporary = "\(target).new-\(getpid())"
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        var descriptor = open(temporary, flags, mode)
        if descriptor < 0, errno == EEXIST {
            // Of one who had our number and was killed.
            unlink(temporary)
            descriptor = open(temporary, flags, mode)
        }
        guard descriptor >= 0 else { throw Failure(path) }
        self.path = path
        self.target = target
        self.temporary = temporary
        self.descriptor = descriptor
    }

    private static func target(of path: String) throws(Failure) -> String {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFLNK else { return path }
        // As the system follows it, which it does not do with a stranger's link in a folder that everybody writes to.
        guard stat(path, &status) == 0, let real = realpath(path, nil) else { throw Failure(path) }
        defer { free(real) }
        return String(cString: real)
    }

    public func write(_ octets: ArraySlice<UInt8>) throws(Failure) {
        var rest = octets
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            guard count >= 0 || errno == EINTR else { throw Failure(path) }
            rest = rest.dropFirst(max(count, 0))
        }
    }

    /// Puts it in place, once it is on the disk.
    public consuming func finish() throws(Failure) {
        guard fsync(descriptor) == 0, rename(temporary, target) == 0 else { throw Failure(path) }
    }

    deinit {
        close(descriptor)
        // Where it was put in place there is none of this name any more.
        unlink(temporary)
    }
}
