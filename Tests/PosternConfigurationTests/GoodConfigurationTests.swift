import Foundation
import PosternCore
import PosternEngine
import Testing

@testable import PosternConfiguration

struct GoodConfigurationTests {
    private func load(_ name: String) throws -> ConfigurationLoader.Loaded {
        try ConfigurationFile(named: "\(Corpus.folder)/Good/\(name).yaml", environment: [:]).load()
    }

    private func parse(_ text: String) throws -> ConfigurationLoader.Loaded { try ConfigurationLoader.load(text, file: "f") }

    @Test(arguments: try Corpus.files("Good"))
    func whatIsShownReadsBackEqual(file: String) throws {
        let loaded = try ConfigurationFile(named: "\(Corpus.folder)/Good/\(file)", environment: [:]).load()
        let shown = loaded.configuration.commentedYAML
        let again = try ConfigurationLoader.load(shown, file: "shown")
        #expect(again.configuration == loaded.configuration)
        // What is shown says everything, so other defaults change nothing; but nobody and no group cannot be written.
        var others = Configuration()
        others.hostname = "other.example"
        others.greylist.delay = .seconds(77)
        others.listeners = []
        #expect(try ConfigurationLoader.load(shown, file: "shown", defaults: others).configuration == loaded.configuration)
    }

    /// RFC 5890 §2.3.2.1: a greeting and EHLO have letters, digits and hyphens.
    @Test func namesHaveALabels() throws {
        let configuration = try parse(
            """
            hostname: B\u{dc}CHER.example
            domains: [m\u{fc}nchen.example]
            listeners:
              - { role: throttle, address: "127.0.0.1:2525", routes: { "b\u{fc}cher.example": "127.0.0.1:25" } }
            """
        ).configuration
        #expect(configuration.hostname == "xn--bcher-kva.example")
        #expect(configuration.domains == .listed([DomainName("xn--mnchen-3ya.example")!]))
        #expect(configuration.listeners.first?.gateway?.routes.keys.map(\.text) == ["xn--bcher-kva.example"])
    }

    @Test(arguments: try Corpus.files("Good"))
    func theJSONIsJSONAndHoldsTheSame(file: String) throws {
        let configuration = try ConfigurationFile(named: "\(Corpus.folder)/Good/\(file)", environment: [:]).load().configuration
        #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(configuration.json.utf8)) }
        // JSON is YAML, and it is read as a configuration too.
        #expect(try ConfigurationLoader.load(configuration.json, file: "json").configuration == configuration)
    }

