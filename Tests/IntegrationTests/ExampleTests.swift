import Foundation
import IntegrationSupport
import PosternConfiguration
import Testing

/// packaging/examples: Postern reads its part, and the real servers theirs.
@Suite("examples", .servers("postfix", "exim4", "opensmtpd"))
struct ExampleTests {
    private static let folder = ServerRoots.project + "/packaging/examples"

    private func example(_ name: String) throws -> String { try String(contentsOfFile: "\(Self.folder)/\(name)", encoding: .utf8) }

    @Test(
        "every configuration is one",
        arguments: ["postfix-policy", "postfix-gateway", "postfix-submission", "exim-gateway", "opensmtpd-gateway", "container"])
    func configurations(name: String) throws {
        let loaded = try ConfigurationLoader.load(example("\(name).yaml"), file: name)
        // Behind the container's port stands the mail server alone.
        #expect(loaded.warnings.isEmpty || name == "container", "\(loaded.warnings)")
        #expect(loaded.configuration.listeners.count == (name == "postfix-submission" ? 2 : 1))
        let shipped = try String(contentsOfFile: ServerRoots.project + "/packaging/postern.yaml", encoding: .utf8)
        #expect(try ConfigurationLoader.load(shipped, file: "postern.yaml").warnings.isEmpty)
    }

    @Test("the container has the libraries that a build needs, and what it copies is there")
    func container() throws {
        let file = try String(contentsOfFile: ServerRoots.project + "/packaging/Containerfile", encoding: .utf8)
        let setup = try String(contentsOfFile: ServerRoots.project + "/scripts/setup.sh", encoding: .utf8)
        let packages = try #require(setup.firstMatch(of: /packages=\(([^)]+)\)/)).1.split(separator: " ")
        #expect(packages.count > 5)
        for package in packages { #expect(file.contains(" \(package) "), "\(package)") }
        for copied in file.matches(of: /COPY (packaging[^ ]+)/) {
            #expect(FileManager.default.fileExists(atPath: "\(ServerRoots.project)/\(copied.1)"), "\(copied.1)")
        }
        #expect(file.contains("swift:6.2-bookworm"))
    }

    @Test("Postfix takes its lines, and asks what they say")
    func postfix() async throws {
        let folder = try TemporaryFolder("examples")
        let root = try PrivateRoot("postfix", folder: folder)
        for name in ["postfix-policy.main.cf", "docker-mailserver/postfix-main.cf"] {
            try folder.write("compatibility_level = 3.6\n" + example(name), to: "etc/postfix/main.cf")
            try folder.write(example("postfix-gateway.master.cf") + example("postfix-submission.master.cf"), to: "etc/postfix/master.cf")
            let read = try await root.run(["/usr/sbin/postconf", "-n"])
            #expect(read.succeeded && !read.output.contains("warning"), "\(read.output)")
            let service = name.hasPrefix("docker") ? "inet:postern:10023" : "inet:127.0.0.1:10023"
            #expect(
                read.output.matches(of: /check_policy_service \{ ([^,]+), timeout=10s, default_action=DUNNO \}/).map { String($0.1) } == [
                    service, service,
                ])
            #expect(read.output.contains("access_map_defer_code = 451"))
            let services = try await root.run(["/usr/sbin/postconf", "-Mf"])
            #expect(services.succeeded && services.output.contains("smtpd_authorized_xclient_hosts=127.0.0.1"), "\(services.output)")
            #expect(services.output.contains("smtpd_sasl_auth_enable=yes"), "\(services.output)")
        }
    }

    @Test("Exim takes its lines")
    func exim() async throws {
        let folder = try TemporaryFolder("examples")
        let root = try PrivateRoot("exim4", folder: folder)
        try folder.write(example("exim-gateway.conf") + "\nbegin acl\nbegin routers\n", to: "etc/exim4/exim4.conf")
        let read = try await root.run(["/usr/sbin/exim4", "-bP", "daemon_smtp_ports", "hosts_proxy", "local_interfaces"])
        #expect(read.succeeded, "\(read.output)")
        for line in ["daemon_smtp_ports = 10025", "hosts_proxy = 127.0.0.1", "local_interfaces = 127.0.0.1"] {
            #expect(read.output.contains(line), "\(read.output)")
        }
    }

    @Test("OpenSMTPD takes its line")
    func openSMTPD() async throws {
        let folder = try TemporaryFolder("examples")
        let root = try PrivateRoot("opensmtpd", folder: folder)
        try folder.write(
            example("opensmtpd-gateway.conf") + "action \"local\" maildir \"/var/mail\"\nmatch from any for local action \"local\"\n",
            to: "etc/smtpd.conf")
        let read = try await root.run(["/usr/sbin/smtpd", "-n", "-f", "/etc/smtpd.conf"])
        #expect(read.succeeded && read.output.contains("configuration OK"), "\(read.output)")
    }
}
