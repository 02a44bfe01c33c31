// Loads a policy service: many connections, one request outstanding on each as Postfix has it, every triplet new.
//
// Prints one JSON object: answers a second, latency percentiles in microseconds, answers by action. With --rate the load
// is open: requests are due at fixed times, and latency counts from when one was due, so that a stall is charged in full.
//
// With --clients N there are only so many clients and senders, who write to ever new recipients: what is looked up of them is
// known soon.

import ArgumentParser
import Glibc
import Loopback

struct Options: ParsableArguments {
    @Option var port: UInt16
    @Option(help: "How many connections, 1 to 1000.") var connections = 64
    @Option var seconds = 10.0
    @Option(help: "Requests a second; 0 for as many as are answered.") var rate = 0.0
    @Option(help: "The number of the first triplet.") var start = 0
    @Option(help: "Only so many clients and senders.") var clients = Int.max

    func validate() throws {
        guard (1...1000).contains(connections), (0.1...600).contains(seconds), clients > 0 else {
            throw ValidationError("1 to 1000 connections, 0.1 to 600 seconds, at least one client")
        }
    }
}

/// Requests, each written over the one before: what is measured shares the machine with whoever asks.
struct RequestWriter {
    private(set) var bytes: [UInt8] = []
    private var digits: [UInt8] = []
    let clients: Int

    init(clients: Int) { self.clients = clients }

    /// The request of the n-th new triplet: another client network, sender and recipient for each.
    mutating func write(_ number: Int) {
        let n = number % clients
        // Spread over the whole of 1.0.0.0 to 223.255.255.0 by a multiplicative step, so that neighbours in time are not neighbours in space.
        let network = UInt32(truncatingIfNeeded: n &* 0x9E37_79B1)
        bytes.removeAll(keepingCapacity: true)
        add("request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=")
        add(Int(1 + (network >> 24) % 223), ".")
        add(Int(network >> 16 & 255), ".")
        add(Int(network >> 8 & 255), ".")
        add(Int(network & 255), "\nclient_name=unknown\nreverse_client_name=unknown\nhelo_name=host")
        add(n, ".example.net\nsender=sender")
        add(n, "x@origin")
        add(n % 5000, ".example.com\nrecipient=user")
        add(clients == .max ? n % 977 : number, "@example.org\nrecipient_count=0\nqueue_id=\ninstance=")
        add(number, ".")
        add(Int(network), ".0\nsize=0\netrn_domain=\nstress=\nsasl_method=\nsasl_username=\nsasl_sender=\nccert_subject=\n")
        add("ccert_issuer=\nccert_fingerprint=\nencryption_protocol=\nencryption_cipher=\nencryption_keysize=0\n\n")
    }

    private mutating func add(_ text: StaticString) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    private mutating func add(_ number: Int, _ text: StaticString) {
        var rest = number
        digits.removeAll(keepingCapacity: true)
        repeat {
            digits.append(UInt8(ascii: "0") + UInt8(rest % 10))
            rest /= 10
        } while rest > 0
        bytes.append(contentsOf: digits.reversed())
        add(text)
    }
}

struct Connection {
    var descriptor: Int32
    var outstanding = false
    var sentAt = 0.0
    var dueAt = 0.0
    var answer: [UInt8] = []
}

struct Load {
    let options: Options
    var connections: [Connection]
    var polls: [pollfd]
    var latencies: [UInt32] = []
    var actions: [String: Int] = [:]
    var next: Int
    var request: RequestWriter
    var buffer = [UInt8](repeating: 0, count: 4096)
    /// Seconds between two requests of one connection; 0 for as fast as answers come.
    let interval: Double

    init(_ options: Options) {
        self.options = options
        connections = (0..<options.connections).map { _ in Connection(descriptor: connected(to: options.port)) }
        polls = connections.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        next = options.start
        request = RequestWriter(clients: options.clients)
        interval = options.rate > 0 ? Double(options.connections) / options.rate : 0
        latencies.reserveCapacity(4_000_000)
    }

    mutating func run() {
        let began = now()
        let end = began + options.seconds
        for index in connections.indices { connections[index].dueAt = began + interval * Double(index) / Double(options.connections) }
        var time = began
        while time < end || connections.contains(where: \.outstanding) {
            if time > end + 30 { fail("answers are missing 30 s after the end", EX_TEMPFAIL) }
            var wake = time + 0.1
            if time < end {
                for index in connections.indices where !connections[index].outstanding {
                    if interval == 0 {
                        send(index, at: time)
                    } else if connections[index].dueAt <= time {
                        send(index, at: connections[index].dueAt)
                    } else {
                        wake = min(wake, connections[index].dueAt)
                    }
                }
            }
            var ready = poll(&polls, nfds_t(polls.count), Int32((wake - time) * 1000))
            if ready == 0, wake > now() {
                // It naps: spinning would take a core from whom it measures.
                usleep(50)
                ready = poll(&polls, nfds_t(polls.count), 0)
            }
            time = now()
            if ready > 0 { receive(at: time, sending: time < end) }
        }
        report(elapsed: now() - began)
    }

    private mutating func receive(at time: Double, sending: Bool) {
        for index in polls.indices where polls[index].revents != 0 {
            let count = read(polls[index].fd, &buffer, buffer.count)
            guard count > 0 else { fail("a connection was closed by the service", EX_UNAVAILABLE) }
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
        request.write(next)
        next += 1
        let bytes = request.bytes
        var offset = 0
        while offset < bytes.count {
            let written = bytes.withUnsafeBytes { write(connections[index].descriptor, $0.baseAddress! + offset, bytes.count - offset) }
            guard written > 0 else { fail("a connection broke while sending", EX_UNAVAILABLE) }
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

var load = Load(Options.parseOrExit())
load.run()
