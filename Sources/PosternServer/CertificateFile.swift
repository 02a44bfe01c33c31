import Glibc
import NIOSSL

/// Certificates and keys in PEM. What is wrong with a file is told in words.
enum CertificateFile {
    /// The certificates of a file, at least one.
    static func chain(_ path: String) throws(GatewaySettingsError) -> [NIOSSLCertificate] {
        guard let chain = try? NIOSSLCertificate.fromPEMFile(path), !chain.isEmpty else {
            throw .certificate(path: path, reason: unreadable(path) ?? "there is no certificate in PEM in it")
        }
        return chain
    }

    static func key(_ path: String) throws(GatewaySettingsError) -> NIOSSLPrivateKey {
        guard let key = try? NIOSSLPrivateKey(file: path, format: .pem) else {
            throw .key(path: path, reason: unreadable(path) ?? "there is no private key in PEM in it, or it needs a password")
        }
        return key
    }

    /// A file of authorities, from which each TLS context reads them itself: there must be some.
    static func authorities(_ path: String) throws(GatewaySettingsError) -> NIOSSLTrustRoots {
        do throws(GatewaySettingsError) {
            _ = try chain(path)
        } catch {
            guard case .certificate(_, let reason) = error else { throw error }
            throw .authorities(path: path, reason: reason)
        }
        return .file(path)
    }

    /// Why a chain and a key that could be read each make no context.
    static func reason(_ error: any Error) -> String {
        // Both could be read by themselves.
        if case NIOSSLError.failedToLoadPrivateKey = error { return "the key belongs to another certificate" }
        return words(error)
    }

    /// What TLS says is wrong, without numbers and places in its sources: `certificate verify failed`.
    static func words(_ error: any Error) -> String {
        let stack: NIOBoringSSLErrorStack? =
            switch error {
            case NIOSSLError.handshakeFailed(.sslError(let stack)), NIOSSLError.handshakeFailed(.unknownError(let stack)): stack
            case BoringSSLError.sslError(let stack), BoringSSLError.unknownError(let stack): stack
            default: nil
            }
        guard let first = stack?.first else { return "\(error)" }
        // As in `error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED at /…/handshake.cc:393`.
        let text = first.description.split(separator: " at ").first ?? ""
        let reason = text.split(separator: ":").last ?? ""
        let words = reason.split(whereSeparator: { $0 == "_" || $0 == " " }).joined(separator: " ").lowercased()
        return words.isEmpty ? "\(error)" : words
    }

    /// The system's words, where the file cannot be opened at all.
    private static func unreadable(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return String(cString: strerror(errno)) }
        close(descriptor)
        return nil
    }
}
