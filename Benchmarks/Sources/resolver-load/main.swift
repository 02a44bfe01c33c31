import DNSProtocol
import Glibc
import PosternCore
import PosternResolver
import Synchronization

// Measures the resolver: uncached questions a second against a responder of this very process, and cached ones.
//
//     resolver-load [--seconds N] [--delay MILLISECONDS]
//
// Prints one JSON object. The responder is a thread that sends each question back as its own answer, so it costs little
// beside what is measured; with a delay it holds each answer for that long.

func argument(_ name: String, _ fallback: Int) -> Int {
    let arguments = CommandLine.arguments
    guard let index = arguments.firstIndex(of: name), index + 1 < arguments.count, let value = Int(arguments[index + 1]) else {
        return fallback
    }
    return value
}

let seconds = argument("--seconds", 5)
let delay = argument("--delay", 0)

/// A thread that answers every question with one A record.
func startResponder(delay: Int) -> UInt16 {
    let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    var size: Int32 = 4 << 20
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4)
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
        }
    }
    guard bound else {
        print("resolver-load: no port")
        exit(70)
    }
    var thread = pthread_t()
    let argument = UnsafeMutablePointer<(Int32, Int)>.allocate(capacity: 1)
    argument.initialize(to: (descriptor, delay))
    pthread_create(
        &thread, nil,
        { raw in
            let (descriptor, delay) = raw!.assumingMemoryBound(to: (Int32, Int).self).pointee
            respond(descriptor, delay: Int64(delay))
            return nil
        }, argument)
    return UInt16(bigEndian: name.sin_port)
}

func respond(_ descriptor: Int32, delay: Int64) {
    let tail: [UInt8] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4, 127, 0, 0, 2]
    var held: [(due: Int64, peer: sockaddr_in, octets: [UInt8])] = []
    var first = 0
    var buffer = [UInt8](repeating: 0, count: 2048)
    while true {
        if delay > 0 {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let now = Deadline.now().milliseconds
            poll(&entry, 1, first < held.count ? Int32(max(held[first].due - now, 0)) : -1)
        }
        while true {
            var peer = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let count = withUnsafeMutablePointer(to: &peer) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    recvfrom(descriptor, &buffer, buffer.count, delay > 0 ? Int32(MSG_DONTWAIT) : 0, $0, &length)
                }
            }
            guard count > 28 else { break }
            // The question without its OPT record, which is the last eleven octets, and one answer.
            let end = count - 11
            buffer[2] = 0x81
            buffer[3] = 0x80
            buffer[7] = 1
            buffer[11] = 0
            for (index, octet) in tail.enumerated() { buffer[end + index] = octet }
            let octets = Array(buffer[..<(end + tail.count)])
            if delay > 0 {
                held.append((Deadline.now().milliseconds + delay, peer, octets))
            } else {
                send(octets, to: &peer, on: descriptor)
            }
        }
        let now = Deadline.now().milliseconds
        while first < held.count, held[first].due <= now {
            send(held[first].octets, to: &held[first].peer, on: descriptor)
            first += 1
        }
        if first > 10_000 {
            held.removeFirst(first)
            first = 0
        }
    }
}

func send(_ octets: [UInt8], to peer: inout sockaddr_in, on descriptor: Int32) {
    _ = withUnsafePointer(to: &peer) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            sendto(descriptor, octets, octets.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
}

final class Tally: Sendable {
    let answered = Atomic<Int>(0)
    let failed = Atomic<Int>(0)
}

func question(_ number: Int) -> Question {
    Question(
        ListName.address(IPAddress(v4: UInt32(truncatingIfNeeded: number &* 2_654_435_761)), zone: DNSName("bl.example.net") ?? .root)
            ?? .root, .a)
}

var settings = ResolverSettings(servers: [.init(IPAddress(v4: 0x7f00_0001), port: startResponder(delay: delay))])
settings.cacheEntries = 200_000
let resolver = try Resolver(settings)
let tally = Tally()

func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

let clock = ContinuousClock()
var number = 0
let begun = clock.now
let cpu = processorSeconds()
while clock.now - begun < .seconds(seconds) {
    // Enough to keep it busy, and no more than wait in its queue.
    while number - tally.answered.load(ordering: .relaxed) < 4000 {
        resolver.ask(question(number), deadline: .after(.seconds(5))) {
            tally.answered.wrappingAdd(1, ordering: .relaxed)
            if $0.failure != nil { tally.failed.wrappingAdd(1, ordering: .relaxed) }
        }
        number += 1
    }
    usleep(200)
}
let uncached = Double(tally.answered.load(ordering: .relaxed)) / (Double((clock.now - begun) / .milliseconds(1)) / 1000)
let cpuEach = (processorSeconds() - cpu) / Double(max(tally.answered.load(ordering: .relaxed), 1)) * 1e6
while tally.answered.load(ordering: .relaxed) < number { usleep(1000) }

let known = (0..<10_000).map { question(number - 1 - $0) }
var hits = 0
let start = clock.now
while clock.now - start < .seconds(seconds) {
    for question in known {
        resolver.ask(question, deadline: .after(.seconds(5))) { _ in tally.answered.wrappingAdd(1, ordering: .relaxed) }
    }
    hits += known.count
}
let cached = Double(hits) / (Double((clock.now - start) / .milliseconds(1)) / 1000)
let counts = resolver.counts
print(
    "{\"uncached_rate\": \(uncached.rounded()), \"uncached_cpu_us\": \(cpuEach), \"cached_rate\": \(cached.rounded()), "
        + "\"failed\": \(tally.failed.load(ordering: .relaxed)), \"server_timeouts\": \(counts.serverTimeouts), "
        + "\"cache_entries\": \(counts.cacheEntries), \"cache_bytes\": \(counts.cacheBytes)}")
resolver.close()
