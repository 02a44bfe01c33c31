import NIOSSL
import PosternCore

/// The certificates by which a throttle's nodes are known at an inner door: each by itself, or by a name that an authority has
/// signed.
struct NodeCertificates: Equatable, Sendable {
    /// Files in PEM.
    var paths: [String] = []
    /// DNS names of the subjectAltName; a common name says nothing (RFC 9525 §2).
    var names: Set<DomainName> = []
    /// A file in PEM; `nil` where no names are given.
    var authoritiesPath: String?

    var isEmpty: Bool { paths.isEmpty && names.isEmpty }

    /// Those of the files, read now.
    func read() throws(GatewaySettingsError) -> Set<NIOSSLCertificate> {
        var all: Set<NIOSSLCertificate> = []
        for path in paths { all.formUnion(try CertificateFile.chain(path)) }
        return all
    }

    /// Whether a certificate whose chain was verified, where there are authorities, is a node's.
    func isNode(_ certificate: NIOSSLCertificate) -> Bool {
        guard authoritiesPath != nil else { return false }
        return certificate._subjectAlternativeNames().contains { name in
            guard name.nameType == .dnsName else { return false }
            let text = name.contents.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
            return DomainName(text).map(names.contains) ?? false
        }
    }
}
