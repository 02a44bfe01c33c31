import Foundation

/// A connected socket that carries lines, with a deadline for each.
final class ControlSocket {
    private let descriptor: Int32
    private var buffer: [UInt8] = []
    private var searched = 0

    /// Takes over the descriptor, and closes it in the end.
    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    enum Failure: Error, Equatable {
        case timedOut
        case tooLong
        case system(Int32)

        var words: String {
            switch self {
            case .timedOut: "no answer in time"
            case .tooLong: "the line is too long"
            case .system(let code): String(cString: strerror(code))
            }
        }
    }

    private static let chunk = 65_536

    /// The next line without its line feed; `nil` at the end, also where the last line is broken off.
    func readLine(atMost limit: Int, within seconds: Double) throws(Failure) -> [UInt8]? {
        let deadline = DispatchTime.now() + seconds
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                guard end <= limit else { throw .tooLong }
                let line = Array(buffer[..<end])
                buffer.removeFirst(end + 1)
                searched = 0
                return line
            }
            searched = buffer.count
            guard buffer.count <= limit else { throw .tooLong }
            try wait(for: Int16(POLLIN), until: deadline)
            var chunk = [UInt8](repeating: 0, count: Self.chunk)
            let count = recv(descriptor, &chunk, chunk.count, 0)
            switch count {
            case 1...: buffer += chunk[..<count]
            case 0: return nil
            default: try interrupted()
            }
        }
    }

    func write(_ bytes: [UInt8], within seconds: Double) throws(Failure) {
        let deadline = DispatchTime.now() + seconds
        var sent = 0
        while sent < bytes.count {
            try wait(for: Int16(POLLOUT), until: deadline)
            let count = bytes[sent...].withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            if count >= 0 { sent += count } else { try interrupted() }
        }
    }

    private func interrupted() throws(Failure) {
        let code = errno
        guard code == EINTR || code == EAGAIN else { throw .system(code) }
    }

    private func wait(for events: Int16, until deadline: DispatchTime) throws(Failure) {
        while true {
            let now = DispatchTime.now()
            guard now < deadline else { throw .timedOut }
            let left = (deadline.uptimeNanoseconds - now.uptimeNanoseconds) / 1_000_000 + 1
            var entry = pollfd(fd: descriptor, events: events, revents: 0)
            let result = poll(&entry, 1, Int32(clamping: left))
            if result > 0 { return }
            if result < 0, errno != EINTR { throw .system(errno) }
        }
    }
}

/// The address of a UNIX socket (unix(7)); `nil` for a path that does not fit with its final NUL.
func unixAddress(_ path: String) -> sockaddr_un? {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    let fits = withUnsafeMutableBytes(of: &address.sun_path) { room in
        guard !bytes.isEmpty, bytes.count < room.count, !bytes.contains(0) else { return false }
        room.copyBytes(from: bytes)
        return true
    }
    return fits ? address : nil
}

/// A UNIX stream socket with `body` (connect or bind) done on it; else the error number.
func unixSocket(_ path: String, _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Result<Int32, ControlSocket.Failure> {
    guard var address = unixAddress(path) else { return .failure(.system(ENAMETOOLONG)) }
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return .failure(.system(errno)) }
    let result = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
    guard result == 0 else {
        let code = errno
        close(descriptor)
        return .failure(.system(code))
    }
    return .success(descriptor)
}
