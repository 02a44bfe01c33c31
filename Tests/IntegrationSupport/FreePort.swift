import Foundation

/// TCP ports for servers that cannot be given port 0 themselves.
public enum FreePort {
    /// A TCP port that was free on `address` a moment ago, chosen by the kernel, and not given out before by this process.
    public static func next(on address: String = "127.0.0.1") throws -> UInt16 {
        for _ in 0..<100 {
            let port = try anyPort(on: address)
            if given.insert(port) { return port }
        }
        throw TestFailure("the kernel offers no new port on \(address)")
    }

    private static let given = GivenPorts()

    private static func anyPort(on address: String) throws -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw TestFailure("socket: \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        guard inet_pton(AF_INET, address, &name.sin_addr) == 1 else { throw TestFailure("not an IPv4 address: \(address)") }
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard result else { throw TestFailure("bind to \(address): \(String(cString: strerror(errno)))") }
        return UInt16(bigEndian: name.sin_port)
    }

    /// Whether anything listens on `port`, read from the kernel's table: a trial connection would show in a server's log
    /// and policy requests.
    public static func isListening(_ port: UInt16) -> Bool {
        let wanted = ":" + String(port, radix: 16, uppercase: true).leftPadded(to: 4)
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in String(decoding: whole(table), as: UTF8.self).split(separator: "\n").dropFirst() {
                // sl, local address, remote address, state; 0A is LISTEN.
                let fields = line.split(separator: " ", maxSplits: 4)
                if fields.count > 3, fields[3] == "0A", fields[1].hasSuffix(wanted) { return true }
            }
        }
        return false
    }
}

/// All of a file of the kernel's, which hands it out a page at a time: Foundation takes a short read for the end.
private func whole(_ path: String) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var octets: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while case let count = read(descriptor, &buffer, buffer.count), count > 0 { octets += buffer[..<count] }
    return octets
}

extension String {
    fileprivate func leftPadded(to length: Int) -> String {
        String(repeating: "0", count: max(0, length - count)) + self
    }
}

// Guarded by its lock.
private final class GivenPorts: @unchecked Sendable {
    private let lock = NSLock()
    private var ports: Set<UInt16> = []

    func insert(_ port: UInt16) -> Bool {
        lock.withLock { ports.insert(port).inserted }
    }
}
