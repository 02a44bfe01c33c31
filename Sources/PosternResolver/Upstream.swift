import CCares
import DNSProtocol
import Glibc
import PosternCore

/// One server, with a c-ares channel of its own: which server is asked, and when again, is decided here and not there, so
/// that a dead one costs a question a time-out now and then and not always. Touched by the resolver's thread only.
final class Upstream {
    let server: ResolverSettings.Server
    /// Its bit in `Flight.asked`.
    let bit: UInt64
    let channel: ares_channel
    /// Whether it answered questions with EDNS by FORMERR (RFC 6891 §7).
    var isPlain = false
    var inFlight = 0
    private var timeoutsInARow = 0
    private var retryAt: Int64 = 0
    private unowned let loop: ResolverLoop

    /// This many messages in a row without an answer, and it counts as down.
    static let patience = 3
    /// One question in this many milliseconds finds out whether it is up again.
    static let probing: Int64 = 2000
    /// What a burst of answers needs.
    private static let receiveBuffer: Int32 = 1 << 20

    /// `nil` where c-ares has no memory or descriptors for it.
    init?(_ server: ResolverSettings.Server, index: Int, timeout: WallTime.Span, loop: ResolverLoop) {
        guard Self.library else { return nil }
        self.server = server
        self.loop = loop
        bit = 1 << UInt64(index)
        var options = ares_options()
        options.flags = ARES_FLAG_NOCHECKRESP | ARES_FLAG_EDNS
        options.timeout = Int32(clamping: min(max(timeout.milliseconds, 50), 30_000))
        options.tries = 1
        options.ednspsz = Int32(DNSMessage.commonPayloadSize)
        options.socket_receive_buffer_size = Self.receiveBuffer
        options.sock_state_cb = { data, descriptor, readable, writable in
            guard let data else { return }
            Unmanaged<ResolverLoop>.fromOpaque(data).takeUnretainedValue().watch(descriptor, readable != 0, writable != 0)
        }
        options.sock_state_cb_data = Unmanaged.passUnretained(loop).toOpaque()
        let mask =
            ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_RCVBUF | ARES_OPT_SOCK_STATE_CB
            | ARES_OPT_RESOLVCONF | ARES_OPT_LOOKUPS
        var made: ares_channel?
        // Neither /etc/resolv.conf nor the hosts file: whom to ask has been decided.
        let status = "/dev/null".withCString { path in
            "b".withCString { lookups in
                options.resolvconf_path = UnsafeMutablePointer(mutating: path)
                options.lookups = UnsafeMutablePointer(mutating: lookups)
                return ares_init_options(&made, &options, mask)
            }
        }
        guard status == ARES_SUCCESS, let made else { return nil }
        channel = made
        guard setServer() else {
            ares_destroy(made)
            return nil
        }
        ares_set_socket_callback(
            made,
            { _, kind, data in
                if kind == Int32(SOCK_STREAM.rawValue), let data {
                    Unmanaged<ResolverLoop>.fromOpaque(data).takeUnretainedValue().counters.tcp.increase()
                }
                return 0
            }, Unmanaged.passUnretained(loop).toOpaque())
    }

    private static let library = ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS

    private func setServer() -> Bool {
        var node = ares_addr_port_node()
        node.udp_port = Int32(server.port)
        node.tcp_port = Int32(server.port)
        let octets = server.address.octets
        switch server.address.family {
        case .v4:
            node.family = AF_INET
            withUnsafeMutableBytes(of: &node.addr) { $0.copyBytes(from: octets) }
        case .v6:
            node.family = AF_INET6
            withUnsafeMutableBytes(of: &node.addr) { $0.copyBytes(from: octets) }
        }
        return ares_set_servers_ports(channel, &node) == ARES_SUCCESS
    }

    /// What is under way ends with `ARES_EDESTRUCTION`.
    func destroy() { ares_destroy(channel) }

    // MARK: - Health

    func isUp(at now: Int64) -> Bool { timeoutsInARow < Self.patience || now >= retryAt }

    func answered() { timeoutsInARow = 0 }

    func failed(at now: Int64) {
        timeoutsInARow += 1
        retryAt = now + Self.probing
    }

    // MARK: - Sending

    /// The flight is with this server until `ResolverLoop.attemptEnded`, which may come before this returns.
    func send(_ flight: Flight, id: UInt16, at now: Int64) {
        // One question at a time tries out a server that was down.
        if timeoutsInARow >= Self.patience { retryAt = now + Self.probing }
        flight.upstream = self
        flight.asked |= bit
        flight.attempts += 1
        inFlight += 1
        let message = Self.message(flight.question, id: id, plain: isPlain)
        ares_send(
            channel, message, Int32(message.count),
            { argument, status, _, octets, count in
                guard let argument else { return }
                let flight = Unmanaged<Flight>.fromOpaque(argument).takeRetainedValue()
                flight.upstream?.loop.attemptEnded(
                    flight, status: status, octets: UnsafeBufferPointer(start: octets, count: octets == nil ? 0 : Int(count)))
            }, Unmanaged.passRetained(flight).toOpaque())
    }

    /// RFC 1035 §4.1 and RFC 6891 §6.1: c-ares takes the last 11 octets off again where a server does not know EDNS.
    private static func message(_ question: Question, id: UInt16, plain: Bool) -> [UInt8] {
        let wire = question.name.wire
        return [UInt8](unsafeUninitializedCapacity: wire.count + 27) { buffer, count in
            func put(_ value: UInt16) {
                buffer[count] = UInt8(value >> 8)
                buffer[count + 1] = UInt8(value & 0xff)
                count += 2
            }
            put(id)
            put(0x0100)
            put(1)
            put(0)
            put(0)
            put(plain ? 0 : 1)
            for octet in wire {
                buffer[count] = octet
                count += 1
            }
            put(question.type.rawValue)
            put(question.recordClass.rawValue)
            guard !plain else { return }
            buffer[count] = 0
            count += 1
            put(RecordType.opt.rawValue)
            put(DNSMessage.commonPayloadSize)
            put(0)
            put(0)
            put(0)
        }
    }
}
