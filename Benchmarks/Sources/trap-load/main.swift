// Holds as many connections to a tarpit as it is told, and says what that costs the tarpit's process.

import Glibc

struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ text: String) { description = text }
}

func option(_ name: String, _ fallback: Int) -> Int {
    guard let index = CommandLine.arguments.firstIndex(of: "--\(name)"), index + 1 < CommandLine.arguments.count,
        let value = Int(CommandLine.arguments[index + 1])
    else { return fallback }
    return value
}

func whole(_ path: String) -> String {
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var text = ""
    var buffer = [CChar](repeating: 0, count: 4096)
    while fgets(&buffer, Int32(buffer.count), file) != nil {
        text += String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    return text
}

/// Resident octets of a process that are its own, shared pages of its files left out.
func resident(_ pid: Int) -> Int {
    let line = whole("/proc/\(pid)/status").split(separator: "\n").first { $0.hasPrefix("RssAnon:") }
    return (line?.split { !$0.isNumber }.first.flatMap { Int($0) } ?? 0) * 1024
}

/// Seconds of CPU that a process has used, user and system.
func processorTime(_ pid: Int) -> Double {
    let text = whole("/proc/\(pid)/stat")
    guard let end = text.lastIndex(of: ")") else { return 0 }
    let fields = text[end...].split(separator: " ")
    guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else { return 0 }
    return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
}

func descriptors(_ pid: Int) -> Int {
    guard let folder = opendir("/proc/\(pid)/fd") else { return 0 }
    defer { closedir(folder) }
    var count = 0
    while readdir(folder) != nil { count += 1 }
    return count
}

func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func connected(to port: Int, greeting: String) throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw Failure("no descriptor left: \(String(cString: strerror(errno)))") }
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = UInt16(port).bigEndian
    name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let result = withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
    guard result == 0 else { throw Failure("connect: \(String(cString: strerror(errno)))") }
    if !greeting.isEmpty { _ = greeting.withCString { send(descriptor, $0, strlen($0), Int32(MSG_NOSIGNAL)) } }
    return descriptor
}

let (port, pid, clients, seconds) = (option("port", 0), option("pid", 0), option("clients", 19_000), option("seconds", 20))
var limit = rlimit()
getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
limit.rlim_cur = limit.rlim_max
setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)

let memory = resident(pid)
let before = descriptors(pid)
let began = now()
var held: [Int32] = []
for _ in 0..<clients {
    held.append(try connected(to: port, greeting: CommandLine.arguments.contains("--hello") ? "EHLO bot.example\r\n" : ""))
}
while descriptors(pid) - before < clients {
    guard now() - began < 60 else { throw Failure("only \(descriptors(pid) - before) of \(clients) were accepted within a minute") }
    usleep(2000)
}
let rate = Double(clients) / (now() - began)
// The first octets and replies go by.
sleep(3)
let (start, used) = (now(), processorTime(pid))
sleep(UInt32(seconds))
let share = (processorTime(pid) - used) / (now() - start) * 100
let octets = Double(resident(pid) - memory) / Double(clients)
var gone = 0
var octet: UInt8 = 0
for descriptor in held {
    // Takes all that has come; the end would show as zero.
    var count = recv(descriptor, &octet, 1, Int32(MSG_DONTWAIT))
    while count > 0 { count = recv(descriptor, &octet, 1, Int32(MSG_DONTWAIT)) }
    if count == 0 { gone += 1 }
}
print(
    #"{"rate": \#(Int(rate)), "bytes_each": \#(Int(octets)), "cpu_percent": \#(Double(Int(share * 100)) / 100), "held": \#(clients - gone)}"#
)
