import PosternConfiguration
import PosternCore
import SMTPProtocol

extension GatewaySettings {
    /// What a gateway has at which accounts log in (RFC 6409).
    struct Submission: Equatable, Sendable {
        /// Whether connections begin with TLS (RFC 8314 §3.3), rather than STARTTLS.
        var isImplicitlySecured = false
        /// Follows the names of accounts that have no domain of their own.
        var loginDomain: DomainName?

        init(isImplicitlySecured: Bool = false, loginDomain: DomainName? = nil) {
            self.isImplicitlySecured = isImplicitlySecured
            self.loginDomain = loginDomain
        }

        func apply(to settings: inout ServerSettings) {
            settings.extensions.authentication = [.plain, .login]
            settings.requiresAuthentication = true
            // RFC 4954 §4.
            settings.limits.line.authentication = 12_288
            if isImplicitlySecured { settings.extensions.startTLS = false }
        }

        /// The account that a name stands for: what is counted, limited and suspended, however it is written.
        func account(_ name: String) -> String { Configuration.Submission.account(name, in: loginDomain) }
    }
}
