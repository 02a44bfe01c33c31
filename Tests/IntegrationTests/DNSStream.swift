import Foundation
import IntegrationSupport

/// A TCP connection to a DNS service from a loopback address of the test's choice.
final class DNSStream {
    private let descriptor: Int32

    init(from source: String, port: UInt16) throws {
        guard let descriptor = LoopbackConnection.connected(port: port, from: source) else {
            throw TestFailure("no connection from \(source)")
        }
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Asks for the zone's test entry; whether an answer comes (RFC 1035 §4.2.2: after its length in two octets).
    func isAnswered() -> Bool {
        var query: [UInt8] = [0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        for label in "2.0.0.127.bl.example.net".split(separator: ".") { query += [UInt8(label.utf8.count)] + Array(label.utf8) }
        query += [0, 0, 1, 0, 1]
        let message = [UInt8(query.count >> 8), UInt8(query.count & 0xff)] + query
        guard send(descriptor, message, message.count, Int32(MSG_NOSIGNAL)) == message.count else { return false }
        var reply = [UInt8](repeating: 0, count: 512)
        let count = recv(descriptor, &reply, reply.count, 0)
        // The same ID, a response, NOERROR, one answer.
        return count > 14 && reply[2...3] == [0, 7] && reply[4] & 0x80 != 0 && reply[5] & 0x0f == 0 && reply[8...9] == [0, 1]
    }

    /// Whether the service has closed it.
    var isClosed: Bool {
        var octet: UInt8 = 0
        let count = recv(descriptor, &octet, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
        return count == 0 || (count < 0 && errno != EAGAIN)
    }
}
