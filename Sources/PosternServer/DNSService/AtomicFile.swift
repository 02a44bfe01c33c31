import Glibc

/// A file that appears whole, in place of what was there, or not at all.
struct AtomicFile: ~Copyable {
    private let path: String
    private let temporary: String
    private let descriptor: Int32

    struct Failure: Error, CustomStringConvertible {
        let description: String
        let number: Int32

        init(_ path: String) {
            number = errno
            description = "cannot write \(path): \(String(cString: strerror(number)))"
        }
    }

    /// Readable for everybody that may look into the folder, where `mode` is not another.
    init(_ path: String, mode: mode_t = 0o644) throws(Failure) {
        let temporary = "\(path).new-\(getpid())"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode)
        guard descriptor >= 0 else { throw Failure(path) }
        self.path = path
        self.temporary = temporary
        self.descriptor = descriptor
    }

    func write(_ octets: ArraySlice<UInt8>) throws(Failure) {
        var rest = octets
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            guard count >= 0 || errno == EINTR else { throw Failure(path) }
            rest = rest.dropFirst(max(count, 0))
        }
    }

    /// Puts it in place, once it is on the disk.
    consuming func finish() throws(Failure) {
        guard fsync(descriptor) == 0, rename(temporary, path) == 0 else { throw Failure(path) }
    }

    deinit {
        close(descriptor)
        // Where it was put in place there is none of this name any more.
        unlink(temporary)
    }
}
