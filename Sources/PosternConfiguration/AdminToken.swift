import Glibc

/// The secret that whoever looks at an admin listener must know: the first line of a file that not everybody may read.
public enum AdminToken {
    /// Characters of a token at least: 16 of base 64 are 96 bits.
    public static let shortest = 16

    public struct Failure: Error, CustomStringConvertible, Sendable {
        public let description: String
    }

    public static func read(_ path: String) throws(Failure) -> String {
        guard let file = fopen(path, "re") else {
            throw Failure(description: "\(path) cannot be read: \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        var status = stat()
        guard fstat(fileno(file), &status) == 0, status.st_mode & 0o007 == 0 else {
            throw Failure(description: "everybody may read \(path); take that away with `chmod o-rwx \(path)`")
        }
        var buffer = [CChar](repeating: 0, count: 1024)
        let line = fgets(&buffer, 1024, file) == nil ? [] : buffer.prefix { $0 != 0 && $0 != 10 && $0 != 13 }
        let token = String(decoding: line.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard token.utf8.count >= shortest else {
            throw Failure(
                description: "the first line of \(path) has fewer than \(shortest) characters; make one with `openssl rand -hex 24`")
        }
        return token
    }
}
