import DNSListServer
import Glibc
import PosternCore
import PublishedLists
import Testing

@testable import PosternServer

struct DNSServiceSocketTests {
    @Test func aQueryFromBeforeTheServiceIsAnsweredFromTheAddressItWasSentTo() throws {
        let (streams, datagrams, bound) = try ListeningSocket.openBoth(IPAddress("0.0.0.0")!, 0)
        defer { close(streams) }
        guard case .tcp(_, let port) = bound else { return }
        let client = socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(client) }
        // Connected, so that it takes answers from nowhere else.
        #expect(SocketAddresses.withSockaddr(IPAddress("127.0.0.2")!, port) { connect(client, $0, $1) } == 0)
        var patience = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        let query: [UInt8] = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0x62, 0x6c, 0, 0, 1, 0, 1]
        #expect(send(client, query, query.count, 0) == query.count)
        let server = DatagramServer(
            descriptor: datagrams, tellsAddresses: true, service: ListService(responder: ListResponder(zones: [])),
            time: { ZoneTime(now: 1) }, seed: 1)
        var reply = [UInt8](repeating: 0, count: 512)
        #expect(recv(client, &reply, reply.count, 0) >= 12)
        server.stop()
    }
}
