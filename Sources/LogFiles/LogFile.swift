import Glibc
import PosternCore
import PosternReplay

/// A file as it lies on the disk, or standard input: plain, or compressed by gzip or zstd, as its first octets say. By the
/// libraries themselves: a file that breaks off is told from one that ends, a pipe can be decompressed too, and nothing depends
/// on programs that may not be there.
public final class LogFile: ByteSource {
    /// Octets that are asked of the disk, and of a decompressor, at once.
    static let block = 262_144

    private let name: String
    private let descriptor: Int32
    private var decompressor: (any Decompressor)?
    private var isFirst = true
    private var isAtEnd = false
    public private(set) var consumed: Int64 = 0

    /// A file to be read; a name of `-` is standard input. Throws where there is no such file, or none that may be read.
    public static func file(_ path: String) throws(InputFailure) -> InputFile {
        guard path != "-" else {
            // What comes through a pipe is taken to have been written up to now.
            var status = stat()
            let isFile = fstat(STDIN_FILENO, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
            let modified = isFile ? modified(status) : WallTime(seconds: Int64(time(nil)))
            return InputFile(name: "standard input", modified: modified, isRepeatable: false) { () throws(InputFailure) in
                LogFile(name: "standard input", descriptor: dup(STDIN_FILENO))
            }
        }
        var status = stat()
        guard stat(path, &status) == 0, access(path, R_OK) == 0 else { throw failure(path) }
        guard status.st_mode & S_IFMT != S_IFDIR else { throw InputFailure(file: path, message: "it is a folder") }
        let isRegular = status.st_mode & S_IFMT == S_IFREG
        return InputFile(
            name: path, size: isRegular ? Int64(status.st_size) : nil, modified: modified(status), isRepeatable: isRegular
        ) { () throws(InputFailure) in
            let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { throw failure(path) }
            posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL)
            return LogFile(name: path, descriptor: descriptor)
        }
    }

    private static func modified(_ status: stat) -> WallTime {
        WallTime(milliseconds: Int64(status.st_mtim.tv_sec) * 1000 + Int64(status.st_mtim.tv_nsec) / 1_000_000)
    }

    private static func failure(_ path: String) -> InputFailure {
        InputFailure(file: path, message: String(cString: strerror(errno)))
    }

    private init(name: String, descriptor: Int32) {
        self.name = name
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    public func read(into buffer: inout [UInt8]) throws(InputFailure) -> Bool {
        while true {
            if let decompressor {
                switch decompressor.next(into: &buffer) {
                case .octets: return true
                case .hungry: break
                case .failure(let message): throw InputFailure(file: name, message: message)
                }
            }
            guard !isAtEnd else { return false }
            let block = try block()
            if block.isEmpty {
                isAtEnd = true
                if let decompressor, decompressor.isWithin {
                    throw InputFailure(file: name, message: "the compressed data is cut off")
                }
                return false
            }
            if isFirst {
                isFirst = false
                decompressor = try Self.decompressor(block, name: name)
            }
            if let decompressor {
                decompressor.feed(block)
            } else {
                buffer += block
                return true
            }
        }
    }

    /// The next octets of the file; empty at its end.
    private func block() throws(InputFailure) -> [UInt8] {
        var failed: Int32 = 0
        let block = [UInt8](unsafeUninitializedCapacity: Self.block) { buffer, count in
            var got: Int
            repeat { got = Glibc.read(descriptor, buffer.baseAddress, Self.block) } while got < 0 && errno == EINTR
            failed = got < 0 ? errno : 0
            count = max(got, 0)
        }
        guard failed == 0 else { throw InputFailure(file: name, message: String(cString: strerror(failed))) }
        consumed += Int64(block.count)
        return block
    }

    /// What undoes a file's compression, by its first octets; `nil` for one that has none.
    private static func decompressor(_ start: [UInt8], name: String) throws(InputFailure) -> (any Decompressor)? {
        func begins(_ magic: [UInt8]) -> Bool { start.starts(with: magic) }
        // RFC 1952 §2.3.1; RFC 8878 §3.1.1 and §3.1.2.
        if begins([0x1f, 0x8b]) { return Gzip() }
        if begins([0x28, 0xb5, 0x2f, 0xfd]) { return Zstandard() }
        if let first = start.first, first & 0xf0 == 0x50, start.dropFirst().starts(with: [0x2a, 0x4d, 0x18]) { return Zstandard() }
        for (magic, program) in [([0x42, 0x5a, 0x68], "bzip2"), ([0xfd, 0x37, 0x7a, 0x58, 0x5a], "xz")] as [([UInt8], String)]
        where begins(magic) {
            throw InputFailure(
                file: name, message: "it is compressed by \(program): give it through a pipe, \(program) -dc FILE | postern replay -",
                isBadData: true)
        }
        return nil
    }
}

/// Undoes a compression, piece by piece.
protocol Decompressor: AnyObject {
    /// Hands over the next octets of the file. Called when `next` was hungry.
    func feed(_ block: [UInt8])
    /// Appends what comes out of what was fed, up to a block.
    func next(into buffer: inout [UInt8]) -> Decompressed
    /// Whether the file must go on.
    var isWithin: Bool { get }
}

enum Decompressed {
    /// Some octets were appended.
    case octets
    /// More must be fed.
    case hungry
    case failure(String)
}
