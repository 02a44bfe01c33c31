import Foundation

@testable import PosternServer

/// Two self-signed certificates for tests, good from 2020 to 2120.
enum TestCertificates {
    struct Pair: Sendable {
        let certificate: String
        let key: String
    }

    /// For one.example.org.
    static let one = Pair(
        certificate: """
            -----BEGIN CERTIFICATE-----
            MIIBVTCB/aADAgECAgEBMAoGCCqGSM49BAMCMBoxGDAWBgNVBAMMD29uZS5leGFt
            cGxlLm9yZzAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowGjEYMBYG
            A1UEAwwPb25lLmV4YW1wbGUub3JnMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
            I0f8buIdkHtfDRd52+41ZRv9xsqcP8Iz6cpPyMvuaP6nSQExEBtXmacTFBxgu1/G
            /nDDel2OXLrAWZUeVCkaeaMyMDAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQU
            sx9bktoKoXKlnDNn6oKoSYkA9t4wCgYIKoZIzj0EAwIDRwAwRAIgQNqY0XSUe5pk
            aMFo/B7zIUbX3RsQM02Ki9Xea29PcwECIEc1xqCEYPerFHMXwj2rWhKaWckYMiGf
            vDk5U07hiQ3q
            -----END CERTIFICATE-----

            """,
        key: """
            -----BEGIN PRIVATE KEY-----
            MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVofar2SGkglQGAYx
            g+5mKZ3Tb2nWlOrLiQsUElrHU5ChRANCAAQjR/xu4h2Qe18NF3nb7jVlG/3Gypw/
            wjPpyk/Iy+5o/qdJATEQG1eZpxMUHGC7X8b+cMN6XY5cusBZlR5UKRp5
            -----END PRIVATE KEY-----

            """)

    /// For two.example.org.
    static let two = Pair(
        certificate: """
            -----BEGIN CERTIFICATE-----
            MIIBVzCB/aADAgECAgEBMAoGCCqGSM49BAMCMBoxGDAWBgNVBAMMD3R3by5leGFt
            cGxlLm9yZzAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowGjEYMBYG
            A1UEAwwPdHdvLmV4YW1wbGUub3JnMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
            CUvLuZ6TQfvrjUWUhYD8Kew4W7O/5C20BNo5yrUJLK4+Hbh9WwU5iLHl5Z71iouK
            y9eJ+iVDlPGudi5sNADPOqMyMDAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQU
            rL0+0pQj+MqWB4+xJxK4tWAKSrswCgYIKoZIzj0EAwIDSQAwRgIhAM80BkskOkeV
            +MVbeNMVdksbiyv1AcZlW82696+f0gdIAiEA7S3Du7sKVbq1u81n0MiEX/fFgEhb
            sn+0BMCXbyvwZgE=
            -----END CERTIFICATE-----

            """,
        key: """
            -----BEGIN PRIVATE KEY-----
            MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmHcH8qfw2Yk1QYI+
            lQBcpe3YCmOEsqjCA2PVNZmfYoyhRANCAAQJS8u5npNB++uNRZSFgPwp7Dhbs7/k
            LbQE2jnKtQksrj4duH1bBTmIseXlnvWKi4rL14n6JUOU8a52Lmw0AM86
            -----END PRIVATE KEY-----

            """)
}

/// A folder with a certificate, which goes with its last user.
final class CertificateFolder: Sendable {
    let path: String

    init(_ pair: TestCertificates.Pair) throws {
        path = NSTemporaryDirectory() + "postern-tls-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try write(pair)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ pair: TestCertificates.Pair) throws {
        try pair.certificate.write(toFile: path + "/cert.pem", atomically: true, encoding: .utf8)
        try pair.key.write(toFile: path + "/key.pem", atomically: true, encoding: .utf8)
    }

    var certificate: GatewaySettings.Certificate {
        GatewaySettings.Certificate(chainPath: path + "/cert.pem", keyPath: path + "/key.pem")
    }
}
