import Glibc
import PosternCore

/// What systemd, or whoever starts us, expects of a daemon.
enum ServiceManners {
    /// Tells the service manager of our state (sd_notify(3)): `READY=1`, `RELOADING=1`, `STOPPING=1`. Does nothing where
    /// `NOTIFY_SOCKET` is not set.
    static func notify(_ state: String) {
        guard let raw = getenv("NOTIFY_SOCKET") else { return }
        let path = String(cString: raw)
        guard path.first == "/" || path.first == "@", var address = SocketAddresses.unix(path) else { return }
        var length = MemoryLayout<sa_family_t>.size + path.utf8.count
        if path.first == "@" {
            // An abstract socket's name begins with NUL and is as long as it is.
            withUnsafeMutableBytes(of: &address.sun_path) { $0[0] = 0 }
        } else {
            length += 1
        }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let bytes = Array(state.utf8)
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), $0, socklen_t(length))
            }
        }
    }

    /// Sockets handed over by the service manager (sd_listen_fds(3)), with their names. Read once, at start.
    static func inheritedSockets() -> [(name: String, descriptor: Int32)] {
        guard let pid = getenv("LISTEN_PID").flatMap({ Int32(String(cString: $0)) }), pid == getpid(),
            let count = getenv("LISTEN_FDS").flatMap({ Int32(String(cString: $0)) }), (1...1024).contains(count)
        else { return [] }
        let names = getenv("LISTEN_FDNAMES").map { String(cString: $0).split(separator: ":", omittingEmptySubsequences: false) } ?? []
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsetenv(variable) }
        let first: Int32 = 3
        return (0..<count).map { index in
            let descriptor = first + index
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
            return (Int(index) < names.count ? String(names[Int(index)]) : "", descriptor)
        }
    }

    /// Raises the soft limit of open descriptors to the hard one; returns the limit in force.
    static func raiseDescriptorLimit() -> UInt64 {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        if limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return UInt64(limit.rlim_cur)
    }
}

/// The account that the daemon runs as once its sockets are open.
struct Account {
    let name: String
    let uid: uid_t
    let gid: gid_t

    init?(named name: String) {
        guard let entry = getpwnam(name) else { return nil }
        self.name = name
        uid = entry.pointee.pw_uid
        gid = entry.pointee.pw_gid
    }

    /// Becomes this account, for good, with its groups, in all threads. `false` when the system refuses, and then we must not go on.
    func become() -> Bool {
        initgroups(name, gid) == 0 && setgid(gid) == 0 && setuid(uid) == 0 && (uid == 0 || setuid(0) != 0) && Self.threadsBelong(to: uid)
    }

    /// To the system a thread is an account's, not a process; and one that is still root's is a way back for all. Where there is no
    /// /proc nothing is known of others.
    private static func threadsBelong(to uid: uid_t) -> Bool {
        guard let threads = opendir("/proc/self/task") else { return true }
        defer { closedir(threads) }
        while let entry = readdir(threads) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            guard name.first != ".", let file = fopen("/proc/self/task/\(name)/status", "r") else { continue }
            defer { fclose(file) }
            var line = [CChar](repeating: 0, count: 256)
            while fgets(&line, Int32(line.count), file) != nil {
                let words = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self).split { $0.isWhitespace }
                // Real, effective, saved and file system's.
                if words.first == "Uid:", words.dropFirst().contains(where: { $0 != String(uid) }) { return false }
            }
        }
        return true
    }
}
