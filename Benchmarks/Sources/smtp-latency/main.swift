// Delivers messages one after another at a fixed rate, each in a session of its own, and tells how long they took.
//
//     smtp-latency --port PORT [--messages 2000] [--rate 100] [--size 4096]
//
// Prints one JSON object: percentiles in microseconds, from when a message was due to the answer to its end, so that a stall is
// charged in full.

import Glibc

struct Options {
    var port: UInt16 = 0
    var messages = 2000
    var rate = 100.0
    var size = 4096
}

func usage() -> Never {
    print("usage: smtp-latency --port PORT [--messages 2000] [--rate 100] [--size 4096]")
    exit(64)
}

func parseOptions() -> Options {
    var options = Options()
    var arguments = CommandLine.arguments.dropFirst()
    while let name = arguments.popFirst() {
        guard let value = arguments.popFirst() else { usage() }
        switch name {
        case "--port": options.port = UInt16(value) ?? 0
        case "--messages": options.messages = Int(value) ?? 0
        case "--rate": options.rate = Double(value) ?? 0
        case "--size": options.size = Int(value) ?? 0
        default: usage()
        }
    }
    guard options.port > 0, (1...1_000_000).contains(options.messages), options.rate > 0, (1...10_000_000).contains(options.size) else {
        usage()
    }
    return options
}

func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func fail(_ what: String) -> Never {
    print("smtp-latency: \(what)")
    exit(1)
}

func connection(_ port: UInt16) -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = port.bigEndian
    name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let result = withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
    guard result == 0 else { fail("connect: \(String(cString: strerror(errno)))") }
    return descriptor
}

/// Says `command` where there is one, and waits for a whole reply that begins with `digit`.
func exchange(_ descriptor: Int32, _ command: [UInt8], _ digit: Character) {
    if !command.isEmpty {
        var rest = command[...]
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard sent > 0 else { fail("the connection broke") }
            rest = rest.dropFirst(sent)
        }
    }
    var reply: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { fail("the connection broke") }
        reply += buffer[..<count]
        guard reply.suffix(2).elementsEqual([13, 10]) else { continue }
        let last = reply.dropLast(2).split(separator: 10).last ?? []
        if last.count < 4 || last[last.startIndex + 3] != UInt8(ascii: "-") { break }
    }
    guard reply.first == digit.asciiValue else { fail("refused: \(String(decoding: reply, as: UTF8.self))") }
}

let options = parseOptions()
let line = Array("0123456789012345678901234567890123456789012345678901234567890123456789\r\n".utf8)
let content = Array(repeating: line, count: options.size / line.count).flatMap { $0 } + Array(".\r\n".utf8)
let commands: [([UInt8], Character)] = [
    ([], "2"), (Array("EHLO client.example\r\n".utf8), "2"), (Array("MAIL FROM:<a@sender.test>\r\n".utf8), "2"),
    (Array("RCPT TO:<b@example.test>\r\n".utf8), "2"), (Array("DATA\r\n".utf8), "3"), (content, "2"),
]
var latencies: [Double] = []
let start = now() + 0.1
for number in 0..<options.messages {
    let due = start + Double(number) / options.rate
    let wait = due - now()
    if wait > 0 { usleep(UInt32(wait * 1e6)) }
    let descriptor = connection(options.port)
    for (command, digit) in commands { exchange(descriptor, command, digit) }
    latencies.append(now() - due)
    exchange(descriptor, Array("QUIT\r\n".utf8), "2")
    close(descriptor)
}
latencies.sort()
func percentile(_ share: Double, of latencies: [Double]) -> Int {
    Int(latencies[min(latencies.count - 1, Int(Double(latencies.count) * share))] * 1e6)
}
let (p50, p99, most) = (percentile(0.5, of: latencies), percentile(0.99, of: latencies), percentile(1, of: latencies))
print("{\"messages\": \(latencies.count), \"p50_us\": \(p50), \"p99_us\": \(p99), \"max_us\": \(most)}")
