import Foundation
import PosternCore
import Testing

@testable import PosternConfiguration

/// What `config check` finds in a configuration that can be used.
struct ReviewTests {
    private func risks(_ text: String) throws -> [String] {
        ConfigurationReview.risks(try ConfigurationLoader.load(text, file: "f").configuration, text: text, file: "f").map(\.description)
    }

    private static let gateway = "role: gateway, backend_client_info: xclient"

    /// Each is found, at the place where it is written, and says what to do.
    @Test(arguments: [
        ("greylist:\n  delay: 31m\n", "f:2:10: warning: greylist.delay: some senders give up before 31m", "3m"),
        ("greylist: { window: 1h }", "f:1:21: warning: greylist.window: honest servers that come back later than 1h", "24h"),
        ("greylist: { lifetime: 6d }", "f:1:23: warning: greylist.lifetime: whoever writes less often than every 6d", "36d"),
        ("greylist: { ipv4_prefix: 32 }", "f:1:26: warning: greylist.ipv4_prefix: senders that retry", "use 24"),
        ("greylist: { ipv4_prefix: 8 }", "f:1:26: warning: greylist.ipv4_prefix: all who share a /8", "use 24"),
        ("greylist: { ipv6_prefix: 128 }", "f:1:26: warning: greylist.ipv6_prefix: one host", "use 64"),
        ("greylist: { mode: off, opt_out: [a@example.org] }", "f:1:33: warning: greylist.opt_out: means nothing", "mode: on"),
        ("greylist: { mode: off, opt_in: [a@example.org] }", "f:1:32: warning: greylist.opt_in: means nothing", "mode: on"),
        (
            "user: p\nhostname: a.example\ngreylist: { mode: off }\nlisteners: [{ role: trap, mode: sink, address: \"192.0.2.9:25\" }]\n",
            "f:3:19: warning: greylist.mode: no mail is known to be wanted", "mode: shadow"
        ),
        ("profile: selective\ndns: { resolvers: [] }", "f:1:10: warning: profile: dns.resolvers is []", "name a resolver"),
        ("profile: selective", "f:1:10: warning: profile: nobody is clean", "name one in dns_lists"),
        (
            "dns_lists:\n  - zen.spamhaus.org*2\n  - bl.example.org*10\n", "f:3:5: warning: dns_lists: bl.example.org adds 10",
            "keep it below"
        ),
        ("checks: { helo-syntax: { score: 12 } }", "f:1:24: warning: checks.helo-syntax: it adds 12", "keep it below"),
        ("checks: { helo-syntax: { mode: on, score: 0 } }", "f:1:24: warning: checks.helo-syntax: it is on and adds nothing", "mode: off"),
        ("bands: { pass: 0 }", "f:1:16: warning: bands.pass: a client of whom nothing is known", "below 0"),
        ("policy: { max_connections: 99 }", "f:1:28: warning: policy.max_connections: Postfix opens up to 100", "as many"),
        ("dns: { timeout: 9s }", "f:1:17: warning: dns.timeout: Postfix waits 10s", "stay at 8s or below"),
        ("decisions: { keep: 91d }", "f:1:20: warning: decisions.keep: who wrote to whom stays readable for 91d", "docs/privacy.md"),
        ("user: root", "f:1:7: warning: user: everything that strangers send", "such as postern"),
        ("data_directory: /tmp/p", "f:1:17: warning: data_directory: /tmp is emptied", "/var/lib/postern"),
        ("data_directory: /run/p/", "f:1:17: warning: data_directory: /run is emptied", "/var/lib/postern"),
        (
            "data_directory: /srv/p\nstore: { sqlite: /srv/q/p.db }", "f:2:18: warning: store.sqlite: the database stands elsewhere",
            "back both up"
        ),
        (
            "user: p\nhostname: a.example\naccounts: { mode: on }\nlisteners: [{ role: submission, address: \"192.0.2.9:587\", backend: \"127.0.0.1:10587\", backend_client_info: none, tls_certificate: /c, tls_key: /k }]\n",
            "f:4:108: warning: listeners[].backend_client_info: the mail server behind sees this host's address", "use xclient"
        ),
        (
            "user: p\nhostname: a.example\nlisteners: [{ role: submission, address: \"192.0.2.9:587\", backend: \"127.0.0.1:10587\", tls_certificate: /c, tls_key: /k }]\n",
            "f:3:21: warning: listeners[].role: nobody is counted", "mode: shadow"
        ),
        ("networks: { proxies: [192.0.2.9, 10.0.0.0/16] }", "f:1:34: warning: networks.proxies: whoever is in 10.0.0.0/16", "single hosts"),
        ("networks: { xclient: [\"2001:db8::/48\"] }", "f:1:23: warning: networks.xclient: whoever is in 2001:db8::/48", "single hosts"),
        ("networks: { local: [192.0.0.0/9] }", "f:1:21: warning: networks.local: nothing is asked of the strangers", "of your own"),
        ("networks: { forwarders: [\"2000::/16\"] }", "f:1:26: warning: networks.forwarders: nothing is asked", "of your own"),
        (
            "user: p\nlisteners:\n  - { role: policy, address: \"unix:/run/x\", mode: \"0666\" }\n",
            "f:3:51: warning: listeners[].mode: every program on this machine", "0660"
        ),
        (
            "user: p\nhostname: a.example\nlisteners:\n  - { role: trap, mode: tarpit, address: \"0.0.0.0:25\" }\n",
            "f:4:42: warning: listeners[].address: 0.0.0.0:25 is every address of this machine", "spare address"
        ),
        (
            "networks: { backup_mx: [192.0.2.9] }\nuser: p\nhostname: a.example\nlisteners: [{ role: trap, mode: tarpit, address: \"192.0.2.9:25\" }]\n",
            "f:4:50: warning: listeners[].address: 192.0.2.9 is in networks.backup_mx", "give the trap another"
        ),
        (
            "user: p\nhostname: a.example\nlisteners:\n  - { \(gateway), address: \"10.0.0.9:2525\", backend: \"10.0.0.1:25\" }\n  - { role: trap, mode: tarpit, address: \"10.0.0.9:25\" }\n",
            "f:5:42: warning: listeners[].address: 10.0.0.9 is the address of the gateway 'gateway' too", "no MX of yours has"
        ),
        (
            "user: p\nhostname: a.example\ndomains: [\"*\"]\nlisteners: [{ role: gateway, backend_client_info: none, address: \"10.0.0.9:25\", backend: \"10.0.0.1:25\" }]\n",
            "f:4:51: warning: listeners[].backend_client_info: the mail server behind takes Postern for the client", "list your domains"
        ),
        (
            "user: p\nhostname: a.example\nlisteners: [{ \(gateway), address: \"127.0.0.1:2525\", backend: \"127.0.0.1:2525\" }]\n",
            "f:3:96: warning: listeners[].backend: 127.0.0.1:2525 is the listener 'gateway' itself", "the mail server behind"
        ),
        (
            "user: p\nhostname: a.example\nlisteners: [{ \(gateway), address: \"10.0.0.9:25\", backend: \"192.0.2.1:25\" }]\n",
            "f:3:93: warning: listeners[].backend: mail crosses a public network to 192.0.2.1", "backend_tls: required"
        ),
        (
            "user: p\nhostname: a.example\nlisteners: [{ \(gateway), address: \"10.0.0.9:25\", backend: \"192.0.2.1:25\", backend_tls: required }]\n",
            "f:3:122: warning: listeners[].backend_tls: any certificate will do", "backend_ca"
        ),
        (
            "user: p\nhostname: a.example\nlisteners: [{ \(gateway), address: \"192.0.2.9:25\", backend: \"10.0.0.1:25\" }]\n",
            "f:3:69: warning: listeners[].address: without tls_certificate and tls_key", "name those of your mail server"
        ),
        (
            "hostname: a.example\nlisteners: [{ \(gateway), address: \"10.0.0.9:25\", backend: \"10.0.0.1:25\" }]\n",
            "f:2:12: warning: listeners: a port below 1024 is opened by root", "user: postern"
        ),
        (
            "hostname: mail\nuser: p\nlisteners: [{ \(gateway), address: \"10.0.0.9:25\", backend: \"10.0.0.1:25\" }]\n",
            "f:1:11: warning: hostname: 'mail' is what clients are greeted with", "in the DNS"
        ),
    ])
    func riskyIsFound(text: String, beginning: String, advice: String) throws {
        let found = try risks(text)
        #expect(found.count == 1 && found[0].hasPrefix(beginning) && found[0].contains(advice), "\(found)")
    }

