import DNSProtocol
import Foundation
import PosternCore
import PosternEngine
import Testing

@testable import PosternConfiguration

/// The table of parameters, the reader and the documentation say the same.
struct ParameterTests {
    @Test func theTableListsWhatTheReaderReads() throws {
        let text = "listeners:\n  - { role: policy, address: \"127.0.0.1:10023\" }\n"
        let asked = try ConfigurationLoader.read(text, file: "f", defaults: Configuration()).askedPaths
        let listed = Parameter.all.map(\.path)
        #expect(Set(listed).count == listed.count, "a parameter is listed twice")
        #expect(Set(listed) == asked)
    }

    @Test func theDefaultsOfTheTableAreTheDefaults() throws {
        let defaults = Configuration()
        for parameter in Parameter.all where !parameter.defaultValue.hasPrefix("(") {
            // As the table writes it, it is read; and it changes nothing.
            let keys = parameter.path.split(separator: ".")
            let text = keys.count == 1 ? "\(keys[0]): \(parameter.defaultValue)" : "\(keys[0]): { \(keys[1]): \(parameter.defaultValue) }"
            #expect(try ConfigurationLoader.load(text, file: parameter.path, defaults: defaults).configuration == defaults)
            let shown = try #require(defaults.yaml(of: parameter.path), "\(parameter.path) is not shown")
            #expect(
                [parameter.defaultValue, "\"\(parameter.defaultValue)\""].contains(shown)
                    || shown == "1d" && parameter.defaultValue == "24h")
        }
    }

    @Test func everyParameterIsDocumented() {
        for parameter in Parameter.all {
            #expect(parameter.documentation.hasSuffix(".") && parameter.documentation.count > 20, "\(parameter.path)")
            #expect(!parameter.type.isEmpty && !parameter.defaultValue.isEmpty, "\(parameter.path)")
        }
    }

    @Test func everyParameterIsShownWithItsComment() throws {
        var everything = Configuration()
        everything.user = "postern"
        everything.throttle.advice = "write to us"
        everything.firewall.nftablesFile = "/run/refused.nft"
        everything.accounts.webhook = "https://example.net/hook"
        var gateway = Configuration.Gateway(backends: [.unix(path: "/run/b", mode: nil, group: nil)])
        gateway.backendAuthorities = "/etc/ca.pem"
        gateway.certificate = "/etc/cert.pem"
        gateway.key = "/etc/key.pem"
        var inner = Configuration.Inner()
        inner.nodes = PrefixSet([Prefix("192.0.2.1")!])
        inner.nodeChecks = [.tcp(IPAddress(v4: 3), port: 25)]
        inner.nodeCertificates = ["/etc/postern/node1.pem"]
        inner.nodeNames = [DomainName("node2.throttle.example")!]
        inner.nodeAuthorities = "/etc/postern/nodes.pem"
        gateway.inner = inner
        var throttle = Configuration.Gateway(backends: [])
        throttle.routes = try [#require(DomainName("example.net")): [.tcp(IPAddress(v4: 2), port: 25)]]
        var submission = Configuration.Gateway(backends: [.tcp(IPAddress(v4: 4), port: 25)])
        submission.submission = Configuration.Submission()
        submission.submission?.loginDomain = DomainName("example.net")
        var admin = Configuration.Admin()
        admin.tokenFile = "/etc/postern/token"
        admin.hosts = ["door.example.net"]
        var socketmap = Configuration.Socketmap()
        socketmap.throttleNames = [DomainName("throttle.example")!]
        socketmap.trustedBy = socketmap.throttleNames
        socketmap.trustZone = try? ListSpecification("trusted.throttle.example")
        socketmap.sourceAddresses = [IPAddress(v4: 2)]
        var service = Configuration.DNSService(zones: [
            .init(name: DomainName("bl.example.net")!), .init(name: DomainName("black.example.net")!),
        ])
        service.nameServers = [DomainName("ns.example.org")!]
        service.contact = "dnsbl@example.net"
        service.lookup = "https://example.net/$"
        service.allow = PrefixSet([Prefix(IPAddress(v4: 1), length: 32)])
        service.rateLimit = 10
        everything.listeners = [
            .init(name: "d", role: .admin, address: .unix(path: "/run/d", mode: nil, group: nil), admin: admin),
            .init(name: "s", role: .socketmap, address: .tcp(IPAddress(v4: 1), port: 27), socketmap: socketmap),
            .init(name: "r", role: .throttle, address: .tcp(IPAddress(v4: 2), port: 25), gateway: throttle),
            .init(name: "u", role: .submission, address: .tcp(IPAddress(v4: 2), port: 587), gateway: submission),
            .init(name: "a", role: .policy, address: .unix(path: "/run/a", mode: 0o660, group: "postfix")),
            .init(name: "t", role: .trap, address: .tcp(IPAddress(v4: 1), port: 25), trap: .init(mode: .tarpit)),
            .init(name: "l", role: .dnsbl, address: .tcp(IPAddress(v4: 1), port: 53), dnsService: service),
            .init(name: "b", role: .gateway, address: .unix(path: "/run/c", mode: nil, group: nil), gateway: gateway),
        ]
        let lines = everything.commentedYAML.split(separator: "\n")
        for parameter in Parameter.all {
            #expect(lines.contains { $0.trimmingPrefix { $0 == " " || $0 == "-" }.hasPrefix("\(parameter.name):") }, "\(parameter.path)")
        }
    }

    @Test func theDocumentationIsWrittenFromTheTable() throws {
        let path = URL(filePath: Corpus.folder).deletingLastPathComponent().deletingLastPathComponent().path + "/docs/configuration.md"
        let file = try String(contentsOfFile: path, encoding: .utf8)
        #expect(file == Parameter.reference, "run: postern config reference > docs/configuration.md")
        for parameter in Parameter.all { #expect(file.contains("| `\(parameter.name)` | ")) }
    }

    @Test func theExampleInTheDocumentationIsGood() throws {
        let start = try #require(Parameter.reference.range(of: "```yaml\n"))
        let end = try #require(Parameter.reference.range(of: "\n```", range: start.upperBound..<Parameter.reference.endIndex))
        let loaded = try ConfigurationLoader.load(String(Parameter.reference[start.upperBound..<end.lowerBound]), file: "example")
        #expect(loaded.warnings.isEmpty)
        #expect(loaded.configuration.listeners.count == 2)
    }

    @Test func suggestionsAreNearAndOnlyNear() {
        let keys = ["hostname", "greylist", "data_directory", "log"]
        #expect(Suggestion.nearest(to: "hostnam", among: keys) == "hostname")
        #expect(Suggestion.nearest(to: "ghostname", among: keys) == "hostname")
        #expect(Suggestion.nearest(to: "greylsit", among: keys) == "greylist")
        #expect(Suggestion.nearest(to: "data-directory", among: keys) == "data_directory")
        #expect(Suggestion.nearest(to: "Log", among: keys) == "log")
        #expect(Suggestion.nearest(to: "colour", among: keys) == nil)
        #expect(Suggestion.nearest(to: String(repeating: "x", count: 100_000), among: keys) == nil)
        #expect(Suggestion.nearest(to: "", among: keys) == nil)
        #expect(Suggestion.distance(Array("abcd".utf8), Array("abdc".utf8)) == 1)
        #expect(Suggestion.distance(Array("kitten".utf8), Array("sitting".utf8)) == 3)
    }
}
