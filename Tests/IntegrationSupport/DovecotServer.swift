import Foundation

/// A Dovecot of one test's own that does nothing but know passwords: a Postfix asks it (`smtpd_sasl_type = dovecot`).
public final class DovecotServer: Sendable {
    /// Where it is asked, on 127.0.0.1.
    public let port: UInt16
    private let root: PrivateRoot
    private let process: Current

    /// - Parameter users: passwords by name; neither has a colon.
    public static func start(users: [String: String]) async throws -> DovecotServer {
        let server = try DovecotServer(users: users)
        // -F: stay in the foreground.
        let running = try server.root.start(["/usr/sbin/dovecot", "-F", "-c", "/etc/dovecot/dovecot.conf"])
        server.process.set(running)
        try await running.waitUntilReady("listening on port \(server.port)") { FreePort.isListening(server.port) }
        return server
    }

    private init(users: [String: String]) throws {
        root = try PrivateRoot("dovecot", folder: TemporaryFolder("dovecot"))
        port = try FreePort.next()
        process = Current()
        try root.folder.write(
            """
            protocols = none
            log_path = /var/log/dovecot.log
            base_dir = /run/dovecot
            state_dir = /var/lib/dovecot
            ssl = no
            disable_plaintext_auth = no
            auth_mechanisms = plain login
            auth_failure_delay = 0
            auth_verbose = yes
            passdb {
              driver = passwd-file
              args = scheme=PLAIN username_format=%u /etc/dovecot/users
            }
            userdb {
              driver = static
              args = uid=1000 gid=1000 home=/var/vmail
            }
            service auth {
              inet_listener {
                address = 127.0.0.1
                port = \(port)
              }
            }

            """, to: "etc/dovecot/dovecot.conf")
        try root.folder.write(users.map { "\($0.key):{PLAIN}\($0.value)\n" }.joined(), to: "etc/dovecot/users")
        // 113 is dovecot.
        try root.folder.write("640 0:113 etc/dovecot/users\n", to: "owners")
    }

    /// The log so far, and what was written to standard error.
    public var log: String { root.folder.read("var/log/dovecot.log") + root.folder.read("output.log") }
}