    @Test func whatIsFineIsNotFound() throws {
        let text = """
            hostname: mx1.example.net
            data_directory: /var/lib/postern
            user: postern
            listeners:
              - { name: policy, role: policy, address: "unix:/var/spool/postfix/postern/policy.sock", mode: "0660", group: postfix }
              - name: mx
                role: gateway
                address: "0.0.0.0:2525"
                backend: "127.0.0.1:10025"
              - { name: trap, role: trap, address: "192.0.2.9:25", mode: tarpit }
            networks: { local: [10.0.0.0/8, 192.0.2.0/24, "2001:db8::/32"], proxies: [192.0.2.7], xclient: [127.0.0.1] }
            greylist: { mode: on, delay: 3m, opt_out: [support@example.net] }
            dns_lists: [zen.spamhaus.org*4]
            profile: selective
            checks: { helo-is-address: { mode: off, score: 0 } }

            """
        #expect(try risks(text) == [])
        #expect(try risks("") == [])
        // A short form of a list, and an alias, have their place too.
        #expect(
            try risks("x: &a 31m\n".replacing("x: &a 31m\n", with: "greylist: { delay: &a 31m }\n")).first?.hasPrefix("f:1:20:") == true)
    }

    // MARK: - This machine

    private func machine(_ text: String, resolvConf: String = "/nowhere") throws -> [String] {
        let configuration = try ConfigurationLoader.load(text, file: "f").configuration
        return ConfigurationReview.findings(onThisMachine: configuration, text: text, file: "f", resolvConf: resolvConf).map(\.message)
    }

    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "postern-review-\(UUID().uuidString.prefix(8))").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    @Test func dataThatOthersMayRead() throws {
        try withFolder { (folder: String) throws in
            chmod(folder, 0o750)
            #expect(try machine("data_directory: \(folder)") == [])
            chmod(folder, 0o755)
            #expect(try machine("data_directory: \(folder)").first?.contains("chmod o-rwx \(folder)") == true)
            chmod(folder, 0o700)
            _ = FileManager.default.createFile(atPath: folder + "/postern.db", contents: nil)
            chmod(folder + "/postern.db", 0o644)
            #expect(try machine("data_directory: \(folder)").map { $0.contains("may read \(folder)/postern.db") } == [true])
            chmod(folder + "/postern.db", 0o600)
            #expect(try machine("data_directory: \(folder)/a/b").map { $0.contains("mkdir -p \(folder)/a") } == [true])
            #expect(try machine("data_directory: \(folder)/postern.db").map { $0.contains("is not a folder") } == [true])
        }
    }

    /// `serve` would not start with any of them.
    @Test func whatCannotBeMade() throws {
        try withFolder { (folder: String) throws in
            chmod(folder, 0o700)
            let file = folder + "/file"
            _ = FileManager.default.createFile(atPath: file, contents: nil)
            chmod(file, 0o600)
            for (path, found) in [
                ("sub/p.db", "the folder \(folder)/sub is not there; make it with: mkdir -p \(folder)/sub"),
                (folder, "\(folder) is a folder; name a file in it"),
                ("\(file)/x.db", "\(file) is not a folder; name another"),
                ("\(file)/x/y.db", "\(file)/x leads through a file; name another folder"),
                ("file", nil), ("new.db", nil), ("\(folder)/new.db", nil),
            ] {
                let text = "data_directory: \(folder)\nstore: { sqlite: \(path) }\n"
                let told = ConfigurationReview.findings(
                    onThisMachine: try ConfigurationLoader.load(text, file: "f").configuration, text: text, file: "f",
                    resolvConf: "/nowhere")
                #expect(told.map(\.message) == (found.map { ["store.sqlite: \($0)"] } ?? []), "\(path)")
                #expect(told.allSatisfy { $0.line == 2 && $0.column == 18 })
            }
            // A data directory that is still to be made takes its database with it.
            #expect(try machine("data_directory: \(folder)/new/\n") == [])
            #expect(try machine("data_directory: \(file)/new\n") == ["data_directory: \(file) is not a folder; name another"])

            symlink("/nowhere", folder + "/link")
            for (path, found) in [
                (file, "\(file) is there and is not a socket; move it or choose another path"),
                (folder + "/link", "\(folder)/link is there and is not a socket; move it or choose another path"),
                (folder, "\(folder) is a folder; name a file in it"), ("\(file)/p.sock", "\(file) is not a folder; name another"),
                (folder + "/p.sock", nil),
            ] {
                let text = "data_directory: \(folder)\nlisteners: [{ role: policy, address: \"unix:\(path)\", mode: \"0660\" }]\n"
                #expect(try machine(text) == (found.map { ["listeners[].address: \($0)"] } ?? []), "\(path)")
            }
        }
    }

    @Test func whatAnAccountMayRead() throws {
        try withFolder { (folder: String) throws in
            chmod(folder, 0o755)
            let file = folder + "/k"
            _ = FileManager.default.createFile(atPath: file, contents: nil)
            symlink(file, folder + "/link")
            let owner = AccountRights(user: geteuid(), groups: [])
            let member = AccountRights(user: geteuid() + 1, groups: [getegid()])
            let stranger = AccountRights(user: geteuid() + 1, groups: [])
            for (mode, ofOwner, ofMember, ofStranger) in [
                (0o640, true, true, false), (0o604, true, false, true), (0o044, false, true, true),
            ]
                as [(mode_t, Bool, Bool, Bool)]
            {
                chmod(file, mode)
                for path in [file, folder + "/link"] {
                    // Root needs no permission.
                    #expect(owner.mayRead(path) == (ofOwner || geteuid() == 0), "\(mode)")
                    #expect(member.mayRead(path) == ofMember && stranger.mayRead(path) == ofStranger, "\(mode)")
                }
            }
            chmod(file, 0o644)
            chmod(folder, 0o700)
            #expect(!stranger.mayRead(file) && !stranger.mayRead(folder + "/link"))
            #expect(AccountRights(user: 0, groups: []).mayRead(file))
            #expect(stranger.mayRead(folder + "/not-there"), "that is said otherwise")
            #expect(AccountRights(named: "nobody-has-this") == nil)
        }
    }

    /// Started as root, files are read by the account that Postern has become.
    @Test(.enabled(if: geteuid() == 0 && getpwnam("nobody") != nil)) func keysThatTheAccountMayNotRead() throws {
        try withFolder { (folder: String) throws in
            chmod(folder, 0o755)
            for name in ["c", "k"] { _ = FileManager.default.createFile(atPath: "\(folder)/\(name)", contents: nil) }
            chmod(folder + "/c", 0o644)
            chmod(folder + "/k", 0o600)
            let text =
                "listeners: [{ role: gateway, address: \"127.0.0.1:0\", backend: \"127.0.0.1:1\", tls_certificate: \(folder)/c, tls_key: \(folder)/k }]\n"
            let found = try machine(text + "user: nobody\n").filter { $0.contains("tls_") }
            #expect(found == ["listeners[].tls_key: \(folder)/k: the account nobody may not read it; Postern will not start without it"])
            #expect(try machine(text).filter { $0.contains("tls_") } == [])
        }
    }

    @Test func authoritiesThatNothingIsComparedWith() throws {
        let text = "listeners: [{ role: gateway, address: \"127.0.0.1:0\", backend: \"127.0.0.1:1\", backend_ca: /ca.pem TLS }]\n"
        #expect(try ConfigurationLoader.load(text.replacing(" TLS", with: ", backend_tls: required"), file: "f").warnings == [])
        let told = try ConfigurationLoader.load(text.replacing(" TLS", with: ""), file: "f").warnings.map(\.description)
        #expect(told.count == 1 && told[0].contains("warning: listeners[].backend_ca: is not looked at"), "\(told)")
    }

    @Test func whatIsReadAndWrittenBesideAndIsNotThere() throws {
        try withFolder { (folder: String) throws in
            chmod(folder, 0o700)
            func text(_ place: String) -> String {
                """
                data_directory: \(folder)
                trusted_files: [\(place)/t]
                subscriptions: [{ name: drop, source: \(place)/s, list: black }, { name: web, source: "https://x.example/l", list: black }]
                exports: [{ file: \(place)/e, format: text }]
                throttle: { nftables_file: \(place)/n }
                accounts: { mode: on, command: [\(place)/run, x] }

                """
            }
            let found = try machine(text("\(folder)/none"))
            #expect(
                found.map { String($0.prefix { $0 != ":" }) } == [
                    "trusted_files", "subscriptions[].source", "exports[].file", "throttle.nftables_file", "accounts.command",
                ], "\(found)")
            for name in ["t", "s", "run"] {
                _ = FileManager.default.createFile(atPath: "\(folder)/\(name)", contents: nil)
                chmod("\(folder)/\(name)", 0o700)
            }
            #expect(try machine(text(folder)) == [])
        }
    }

    @Test func accountsFilesAndAddressesThatAreNotThere() throws {
        try withFolder { (folder: String) throws in
            chmod(folder, 0o700)
            let data = "data_directory: \(folder)\n"
            #expect(try machine(data + "user: nobody-has-this").map { $0.contains("adduser --system") } == [true])
            let listeners =
                data + """
                    listeners:
                      - { name: a, role: policy, address: "unix:\(folder)/x/p.sock", mode: "0660", group: nobody-has-this }
                      - { name: b, role: policy, address: "192.0.2.77:0" }
                      - { name: c, role: gateway, address: "127.0.0.1:0", backend: "127.0.0.1:1", tls_certificate: \(folder)/c, tls_key: \(folder)/k }
                      - { name: d, role: policy, address: "[::1]:0" }

                    """
            _ = FileManager.default.createFile(atPath: folder + "/k", contents: nil)
            chmod(folder + "/k", 0o644)
            let found = try machine(listeners)
            #expect(found.count == 5, "\(found)")
            for words in [
                "install -d -m 2750 \(folder)/x", "no group nobody-has-this", "no interface of this machine has 192.0.2.77",
                "\(folder)/c: no such file", "everybody on this machine may read it",
            ] {
                #expect(found.contains { $0.contains(words) }, "\(words)")
            }
            // What the daemon will refuse, in the same words.
            let admin =
                data + "listeners: [{ role: admin, address: \"127.0.0.1:0\", token_file: \(folder)/t }]\n"
            try Data("short\n".utf8).write(to: URL(filePath: "\(folder)/t"))
            chmod("\(folder)/t", 0o600)
            #expect(try machine(admin).map { $0.contains("fewer than 16 characters") } == [true])
            try Data("long-enough-to-be-a-token\n".utf8).write(to: URL(filePath: "\(folder)/t"))
            #expect(try machine(admin) == [])
            chmod("\(folder)/t", 0o644)
            #expect(try machine(admin).map { $0.contains("everybody may read") } == [true])
            #expect(try machine(data + "geo: { databases: [\(folder)/none.mmdb] }").map { $0.contains("no such file") } == [true])
        }
    }

    @Test func aPublicResolverOfTheSystem() throws {
        try withFolder { (folder: String) throws in
            chmod(folder, 0o700)
            let path = folder + "/resolv.conf"
            try "# comment\nnameserver\t8.8.8.8\nnameserver 192.0.2.53\nsearch example.org\n".write(
                toFile: path, atomically: true, encoding: .utf8)
            let data = "data_directory: \(folder)\n"
            #expect(
                try machine(data + "dns_lists: [a.example]", resolvConf: path).map { $0.contains("8.8.8.8 in \(path) is a public") } == [
                    true
                ])
            #expect(try machine(data, resolvConf: path) == [])
            #expect(try machine(data + "dns: { resolvers: [192.0.2.1] }\ndns_lists: [a.example]", resolvConf: path) == [])
        }
    }

    @Test func aFileThatAnybodyMayChange() throws {
        try withFolder { (folder: String) throws in
            chmod(folder, 0o700)
            let path = folder + "/c.yaml"
            try "hostname: a.example\ngreylist: { delay: 45m }\n".write(toFile: path, atomically: true, encoding: .utf8)
            chmod(path, 0o666)
            let file = ConfigurationFile(named: path, environment: [:])
            let found = file.review(try file.load())
            #expect(found.map(\.line) == [1, 2] && found[0].message.contains("chmod o-w \(path)"), "\(found)")
        }
    }
}

