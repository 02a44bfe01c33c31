// Loads a policy service: many connections, one request outstanding on each as Postfix has it, every triplet new.
//
//     policy-load --port PORT [--connections 64] [--seconds 10] [--rate N] [--start N] [--clients N]
//
// Prints one JSON object: answers a second, latency percentiles in microseconds, answers by action. With --rate the load
// is open: requests are due at fixed times, and latency counts from when one was due, so that a stall is charged in full.

// With --clients N there are only so many clients and senders, who write to ever new recipients: what is looked up of them is
// known soon.

import Glibc

struct Options {
    var port: UInt16 = 10023
    var connections = 64
    var seconds = 10.0
    var rate = 0.0
    var start = 0
    var clients = Int.max
}

func parseOptions() -> Options {
    var options = Options()
    var arguments = CommandLine.arguments.dropFirst()
    while let name = arguments.popFirst() {
        guard let value = arguments.popFirst() else { usage() }
        switch name {
        case "--port": options.port = UInt16(value) ?? 0
        case "--connections": options.connections = Int(value) ?? 64
        case "--seconds": options.seconds = Double(value) ?? 10
        case "--rate": options.rate = Double(value) ?? 0
        case "--start": options.start = Int(value) ?? 0
        case "--clients": options.clients = max(Int(value) ?? 1, 1)
        default: usage()
        }
    }
    guard options.port > 0, (1...1000).contains(options.connections), (0.1...600).contains(options.seconds) else { usage() }
    return options
}

func usage() -> Never {
    print("usage: policy-load --port PORT [--connections 64] [--seconds 10] [--rate 0] [--start 0] [--clients N]")
    exit(64)
}

func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// The request of the n-th new triplet: another client network, sender and recipient for each.
func request(_ number: Int, clients: Int) -> [UInt8] {
    let n = number % clients

    // Spread over the whole of 1.0.0.0 to 223.255.255.0 by a multiplicative step, so that neighbours in time are not neighbours in space.
    let network = UInt32(truncatingIfNeeded: n &* 0x9E37_79B1)
    let a = 1 + (network >> 24) % 223
    return Array(
        """
        request=smtpd_access_policy
        protocol_state=RCPT
        protocol_name=ESMTP
        client_address=\(a).\(network >> 16 & 255).\(network >> 8 & 255).\(network & 255)
        client_name=unknown
        reverse_client_name=unknown
        helo_name=host\(n).example.net
        sender=sender\(n)x@origin\(n % 5000).example.com
        recipient=user\(clients == .max ? n % 977 : number)@example.org
        recipient_count=0
        queue_id=
        instance=\(number).\(network).0
        size=0
        etrn_domain=
        stress=
        sasl_method=
        sasl_username=
        sasl_sender=
        ccert_subject=
        ccert_issuer=
        ccert_fingerprint=
        encryption_protocol=
        encryption_cipher=
        encryption_keysize=0


        """.utf8)
}

struct Connection {
    var descriptor: Int32
    var outstanding = false
    var sentAt = 0.0
    var dueAt = 0.0
    var answer: [UInt8] = []
}

func connectTo(_ port: UInt16) -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let result = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
    guard result == 0 else {
        print("policy-load: cannot connect to 127.0.0.1:\(port): \(String(cString: strerror(errno)))")
        exit(69)
    }
    var yes: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
    return descriptor
}

struct Load {
    let options: Options
    var connections: [Connection]
    var polls: [pollfd]
    var latencies: [UInt32] = []
    var actions: [String: Int] = [:]
    var next: Int
    var buffer = [UInt8](repeating: 0, count: 4096)
    /// Seconds between two requests of one connection; 0 for as fast as answers come.
    let interval: Double

    init(_ options: Options) {
        self.options = options
        connections = (0..<options.connections).map { _ in Connection(descriptor: connectTo(options.port)) }
        polls = connections.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        next = options.start
        interval = options.rate > 0 ? Double(options.connections) / options.rate : 0
        latencies.reserveCapacity(4_000_000)
    }

    mutating func run() {
        let began = now()
        let end = began + options.seconds
        for index in connections.indices { connections[index].dueAt = began + interval * Double(index) / Double(options.connections) }
        var time = began
        while time < end || connections.contains(where: \.outstanding) {
            if time > end + 30 { fail("answers are missing 30 s after the end", 75) }
            var wait: Int32 = 100
            if time < end {
                for index in connections.indices where !connections[index].outstanding {
                    if interval == 0 {
                        send(index, at: time)
                    } else if connections[index].dueAt <= time {
                        send(index, at: connections[index].dueAt)
                    } else {
                        wait = 0
                    }
                }
            }
            let ready = poll(&polls, nfds_t(polls.count), wait)
            time = now()
            if ready > 0 { receive(at: time, sending: time < end) }
        }
        report(elapsed: now() - began)
    }

    private mutating func receive(at time: Double, sending: Bool) {
        for index in polls.indices where polls[index].revents != 0 {
            let count = read(polls[index].fd, &buffer, buffer.count)
            guard count > 0 else { fail("a connection was closed by the service", 69) }
            connections[index].answer.append(contentsOf: buffer[0..<count])
            guard connections[index].answer.count >= 2, connections[index].answer.suffix(2).elementsEqual([10, 10]) else { continue }
            let word = connections[index].answer.dropFirst(7).prefix { $0 != 32 && $0 != 10 }
            actions[String(decoding: word, as: UTF8.self), default: 0] += 1
            latencies.append(UInt32(max((time - connections[index].sentAt) * 1e6, 0)))
            connections[index].answer.removeAll(keepingCapacity: true)
            connections[index].outstanding = false
            if interval == 0, sending { send(index, at: time) }
        }
    }

    private mutating func send(_ index: Int, at time: Double) {
        let bytes = request(next, clients: options.clients)
        next += 1
        var offset = 0
        while offset < bytes.count {
            let written = bytes.withUnsafeBytes { write(connections[index].descriptor, $0.baseAddress! + offset, bytes.count - offset) }
            guard written > 0 else { fail("a connection broke while sending", 69) }
            offset += written
        }
        connections[index].outstanding = true
        connections[index].sentAt = time
        if interval > 0 { connections[index].dueAt += interval }
    }

    private mutating func report(elapsed: Double) {
        latencies.sort()
        let latencies = latencies
        func percentile(_ p: Double) -> UInt32 {
            latencies.isEmpty ? 0 : latencies[min(Int(Double(latencies.count) * p), latencies.count - 1)]
        }
        let byAction = actions.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ", ")
        print(
            "{\"answers\": \(latencies.count), \"seconds\": \(elapsed), \"rate\": \(Double(latencies.count) / elapsed), "
                + "\"p50_us\": \(percentile(0.5)), \"p99_us\": \(percentile(0.99)), \"p999_us\": \(percentile(0.999)), "
                + "\"max_us\": \(latencies.last ?? 0), \"next\": \(next), \"actions\": {\(byAction)}}")
    }
}

func fail(_ message: String, _ code: Int32) -> Never {
    print("policy-load: \(message)")
    exit(code)
}

var load = Load(parseOptions())
load.run()
