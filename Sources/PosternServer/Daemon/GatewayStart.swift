import PosternConfiguration
import PosternCore
import PosternEngine
import SMTPProtocol

extension GatewaySettings {
    /// What the configuration says of one gateway listener.
    init(_ gateway: Configuration.Gateway, of configuration: Configuration) {
        self.init(hostname: configuration.hostname, backends: gateway.backends)
        clientInformation =
            switch gateway.clientInformation {
            case .xclient: .xclient
            case .proxyV2: .proxyV2
            case .none: .none
            }
        domains = configuration.domains
        routes = gateway.routes
        throttles = !gateway.routes.isEmpty
        backendTLS.mode =
            switch gateway.backendTLS {
            case .never: .never
            case .opportunistic: .opportunistic
            case .required: .required
            }
        backendTLS.authoritiesPath = gateway.backendAuthorities
        proxies = configuration.networks.proxies
        xclient = configuration.networks.xclient
        framing = configuration.framing == .reject ? .reject : .normalize
        if let chain = gateway.certificate, let key = gateway.key {
            var certificate = Certificate(chainPath: chain, keyPath: key)
            certificate.minimumVersion = gateway.minimumTLS == .tls13 ? .tls13 : .tls12
            self.certificate = certificate
        }
        banner = gateway.banner
        if let inner = gateway.inner {
            self.inner = InnerDoor.Settings(inner)
            // Those known by a certificate may say it once they have shown that.
            xclient = inner.nodes
        }
        if let submission = gateway.submission {
            self.submission = Submission(isImplicitlySecured: submission.tls == .implicit, loginDomain: submission.loginDomain)
        }
        teaser = gateway.teaser
        take(gateway.limits)
        take(gateway.timeouts)
        health.failures = gateway.health.failures
        health.out = gateway.health.retry
        health.refresh = gateway.health.refresh
        health.patience = gateway.health.patience
        // Users write to everybody, and nobody is spared greylisting.
        probe.isOn = gateway.probe.isOn && submission == nil
        probe.knownFor = gateway.probe.knownFor
        probe.unknownFor = gateway.probe.unknownFor
        probe.patience = gateway.probe.patience
        probe.connections = gateway.probe.connections
        probe.capacity = gateway.probe.capacity
    }

    private mutating func take(_ limits: Configuration.Gateway.Limits) {
        maxSessions = limits.sessions
        self.limits.content.octets = UInt64(limits.messageSize)
        self.limits.content.hops = limits.hops
        self.limits.content.line = UInt64(limits.textLine)
        self.limits.recipients = limits.recipients
        self.limits.messages = limits.messages
        self.limits.commands = limits.commands
        self.limits.errors = limits.errors
        self.limits.unknownCommands = limits.unknownCommands
        leniency.localPart = limits.localPart
    }

    private mutating func take(_ timeouts: Configuration.Gateway.Timeouts) {
        self.timeouts.command = timeouts.command
        self.timeouts.content = timeouts.content
        self.timeouts.session = timeouts.session
        connectTimeout = timeouts.backendConnect
        backendTimeouts.greeting = timeouts.backendGreeting
        backendTimeouts.command = timeouts.backendCommand
        backendTimeouts.dataStart = timeouts.backendData
        backendTimeouts.content = timeouts.backendContent
        backendTimeouts.endOfData = timeouts.backendEnd
    }
}
