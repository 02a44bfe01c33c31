import Glibc

/// The file by which a UNIX socket of ours is found. Another may have taken its place since.
public struct SocketFile: Equatable, Sendable {
    public let path: String
    private let device: dev_t
    private let inode: ino_t

    /// The file that stands there now; `nil` where there is none.
    public init?(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        self.path = path
        device = status.st_dev
        inode = status.st_ino
    }

    /// Removes it, and nothing that stands in its place. To be called while the socket is open: until then nobody else has its inode.
    public func remove() {
        if SocketFile(path) == self { unlink(path) }
    }
}
