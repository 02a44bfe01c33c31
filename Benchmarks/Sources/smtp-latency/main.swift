// Delivers messages one after another at a fixed rate, each in a session of its own, and tells how long they took.
//
// Prints one JSON object: percentiles in microseconds, from when a message was due to the answer to its end, so that a stall is
// charged in full.

import ArgumentParser
import Glibc
import Loopback

struct Options: ParsableArguments {
    @Option var port: UInt16
    @Option var messages = 2000
    @Option(help: "Messages a second.") var rate = 100.0
    @Option(help: "Octets of a message.") var size = 4096

    func validate() throws {
        guard (1...1_000_000).contains(messages), rate > 0, (1...10_000_000).contains(size) else {
            throw ValidationError("1 to 1000000 messages of 1 to 10000000 octets")
        }
    }
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

let options = Options.parseOrExit()
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
    let descriptor = connected(to: options.port)
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
