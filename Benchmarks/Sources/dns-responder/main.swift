// A DNS server that answers every question after the same delay, so that what is measured is whoever asks.
//
//     dns-responder [--delay MILLISECONDS]
//
// Prints its port on 127.0.0.1. Names below bl.example are in no list, but for the test entry; there is one address, one mail
// exchanger and one SPF record for every other name, and no reverse name.

import Glibc

let delay: Int64 = {
    let arguments = CommandLine.arguments
    guard let index = arguments.firstIndex(of: "--delay"), index + 1 < arguments.count else { return 0 }
    return Int64(arguments[index + 1]) ?? 0
}()

func milliseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}

let listZone: [UInt8] = [2] + Array("bl".utf8) + [7] + Array("example".utf8) + [0]
let testEntry: [UInt8] = [1] + Array("2".utf8) + [1] + Array("0".utf8) + [1] + Array("0".utf8) + [3] + Array("127".utf8)
let spf = Array("v=spf1 ip4:192.0.2.0/24 ?all".utf8)

/// The question sent back, with an answer behind it. `nil` for what is no question.
func answer(_ query: ArraySlice<UInt8>) -> [UInt8]? {
    guard query.count > 16 else { return nil }
    var end = query.startIndex + 12
    while end < query.endIndex, query[end] != 0 { end += 1 + Int(query[end]) }
    guard end + 5 <= query.endIndex else { return nil }
    let name = query[(query.startIndex + 12)...end]
    let type = query[end + 2]
    var out = Array(query[..<(end + 5)])
    out[2] = 0x81
    out[3] = 0x80
    for index in 6..<12 { out[index] = 0 }
    func record(_ type: UInt8, _ data: [UInt8]) {
        out[7] = 1
        out += [0xc0, 12, 0, type, 0, 1, 0, 0, 14, 16, 0, UInt8(data.count)] + data
    }
    let isList = name.suffix(listZone.count).elementsEqual(listZone)
    switch type {
    case 1 where isList && name.starts(with: testEntry): record(1, [127, 0, 0, 2])
    case 1 where !isList: record(1, [192, 0, 2, 1])
    case 15: record(15, [0, 10, 2] + Array("mx".utf8) + [0xc0, 12])
    case 16: record(16, [UInt8(spf.count)] + spf)
    default:
        // No such name, with a start of authority that lets that be kept for an hour.
        out[3] = 0x83
        out[9] = 1
        out += [0, 0, 6, 0, 1, 0, 0, 14, 16, 0, 22, 0, 0] + [0, 0, 0, 1, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 14, 16]
    }
    return out
}

let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
var size: Int32 = 8 << 20
setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4)
var address = sockaddr_in()
address.sin_family = sa_family_t(AF_INET)
address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
var length = socklen_t(MemoryLayout<sockaddr_in>.size)
let isBound = withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0 }
}
guard isBound else {
    print("dns-responder: no port")
    exit(70)
}
print(UInt16(bigEndian: address.sin_port))
fflush(nil)

var held: [(due: Int64, peer: sockaddr_in, octets: [UInt8])] = []
var first = 0
var buffer = [UInt8](repeating: 0, count: 2048)
while true {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    poll(&entry, 1, first < held.count ? Int32(max(held[first].due - milliseconds(), 0)) : -1)
    while true {
        var peer = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let count = withUnsafeMutablePointer(to: &peer) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                recvfrom(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT), $0, &length)
            }
        }
        guard count > 0 else { break }
        if let octets = answer(buffer[..<count]) { held.append((milliseconds() + delay, peer, octets)) }
    }
    let now = milliseconds()
    while first < held.count, held[first].due <= now {
        let octets = held[first].octets
        _ = withUnsafePointer(to: &held[first].peer) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, octets, octets.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        first += 1
    }
    if first > 10_000 {
        held.removeFirst(first)
        first = 0
    }
}