/// What a reload tells.
struct ConfigurationChangeTests {
    private func changes(_ old: String, _ new: String) throws -> [String] {
        let (old, new) = (
            try ConfigurationLoader.load(old, file: "f").configuration, try ConfigurationLoader.load(new, file: "f").configuration
        )
        return new.changes(since: old).map { "\($0)\($0.needsRestart ? " !" : "")" }
    }

    @Test func everyKeyThatChangedIsNamed() throws {
        #expect(try changes("hostname: a.example", "hostname: a.example") == [])
        #expect(
            try changes("greylist: { delay: 3m }\nuser: a", "greylist: { delay: 5m }\nlog: { level: debug }")
                == ["greylist.delay: 3m → 5m", "log.level: info → debug !", "user: \"a\" → nothing !"])
        #expect(
            try changes("checks: { helo-syntax: { score: 1 } }", "checks: { helo-syntax: { mode: off, score: 1 } }").map {
                $0.hasPrefix("checks.helo-syntax: ")
            }
                == [true])
        let long = "[" + (0..<100).map { "a\($0)@example.org" }.joined(separator: ", ") + "]"
        #expect(try changes("", "greylist: { opt_out: \(long) }")[0].count < 200)
    }

    @Test func listenersAreNamedByTheirNames() throws {
        let gateway = "listeners: [{ name: mx, role: gateway, address: \"127.0.0.1:25\", backend: \"127.0.0.1:26\" }]"
        #expect(
            try changes(gateway, gateway.replacing(":26", with: ":27"))
                == ["listeners.mx.backend: \"127.0.0.1:26\" → \"127.0.0.1:27\""])
        #expect(
            try changes(gateway, gateway.replacing(":25", with: ":28"))
                == ["listeners.mx.address: \"127.0.0.1:25\" → \"127.0.0.1:28\" !"])
        #expect(
            try changes(gateway, gateway.replacing("name: mx", with: "name: other"))
                == ["listeners.mx: gateway on 127.0.0.1:25 → nothing !", "listeners.other: nothing → gateway on 127.0.0.1:25 !"])
        let certificate = gateway.replacing(" }]", with: ", tls_certificate: /c, tls_key: /k }]")
        #expect(
            try changes(gateway, certificate) == [
                "listeners.mx.tls_certificate: nothing → \"/c\"", "listeners.mx.tls_key: nothing → \"/k\"",
            ])
    }

    @Test func whatMayBeSecretIsNotTold() throws {
        func lists(_ key: String) -> String {
            """
            subscriptions: [{ name: s, source: "https://us:\(key)@lists.example/l", list: block }, { name: t, source: /t, list: block }]
            dns_lists: ["\(key).zen.dq.spamhaus.net=127.0.0.2*3", { zone: "x\(key).example.net", name: other }]
            accounts: { mode: on, webhook: "https://hooks.example/\(key)" }
            listeners:
              - { name: skip, role: socketmap, address: "127.0.0.1:1", throttle_names: [t.example], trust_zone: "\(key).t.example",
                  source_addresses: [192.0.2.1] }
            """
        }
        #expect(
            try changes(lists("abcd1234"), lists("wxyz1234")) == [
                "dns_lists: [zen.dq.spamhaus.net, other] → [zen.dq.spamhaus.net (changed), other (changed)]",
                "subscriptions: [s, t] → [s (changed), t]", "accounts.webhook: (secret) → (secret)",
                "listeners.skip.trust_zone: (secret) → (secret) !",
            ])
        #expect(try changes("", "subscriptions: [{ name: t, source: /t, list: block }]") == ["subscriptions: [] → [t]"])
    }

    @Test(arguments: [
        "subscriptions: [{ name: s, source: 'ftp://us:S3CRET@lists.example/l', list: block }]",
        "subscriptions: [{ name: s, source: '//us:S3CRET@lists.example/l', list: block, format: 'us:S3CRET@x' }]",
        "subscriptions: 'https://us:S3CRET@lists.example/l'", "subscriptions: ['https://us:S3CRET@lists.example/l']",
        "accounts: { mode: on, webhook: 'htps://lists.example/S3CRET' }", "dns_lists: S3CRET1234.zen.dq.spamhaus.net",
        "dns_lists: ['S3CRET1234 .zen.dq.spamhaus.net']", "dns_lists: [{ zone: 'S3CRET1234.zen.dq.spamhaus.net*3' }]",
    ])
    func noMessageTellsASecret(_ text: String) throws {
        #expect {
            try ConfigurationLoader.load(text, file: "f")
        } throws: { error in
            !"\(error)".contains("S3CRET")
        }
    }

    @Test func onlyASocketsOwnKeysWaitForARestart() throws {
        let gateway = "listeners: [{ name: mx, role: gateway, address: \"127.0.0.1:25\", backend: \"127.0.0.1:26\" }]"
        func load(_ text: String) throws -> Configuration { try ConfigurationLoader.load(text, file: "f").configuration }
        #expect(try load(gateway.replacing(":26", with: ":27")).keysNeedingRestart(since: load(gateway)) == [])
        #expect(try load(gateway.replacing(":25", with: ":27")).keysNeedingRestart(since: load(gateway)) == ["listeners"])
    }
}
