// What the programs that load and hold services on this machine share.

import Glibc

/// Seconds of a clock that only goes on.
public func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Says why on standard error, and ends with a code of sysexits.h.
public func fail(_ why: String, _ code: Int32 = EX_SOFTWARE) -> Never {
    let line = "\(CommandLine.arguments[0]): \(why)\n"
    _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
    exit(code)
}

/// As many descriptors as a process may have.
public func allowDescriptors() {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}

/// A connection to a port of 127.0.0.1, from that address or another one of loopback; the program ends where there is none.
public func connected(to port: UInt16, from source: UInt32 = INADDR_LOOPBACK) -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var yes: Int32 = 1
    // Its port is chosen when it connects, when it need not differ from those of connections to elsewhere (ip(7)).
    setsockopt(descriptor, Int32(IPPROTO_IP), IP_BIND_ADDRESS_NO_PORT, &yes, socklen_t(MemoryLayout<Int32>.size))
    guard descriptor >= 0, source == INADDR_LOOPBACK || call(bind, descriptor, source, 0), call(connect, descriptor, INADDR_LOOPBACK, port)
    else { fail("cannot connect to 127.0.0.1:\(port): \(String(cString: strerror(errno)))", EX_UNAVAILABLE) }
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
    return descriptor
}

private func call(
    _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32, _ descriptor: Int32, _ address: UInt32, _ port: UInt16
) -> Bool {
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = port.bigEndian
    name.sin_addr.s_addr = address.bigEndian
    return withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    } == 0
}
