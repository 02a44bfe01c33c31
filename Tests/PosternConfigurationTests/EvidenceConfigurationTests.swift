import DNSProtocol
import PosternCore
import Testing

@testable import PosternConfiguration

struct EvidenceConfigurationTests {
    private func parse(_ text: String) throws -> ConfigurationLoader.Loaded { try ConfigurationLoader.load(text, file: "f") }

    @Test func listsAreReadAsPostscreenHasThem() throws {
        let loaded = try ConfigurationFile(named: "\(Corpus.folder)/Good/evidence.yaml", environment: [:]).load()
        #expect(loaded.warnings.isEmpty)
        let lists = loaded.configuration.dnsLists
        #expect(
            lists.map(\.name) == [
                "zen.spamhaus.org", "b.barracudacentral.org", "list.dnswl.org", "zen.dq.example.net", "dbl", "names.example.net",
                "many.example.net",
            ])
        #expect(
            lists[0].filters.entries == [
                .init(filter: try ReplyFilter("127.0.0.[2..11]"), weight: 3), .init(filter: try ReplyFilter("127.0.0.[4..7]"), weight: 1.5),
            ])
        #expect(lists[1].filters.entries == [.init(filter: nil, weight: 1)])
        #expect(lists[2].filters.reach == -4...0)
        #expect(lists[4].kind == .domain && !lists[4].tests && lists[4].filters.reach == 0...4)
        #expect(
            lists[6].filters.entries == [
                .init(filter: try ReplyFilter("127.0.0.2"), weight: 5), .init(filter: try ReplyFilter("127.0.0.3"), weight: 2),
                .init(filter: nil, weight: -1),
            ])
        #expect(lists[4].about == [.sender] && lists[5].about == [.helo, .client] && lists[0].about.isEmpty)
        #expect(lists[5].yaml.contains("about: [\"helo\", \"client\"]"), "\(lists[5].yaml)")
        #expect(loaded.configuration.geography.databases.count == 2)
        let settings = loaded.configuration.engineSettings
        #expect(settings.countries == ["NO": -1, "DE": 0.5, "XX": 3])
        #expect(settings.networkOwners == [64500: 2, 64501: -3])
    }

    /// A subscriber's key is part of the zone's name, and must not be told to those who are refused.
    @Test(
        arguments: [
            ("abcdefgh12345678abcdefgh12.zen.dq.spamhaus.net", "zen.dq.spamhaus.net"), ("zen.spamhaus.org", "zen.spamhaus.org"),
            ("topsecretaccesskey.zen.dq.spamhaus.net", "zen.dq.spamhaus.net"), ("k.x.zen.dq.spamhaus.net", "zen.dq.spamhaus.net"),
            ("zen.dq.spamhaus.net", "zen.dq.spamhaus.net"), ("topsecretaccesskey.dq.spamhaus.net", "dq.spamhaus.net"),
            ("abcd1234.dq.zone", "dq.zone"), ("abcdefghijklmnop.mail.example.net", "mail.example.net"),
            ("abcdefghijklmno.mail.example.net", "abcdefghijklmno.mail.example.net"),
            ("abc1234.mail.example.net", "abc1234.mail.example.net"),
            ("reputation-domain.rbl.example.net", "reputation-domain.rbl.example.net"),
            ("backscatter.spameatingmonkey.net", "backscatter.spameatingmonkey.net"), ("dnsbl-1.uceprotect.net", "dnsbl-1.uceprotect.net"),
            ("black.mail.example.net", "black.mail.example.net"), ("sbl2025verylongname.net", "sbl2025verylongname.net"),
        ])
    func aKeyIsNotPartOfTheName(zone: String, name: String) throws {
        #expect(Configuration.DNSList.displayName(of: try #require(DomainName(zone))) == name)
    }

    @Test func publicResolversAreWarnedOfWhereThereAreLists() throws {
        let warned = try parse("dns: { resolvers: [192.0.2.1, 8.8.8.8] }\ndns_lists: [zen.spamhaus.org]\n")
        #expect(
            warned.warnings.map(\.description) == [
                "f:1:31: warning: dns.resolvers: 8.8.8.8 is a public resolver, and most DNS lists refuse to answer those; run a resolver of your own (unbound) and name it in dns.resolvers"
            ])
        #expect(try parse("dns: { resolvers: [8.8.8.8] }").warnings.isEmpty)
        #expect(
            try parse("dns: { resolvers: [] }\ndns_lists: [zen.spamhaus.org]\n").warnings.map(\.message) == [
                "dns_lists: nobody is asked, since dns.resolvers is []"
            ])
    }

    @Test func scoresOfPlacesWithoutADatabaseAreWarnedOf() throws {
        #expect(
            try parse("geo: { countries: { DE: 1 } }").warnings.map(\.message) == [
                "geo: without databases no country and no network is known"
            ])
    }

    @Test func listsAreBounded() throws {
        func text(_ count: Int) -> String { "dns_lists: [\((0..<count).map { "l\($0).example" }.joined(separator: ", "))]" }
        #expect(try parse(text(64)).configuration.dnsLists.count == 64)
        #expect(throws: ConfigurationFailure.self) { try parse(text(65)) }
    }
}
