import Glibc
import PosternCore

/// The resolvers that the system is set up with (resolv.conf(5)).
public enum SystemResolvers {
    public static let path = "/etc/resolv.conf"
    /// Octets of the file that are read.
    static let longestFile = 65_536

    /// As the C library has it: without a file or a name server in it, the one on this host.
    public static func servers(from path: String = path) -> [ResolverSettings.Server] {
        let servers = read(path).map { parse($0) } ?? []
        return servers.isEmpty ? [ResolverSettings.Server(IPAddress(v4: 0x7f00_0001))] : servers
    }

    /// The `nameserver` lines. An address with a zone (`fe80::1%eth0`) is left out: it cannot be written in our own
    /// configuration either.
    static func parse(_ text: String) -> [ResolverSettings.Server] {
        var servers: [ResolverSettings.Server] = []
        for line in text.split(whereSeparator: \.isNewline) {
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard words.count >= 2, words[0] == "nameserver", let address = IPAddress(words[1]) else { continue }
            let server = ResolverSettings.Server(address)
            if !servers.contains(server), servers.count < ResolverSettings.mostServers { servers.append(server) }
        }
        return servers
    }

    private static func read(_ path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var octets = [UInt8](repeating: 0, count: longestFile)
        let count = fread(&octets, 1, octets.count, file)
        return String(decoding: octets[..<count], as: UTF8.self)
    }
}
