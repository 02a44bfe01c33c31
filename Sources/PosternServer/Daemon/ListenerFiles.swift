import Glibc
import PosternConfiguration

/// The files that a gateway's settings name, looked at as the daemon looks at them when it starts.
public enum ListenerFiles {
    /// What would keep the daemon from starting although every file can be read: the listener's key, and why. A file that cannot be read
    /// here may well be there where the daemon runs, and is no trouble of this kind.
    public static func trouble(of gateway: Configuration.Gateway, in configuration: Configuration) -> (key: String, reason: String)? {
        let inner = gateway.inner
        let paths = [gateway.certificate, gateway.key, gateway.backendAuthorities, inner?.nodeAuthorities].compactMap { $0 }
        guard (paths + (inner?.nodeCertificates ?? [])).allSatisfy({ access($0, R_OK) == 0 }) else { return nil }
        do throws(GatewaySettingsError) {
            _ = try Gateway.Current(reading: GatewaySettings(gateway, of: configuration))
            return nil
        } catch {
            return (error.setting(of: gateway), error.description)
        }
    }
}

extension GatewaySettingsError {
    /// The key of the listener that it is about.
    func setting(of gateway: Configuration.Gateway) -> String {
        switch self {
        case .noBackend: "backend"
        case .domainsRequired: "backend_client_info"
        case .certificateRequired: "address"
        case .key: "tls_key"
        case .certificate(let path, _): path == gateway.certificate ? "tls_certificate" : "node_certificates"
        case .authorities(let path, _): path == gateway.backendAuthorities ? "backend_ca" : "node_ca"
        }
    }
}
