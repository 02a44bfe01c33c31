import Foundation

/// One HTTP request, over a connection of its own on loopback, with a bound on every wait.
public enum WebClient {
    public struct Answer: Sendable {
        public let status: Int
        /// Names in lower case.
        public let headers: [String: String]
        public let body: String
        /// From the request to the first octet of the answer.
        public let firstOctet: Duration

        public func json() throws -> Any { try JSONSerialization.jsonObject(with: Data(body.utf8)) }
    }

    /// `headers` are added to those that every request has, or take their place. Where `octets` is given no more than that is read.
    public static func request(
        _ method: String = "GET", _ path: String, port: UInt16, headers: [String: String] = [:], body: String? = nil,
        atMost octets: Int = .max
    ) throws -> Answer {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let connected = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard connected == 0 else { throw TestFailure("nothing listens on port \(port)") }
        var patience = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))

        var fields = ["host": "127.0.0.1:\(port)", "connection": "close"]
        if let body { fields["content-length"] = String(body.utf8.count) }
        for (name, value) in headers { fields[name.lowercased()] = value }
        let head = fields.map { "\($0.key): \($0.value)\r\n" }.joined()
        let request = Array("\(method) \(path) HTTP/1.1\r\n\(head)\r\n\(body ?? "")".utf8)
        let began = ContinuousClock.now
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
            throw TestFailure("the request was not taken")
        }

        var received: [UInt8] = []
        var first: Duration?
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while received.count < octets, case let count = read(descriptor, &buffer, buffer.count), count > 0 {
            first = first ?? ContinuousClock.now - began
            received += buffer[..<count]
        }
        guard let end = received.firstRange(of: Array("\r\n\r\n".utf8)), let first else {
            throw TestFailure("no answer to \(method) \(path): \(String(decoding: received, as: UTF8.self))")
        }
        let lines = String(decoding: received[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
        var answers: [String: String] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            answers[line[..<colon].lowercased()] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
        var content = Array(received[end.upperBound...])
        if answers["transfer-encoding"] == "chunked" { content = unchunked(content) }
        let status = lines.first?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return Answer(status: status, headers: answers, body: String(decoding: content, as: UTF8.self), firstOctet: first)
    }

    /// RFC 9112 §7.1, as far as it came.
    private static func unchunked(_ octets: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        var rest = octets[...]
        while let end = rest.firstRange(of: Array("\r\n".utf8)) {
            guard let size = Int(String(decoding: rest[..<end.lowerBound], as: UTF8.self), radix: 16), size > 0 else { break }
            rest = rest[end.upperBound...]
            out += rest.prefix(size)
            rest = rest.dropFirst(size + 2)
        }
        return out
    }
}
