import Logging
import PosternConfiguration
import PosternCore
import PosternResolver

extension ResolverSettings {
    /// Whom the configuration names. Two tries and a little have room in a decision's time.
    public init(_ dns: Configuration.DNS) {
        let servers: [Server] =
            switch dns.resolvers {
            case .system: SystemResolvers.servers()
            case .listed(let resolvers): resolvers.map { Server($0.address, port: $0.port) }
            }
        self.init(servers: servers)
        attemptTimeout = .milliseconds(min(max(dns.timeout.milliseconds * 2 / 5, 100), 2000))
    }
}

extension Configuration {
    /// What is to be said of resolvers that only the start knows: those of the system where there are DNS lists. Those
    /// that the file names are the reader's to warn of.
    public func warnOfSystemResolvers(_ settings: ResolverSettings, _ logger: Logger) {
        guard dns.resolvers == .system, !dnsLists.isEmpty else { return }
        for server in settings.servers where PublicResolvers.contains(server.address) {
            logger.warning("a resolver of /etc/resolv.conf \(PublicResolvers.advice)", metadata: ["resolver": "\(server.address)"])
        }
    }
}
