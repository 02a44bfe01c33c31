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

    /// Why a chain and a key that could be read each make no context.
    static func reason(_ error: any Error) -> String {
        // Both could be read by themselves.
        if case NIOSSLError.failedToLoadPrivateKey = error { return "the key belongs to another certificate" }
        return "\(error)"
    }

    /// The system's words, where the file cannot be opened at all.
    private static func unreadable(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return String(cString: strerror(errno)) }
        close(descriptor)
        return nil
    }
}
