import DNSProtocol
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import Testing

@testable import PosternServer
@testable import PublishedLists

/// What is published of the admin's own entries.
struct OwnEntriesTests {
    private func entry(_ list: ListEntry.List, _ kind: ListEntry.Kind, _ text: String, until second: Int64? = nil) throws -> ListEntry {
        ListEntry(
            list, kind, try #require(Pattern(text)), expires: second.map { WallTime(seconds: $0) }, added: WallTime(seconds: 0))
    }

    private func export(_ source: PublishedSource, at now: UInt32) -> String {
        let name = DNSName("bl.example.net")!
        var octets: [UInt8] = []
        ListExport(
            .text, colours: [.black], sources: [source], time: ZoneTime(now: now),
            zone: ZoneSettings(name: name, nameServers: [name], mailbox: name)
        ).write { octets += $0 }
        return String(decoding: octets, as: UTF8.self)
    }

    @Test func aZonesExportHasWhatTheZoneShows() throws {
        let configuration = try ConfigurationLoader.load(
            """
            hostname: mx.example.net
            listeners:
              - { name: l, role: dnsbl, address: "127.0.0.1:5353", zone: bl.example.net, zones: [{ zone: dbl.example.net, kind: domain }] }
            """, file: "f"
        ).configuration
        let lists = Lists(entries: [try entry(.block, .client, "192.0.2.7"), try entry(.block, .sender, "spam.example")])
        func export(_ format: String, zone: String?, sources: [String]? = nil) throws -> String {
            var octets: [UInt8] = []
            let draft = ExportDraft(format: format, colours: [], sources: sources, zone: zone)
            try ListExport(draft, configuration, lists, [ListPublisher.own(lists)], ZoneTime(now: 1)).write { octets += $0 }
            return String(decoding: octets, as: UTF8.self)
        }
        #expect(try export("text", zone: nil) == "192.0.2.7\nspam.example\n")
        #expect(try export("text", zone: "bl.example.net") == "192.0.2.7\n")
        #expect(try export("text", zone: "dbl.example.net") == "spam.example\n")
        #expect(try !export("csv", zone: "dbl.example.net", sources: ["own"]).contains("192.0.2.7"))
        #expect(try export("nftables", zone: "bl.example.net").contains("192.0.2.7"))
        #expect(throws: ControlFailure.self) { try export("nftables", zone: "dbl.example.net") }
    }

    @Test func whatHasExpiredHidesNothingThatCounts() throws {
        let lists = Lists(entries: [
            try entry(.block, .client, "192.0.2.7"), try entry(.allow, .client, "192.0.2.7", until: 100),
            try entry(.block, .sender, "z.example"), try entry(.allow, .sender, "z.example", until: 100),
            // Which of the two is met first is chance.
            try entry(.block, .sender, "192.0.2.8", until: 100), try entry(.block, .client, "192.0.2.8"),
            try entry(.block, .sender, "x.example"), try entry(.block, .client, "x.example", until: 100),
            try entry(.block, .sender, "y.example", until: 100), try entry(.block, .client, "y.example"),
        ])
        let own = ListPublisher.own(lists)
        func colours(at now: UInt32) throws -> [ListColour?] {
            try ["192.0.2.7", "192.0.2.8"].map { own.listing(of: try #require(IPAddress($0)), at: now).map { own.colour(of: $0) } }
                + ["z.example", "x.example", "y.example"].map {
                    own.listing(of: try #require(DNSName($0)), at: now).map { own.colour(of: $0) }
                }
        }
        #expect(try colours(at: 99) == [.white, .black, .white, .black, .black])
        #expect(export(own, at: 99) == "192.0.2.8\nx.example\ny.example\n")
        #expect(try colours(at: 100) == [.black, .black, .black, .black, .black])
        #expect(export(own, at: 100) == "192.0.2.7\n192.0.2.8\nx.example\ny.example\nz.example\n")
        var count = 0
        own.forEach(at: 100) { _, _ in count += 1 }
        #expect(count == 2)
    }
}
