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
        teaser = gateway.teaser
        probe.isOn = gateway.probe
        maxSessions = gateway.maxSessions
    }
}