    @Test func everything() throws {
        let loaded = try load("everything")
        let c = loaded.configuration
        #expect(loaded.warnings.isEmpty)
        #expect(c.hostname == "mx1.example.net")
        #expect(c.dataDirectory == "/var/lib/postern")
        #expect(
            c.listeners == [
                .init(name: "policy", role: .policy, address: .tcp(IPAddress("127.0.0.1")!, port: 10023)),
                .init(name: "six", role: .policy, address: .tcp(IPAddress("::1")!, port: 10023)),
                .init(
                    name: "local", role: .policy,
                    address: .unix(path: "/var/spool/postfix/postern/policy.sock", mode: 0o660, group: "postfix")),
                .init(name: "any", role: .policy, address: .tcp(IPAddress("127.0.0.1")!, port: 0)),
                .init(name: "any-again", role: .policy, address: .tcp(IPAddress("127.0.0.1")!, port: 0)),
            ])
        #expect(c.store.sqlite == "postern.db" && c.store.sync == .full)
        #expect(c.domains == .listed([DomainName("example.net")!, DomainName("example.org")!]))
        #expect(c.networks.local.prefixes == [Prefix("192.0.2.0/24")!, Prefix("2001:db8::/32")!])
        #expect(c.networks.backupMX.prefixes == [Prefix("198.51.100.7")!])
        #expect(c.networks.forwarders.prefixes == [Prefix("203.0.113.0/25")!])
        #expect(c.networks.proxies.prefixes == [Prefix("::1")!])
        #expect(c.networks.xclient.prefixes == [Prefix("127.0.0.1")!])
        #expect(
            c.dns.resolvers
                == .listed([
                    .init(address: IPAddress("192.0.2.53")!), .init(address: IPAddress("127.0.0.1")!, port: 5353),
                    .init(address: IPAddress("::1")!),
                ]))
        #expect(c.dns.timeout == .milliseconds(1500))
        #expect(c.profile == .classic && c.spfHeader == .receivedSPF && c.engineSettings.spfHeader == .receivedSPF)
        #expect(c.greylist.recheck == .zero && c.policy.hold == .seconds(3))
        #expect(
            c.checks == [.earlyTalk: CheckSetting(mode: .shadow, score: 7.5), .pipelining: CheckSetting(mode: .off, score: 4)])
        #expect(c.bands.slow == 4 && c.bands.reject == 12.5)

        var greylist = GreylistSettings()
        greylist.mode = .shadow
        greylist.delay = .minutes(5)
        greylist.window = .days(2)
        greylist.lifetime = .days(35)
        greylist.provenAfter = 0
        greylist.widths = IdentityWidths(v4: 32, v6: 48)
        greylist.header = false
        greylist.recheck = .zero
        greylist.reply = .plain
        greylist.optIn = [Pattern("example.net")!]
        greylist.optOut = [Pattern("support@example.net")!, Pattern("noc@")!, Pattern("sub.example.net")!]
        #expect(c.greylist == greylist)

        #expect(c.policy.idleTimeout == .minutes(5) && c.policy.maxConnections == 500 && c.policy.maxRequestSize == 16384)
        #expect(c.policy.maxLineLength == 2048 && c.policy.maxAttributes == 64)
        #expect(c.decisions.keep == .days(30))
        #expect(c.delays.greeting == .auto && c.delays.stage == .seconds(1) && c.delays.deferral == .seconds(2))
        #expect(c.delays.firstPass == .seconds(3) && c.delays.stutter == .seconds(1))
        #expect(c.framing == .reject)
        #expect(c.log.format == .json && c.log.level == .debug && c.log.redact)
        #expect(c.user == "postern")

        let settings = c.engineSettings
        #expect(settings.hostname == "mx1.example.net" && settings.greylist == greylist && settings.networks == c.networks)
        #expect(settings.checks == c.checks && settings.bands == c.bands && settings.delays == c.delays)
    }

    @Test(arguments: ["empty", "comments-only"])
    func nothingSaidIsTheDefault(name: String) throws {
        let c = try load(name).configuration
        var expected = Configuration()
        expected.hostname = c.hostname
        #expect(c == expected)
        #expect(c.listeners == [.init(name: "policy", role: .policy, address: .tcp(IPAddress("127.0.0.1")!, port: 10023))])
        #expect(c.dataDirectory == "./postern-data")
    }

    @Test func modesHoweverYAMLReadsThem() throws {
        let modes: [(String, Mode)] = [
            ("on", .on), ("off", .off), ("on-quoted", .on), ("off-quoted", .off), ("true", .on), ("shadow", .shadow),
            ("shadow-quoted", .shadow),
        ]
        for (name, mode) in modes { #expect(try load("mode-\(name)").configuration.greylist.mode == mode, "\(name)") }
    }

    @Test func anInnerDoorIsReadAndShown() throws {
        let configuration = try load("inner").configuration
        #expect(configuration.listeners.map(\.role) == [.inner, .inner, .inner])
        let inner = try #require(configuration.listeners.first?.gateway?.inner)
        #expect(inner.nodes == PrefixSet([Prefix("192.0.2.1")!, Prefix("198.51.100.0/28")!]))
        #expect(inner.checked == [.tcp(IPAddress("192.0.2.1")!, port: 2525)] && inner.checkInterval == .seconds(5))
        #expect(inner.advice == "go away, kindly" && inner.deferrals == 1 && inner.refusals == 0)
        #expect(inner.silence == .hours(1) && inner.strangers == 5)
        #expect(configuration.listeners[1].gateway?.inner?.checked == [.tcp(IPAddress("192.0.2.7")!, port: 25)])
        let shown = try #require(configuration.listeners[2].gateway?.inner)
        #expect(shown.nodes.isEmpty && shown.nodeCertificates == ["/etc/postern/node1.pem"])
        #expect(shown.nodeNames == [DomainName("node2.throttle.example")!, DomainName("node3.throttle.example")!])
        #expect(shown.nodeAuthorities == "/etc/postern/nodes.pem")
        #expect(try ConfigurationLoader.load(configuration.commentedYAML, file: "f").configuration == configuration)
    }

    @Test func submissionIsReadAndShown() throws {
        let loaded = try load("submission")
        #expect(loaded.warnings.isEmpty, "\(loaded.warnings)")
        let submissions = loaded.configuration.listeners.compactMap(\.gateway?.submission)
        #expect(submissions.map(\.tls) == [.implicit, .starttls, .implicit])
        #expect(submissions.map(\.loginDomain?.text) == ["example.net", nil, nil])
        // Nobody comes in without a log-in, so there need not be domains.
        #expect(loaded.configuration.listeners[1].gateway?.clientInformation == Configuration.Gateway.ClientInformation.none)
        #expect(try ConfigurationLoader.load(loaded.configuration.commentedYAML, file: "f").configuration == loaded.configuration)
    }

    @Test func theOtherWayOfTLSAtAWellKnownPortIsAWarning() throws {
        for (port, tls) in [(465, "starttls"), (587, "implicit")] {
            let loaded = try ConfigurationLoader.load(
                "hostname: a.example\nlisteners: [{ role: submission, tls: \(tls), address: \"192.0.2.1:\(port)\", backend: \"127.0.0.1:25\", tls_certificate: /c, tls_key: /k }]",
                file: "f")
            #expect(
                loaded.warnings.count == 1 && loaded.warnings.first?.description.contains("at port \(port)") == true, "\(loaded.warnings)")
        }
    }

    @Test func aSocketmapIsReadAndShown() throws {
        let configuration = try load("socketmap").configuration
        let socketmap = try #require(configuration.listeners.first?.socketmap)
        #expect(socketmap.throttleNames == [DomainName("throttle.example")!, DomainName("other.example")!])
        #expect(socketmap.trustedBy == [DomainName("mx.other.example")!] && socketmap.unresolved == .temporary)
        #expect(socketmap.trustZone?.description == "trusted.throttle.example=127.0.0.[1..2]")
        #expect(socketmap.sourceAddresses == [IPAddress("192.0.2.1")!, IPAddress("2001:db8::1")!])
        #expect(try ConfigurationLoader.load(configuration.commentedYAML, file: "f").configuration == configuration)
    }

    @Test func theOtherGoodOnesSayWhatTheyMean() throws {
        #expect(try load("any-domain").configuration.domains == .any)
        #expect(try load("any-domain").configuration.dns.resolvers == .listed([]))
        let anchors = try load("anchors").configuration.networks
        #expect(anchors.forwarders == anchors.local && !anchors.local.isEmpty)
        #expect(try load("json").configuration.greylist.delay == .minutes(2))
        #expect(try load("crlf").configuration.greylist.delay == .minutes(2))
        #expect(
            try load("permissions-bare").configuration.listeners.first?.address
                == .unix(path: "/run/postern/policy.sock", mode: 0o660, group: nil))
        let short = try load("short-times").configuration
        #expect(short.greylist.delay == .milliseconds(250) && short.history.keep == .milliseconds(500))
        #expect(short.listeners.first?.gateway?.health.refresh == .milliseconds(500))
    }

    @Test(arguments: [
        (
            "listeners:\n  - { role: policy, address: \"192.0.2.1:10023\" }\n",
            "f:2:30: warning: listeners[].address: 192.0.2.1:10023 is not a loopback address: whoever reaches it may ask, so keep it behind a firewall"
        ),
        (
            "greylist: { delay: 9s }",
            "f:1:20: warning: greylist.delay: 9s is a very short delay; many bots try again at once, so less than 10s stops little"
        ),
        ("networks: { local: [0.0.0.0/0] }", "f:1:21: warning: networks.local: 0.0.0.0/0 is every IPv4 address"),
        ("networks: { local: [\"::/0\"] }", "f:1:21: warning: networks.local: ::/0 is every IPv6 address"),
        ("networks: { local: [192.0.2.1, 192.0.2.1/32] }", "f:1:32: warning: networks.local: 192.0.2.1 is given twice"),
        ("domains: [a.example, A.example]", "f:1:22: warning: domains: 'a.example' is given twice"),
        (
            "domains: [b\u{fc}cher.example, xn--bcher-kva.example]",
            "f:1:27: warning: domains: 'xn--bcher-kva.example' is given twice"
        ),
        (
            "delays: { greeting: 30s }",
            "f:1:21: warning: delays.greeting: many mail servers wait no longer than 30s for a greeting, so the gateway never lets them wait longer than 29s"
        ),
        (
            "listeners: [ { role: gateway, address: \"127.0.0.1:25\", backend: \"127.0.0.1:26\", command_timeout: 299s } ]",
            "f:1:98: warning: listeners[].command_timeout: RFC 5321 asks for at least 5m here; with less, slow but honest peers are cut off"
        ),
        (
            "listeners: [ { role: gateway, address: \"127.0.0.1:25\", backend: \"127.0.0.1:26\", backend_end_timeout: 9m } ]",
            "f:1:102: warning: listeners[].backend_end_timeout: RFC 5321 asks for at least 10m here; with less, slow but honest peers are cut off"
        ),
    ])
    func riskyIsAWarning(text: String, warning: String) throws {
        #expect(try parse(text).warnings.map(\.description) == [warning])
    }

    @Test func safeIsNoWarning() throws {
        for text in [
            "delays: { greeting: 29s }", "delays: { greeting: auto }",
            "listeners: [ { role: gateway, address: \"127.0.0.1:25\", backend: \"127.0.0.1:26\", command_timeout: 5m, data_timeout: 3m } ]",
        ] { #expect(try parse(text).warnings.isEmpty, "\(text)") }
    }

    @Test func moreSessionsThanDescriptorsIsAWarning() throws {
        func warnings(_ listener: String, _ descriptors: Int?) throws -> [String] {
            let text = "listeners: [ { role: gateway, address: \"127.0.0.1:25\", backend: \"127.0.0.1:26\"\(listener) } ]"
            return try ConfigurationLoader.load(text, file: "f", descriptors: descriptors).warnings.map(\.description)
        }
        #expect(try warnings(", max_sessions: 512", 1024).isEmpty)
        let warning = try #require(try warnings(", max_sessions: 513", 1024).first)
        #expect(
            warning.hasPrefix(
                "f:1:95: warning: max_sessions: 513 sessions need up to 1026 descriptors, one on each side, and a process may have 1024"))
        // The default counts as well, at the listener's place.
        #expect(try warnings("", 39_999).first?.hasPrefix("f:1:14: warning: max_sessions: 20000 sessions") == true)
        #expect(try warnings("", 40_000).isEmpty && warnings(", max_sessions: 1000000", nil).isEmpty)
    }

    @Test(arguments: [
        "greylist: { delay: 10s }", "delays: { greeting: 29s }", "listeners:\n  - { role: policy, address: \"127.8.8.8:10023\" }",
        "listeners:\n  - { role: policy, address: \"unix:/run/a\", mode: \"0666\" }",
    ])
    func theEdgeOfRiskyIsNot(text: String) throws {
        #expect(try parse(text).warnings.isEmpty)
    }

    // MARK: - The file

    @Test func whichFileIsRead() {
        func path(_ named: String?, _ environment: [String: String], _ systemPath: String) -> String? {
            ConfigurationFile(named: named, environment: environment, systemPath: systemPath).path
        }
        let there = "\(Corpus.folder)/Good/minimal.yaml"
        #expect(path("a.yaml", ["POSTERN_CONFIG": "b.yaml"], there) == "a.yaml")
        #expect(path(nil, ["POSTERN_CONFIG": "b.yaml"], there) == "b.yaml")
        #expect(path(nil, ["POSTERN_CONFIG": ""], there) == there)
        #expect(path(nil, [:], "/nonexistent/postern.yaml") == nil)
        #expect(ConfigurationFile.systemPath == "/etc/postern/postern.yaml")
    }

    @Test func theMachinesNameIsTheDefaultWhereItIsOne() {
        #expect(ConfigurationFile.defaults(machineName: "Mail.Example.NET").hostname == "mail.example.net")
        #expect(ConfigurationFile.defaults(machineName: "").hostname == "localhost")
        #expect(ConfigurationFile.defaults(machineName: "a b").hostname == "localhost")
    }

    @Test func pathsThatFollow() {
        var c = Configuration()
        #expect(c.databasePath == "./postern-data/postern.db")
        #expect(c.keyPath == "./postern-data/postern.key")
        c.dataDirectory = "/var/lib/postern/"
        #expect(c.controlSocketPath == "/var/lib/postern/control.sock")
        c.store.sqlite = "/srv/p.db"
        #expect(c.databasePath == "/srv/p.db")
    }

    @Test func whatNeedsARestartIsNamed() {
        let old = Configuration()
        #expect(old.keysNeedingRestart(since: old).isEmpty)
        var new = old
        new.greylist.delay = .minutes(9)
        new.hostname = "other.example"
        #expect(new.keysNeedingRestart(since: old).isEmpty)
        new.listeners[0].name = "other"
        new.dataDirectory = "/elsewhere"
        new.store.sync = .full
        new.policy.maxConnections = 1
        new.decisions.keep = .days(1)
        new.log.redact = true
        new.user = "postern"
        #expect(new.keysNeedingRestart(since: old) == ["data_directory", "listeners", "store", "policy", "decisions", "log", "user"])
    }

    @Test func anyTextInQuotesReadsBack() throws {
        for text in [
            "a\"b\\c", "ünïcödé", "#no comment", "a: b", "\u{2028}line", " lead", "trail ", "'", "%", "@", "true", "0x10", "\u{85}\u{feff}",
        ] {
            var c = Configuration()
            c.store.sqlite = text
            #expect(try parse(c.commentedYAML).configuration.store.sqlite == text)
        }
    }

    @Test func quotedMailboxesAreReadAndPrinted() throws {
        let read = try parse(#"greylist: { opt_out: ["\"a b\"@x.example", '"jo"@x.example'] }"#).configuration
        #expect(Set(read.greylist.optOut.map(\.description)) == [#""a b"@x.example"#, "jo@x.example"])
        #expect(try parse(read.commentedYAML).configuration.greylist.optOut == read.greylist.optOut)
    }

    /// What submission listeners make of a name, where they make one thing of it.
    @Test func anAccountIsWhatItLogsInAs() throws {
        func account(_ name: String, _ domains: [String?]) throws -> String {
            var c = Configuration()
            let listener = try #require(
                try parse(
                    "listeners: [{ name: s, role: submission, address: \"127.0.0.1:587\", backend: \"127.0.0.1:25\", tls_certificate: /c, tls_key: /k }]"
                ).configuration.listeners.first)
            c.listeners = domains.map { domain in
                var listener = listener
                listener.gateway?.submission?.loginDomain = domain.flatMap { DomainName($0) }
                return listener
            }
            return c.account(name)
        }
        #expect(try account("Bob", ["x.example", nil, "X.example"]) == "bob@x.example")
        #expect(try account("Bob@Y.example", ["x.example"]) == "bob@y.example")
        #expect(try account("Bob", ["x.example", "y.example"]) == "bob", "nobody knows which")
        #expect(try account("Bob", [nil]) == "bob" && account("Bob", []) == "bob")
    }
}
