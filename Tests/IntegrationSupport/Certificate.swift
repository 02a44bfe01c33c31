import Foundation

/// A self-signed certificate for tests, with its key.
public struct Certificate: Sendable {
    /// PEM.
    public let certificate: String
    /// PEM.
    public let key: String

    /// Makes one for the host name given, valid for two days, with the openssl of swaks' root.
    public init(hostname: String) async throws {
        let root = try PrivateRoot("swaks", folder: TemporaryFolder("openssl"))
        let paths = (key: root.folder.file("key.pem"), certificate: root.folder.file("certificate.pem"))
        let result = try await root.run([
            "/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=\(hostname)", "-addext", "subjectAltName=DNS:\(hostname)", "-keyout", paths.key, "-out", paths.certificate,
        ])
        guard result.succeeded else { throw TestFailure("openssl: \(result.output)") }
        try root.makeReadable("key.pem")
        key = root.folder.read("key.pem")
        certificate = root.folder.read("certificate.pem")
    }

    /// Writes `certificate.pem` and `key.pem` into a folder below the one given.
    public func copy(to folder: TemporaryFolder, _ path: String) throws {
        try folder.write(certificate, to: "\(path)/certificate.pem")
        chmod(try folder.write(key, to: "\(path)/key.pem"), 0o600)
    }
}
