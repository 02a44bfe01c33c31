// Holds as many connections to a tarpit as it is told, and says what that costs the tarpit's process.

import ArgumentParser
import Glibc
import Loopback

struct Options: ParsableArguments {
    @Option var port: UInt16
    @Option(help: "The tarpit's process.") var pid: Int
    @Option var clients = 19_000
    @Option(help: "How long its CPU time is looked at.") var seconds: UInt32 = 20
    @Option(help: "Over how many seconds they come, evenly; 0 for all at once.") var over = 0.0
    @Flag(help: "Say EHLO.") var hello = false
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

let options = Options.parseOrExit()
let (port, pid, clients) = (options.port, options.pid, options.clients)
allowDescriptors()

let memory = resident(pid)
let before = descriptors(pid)
let began = now()
var held: [Int32] = []
for index in 0..<clients {
    let early = Double(index) / Double(clients) * options.over - (now() - began)
    if early > 0.001 { usleep(UInt32(early * 1_000_000)) }
    // 250 from an address, or the search for a free port would be what is measured.
    let descriptor = connected(to: port, from: 0x7f01_0001 + UInt32(index / 250))
    if options.hello { _ = "EHLO bot.example\r\n".withCString { send(descriptor, $0, strlen($0), Int32(MSG_NOSIGNAL)) } }
    held.append(descriptor)
}
while descriptors(pid) - before < clients {
    guard now() - began < 60 else { fail("only \(descriptors(pid) - before) of \(clients) were accepted within a minute") }
    // Counting takes the tarpit's time, too.
    usleep(20_000)
}
let rate = Double(clients) / (now() - began)
// The first octets and replies go by.
sleep(3)
let (start, used) = (now(), processorTime(pid))
sleep(options.seconds)
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
