import Glibc
import NIOSSL

extension Gateway.Current {
    /// With the certificates and authorities that the settings name, read now.
    ///
    /// - Throws: `GatewaySettingsError`.
    convenience init(reading settings: GatewaySettings) throws(GatewaySettingsError) {
        try settings.validate()
        let files = FileState(settings)
        self.init(
            settings: settings,
            tls: try settings.certificate.map { (certificate) throws(GatewaySettingsError) in
                try Self.serverContext(certificate, settings.inner?.certificates)
            }, backendTLS: try Self.backendContext(settings), nodes: try settings.inner?.certificates.read() ?? [], files: files)
    }

    private static func serverContext(
        _ certificate: GatewaySettings.Certificate, _ nodes: NodeCertificates?
    ) throws(GatewaySettingsError) -> NIOSSLContext {
        let chain = try CertificateFile.chain(certificate.chainPath).map { NIOSSLCertificateSource.certificate($0) }
        let key = try CertificateFile.key(certificate.keyPath)
        let authorities = try nodes?.authoritiesPath.map { (path) throws(GatewaySettingsError) in try CertificateFile.authorities(path) }
        do {
            var configuration = TLSConfiguration.makeServerConfiguration(certificateChain: chain, privateKey: .privateKey(key))
            configuration.minimumTLSVersion =
                switch certificate.minimumVersion {
                case .tls12: .tlsv12
                case .tls13: .tlsv13
                }
            // Clients are asked for certificates where some are known by them, and need none.
            if let nodes, !nodes.isEmpty {
                configuration.certificateVerification = .optionalVerification
                if let authorities { configuration.trustRoots = authorities }
            }
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw .certificate(path: certificate.chainPath, reason: CertificateFile.reason(error))
        }
    }

    private static func backendContext(_ settings: GatewaySettings) throws(GatewaySettingsError) -> NIOSSLContext? {
        guard settings.backendTLS.mode != .never else { return nil }
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        if let path = settings.backendTLS.authoritiesPath {
            configuration.trustRoots = try CertificateFile.authorities(path)
            configuration.certificateVerification = .noHostnameVerification
        }
        // A backend may know us by the certificate that our clients see.
        if let certificate = settings.certificate {
            configuration.certificateChain = try CertificateFile.chain(certificate.chainPath).map { .certificate($0) }
            configuration.privateKey = .privateKey(try CertificateFile.key(certificate.keyPath))
        }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw .authorities(path: settings.backendTLS.authoritiesPath ?? "", reason: CertificateFile.reason(error))
        }
    }

    /// Whether a file that was read has another content by now, as far as its time, size and inode tell.
    var filesHaveChanged: Bool { FileState(settings) != files }
}

/// By what a change of the files that settings name is seen.
struct FileState: Equatable, Sendable {
    private struct Mark: Equatable {
        var inode: UInt64 = 0
        var size: Int64 = 0
        var seconds: Int = 0
        var nanoseconds: Int = 0
    }

    private var marks: [Mark]

    init(_ settings: GatewaySettings) {
        let nodes = settings.inner?.certificates
        let paths = [
            settings.certificate?.chainPath, settings.certificate?.keyPath, settings.backendTLS.authoritiesPath, nodes?.authoritiesPath,
        ]
        marks = (paths.compactMap { $0 } + (nodes?.paths ?? [])).map { path in
            var status = stat()
            guard stat(path, &status) == 0 else { return Mark() }
            return Mark(
                inode: UInt64(status.st_ino), size: Int64(status.st_size), seconds: status.st_mtim.tv_sec,
                nanoseconds: status.st_mtim.tv_nsec)
        }
    }
}
