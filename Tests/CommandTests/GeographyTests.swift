import Foundation
import IntegrationSupport
import PosternCore
import Testing

/// Where addresses are registered is looked up in files on this machine: nobody needs to answer for that.
struct GeographyTests {
    private let place: Workplace
    private let config: String

    init() throws {
        place = try Workplace()
        var database = WrittenDatabase()
        database.add(try #require(Prefix("203.0.113.0/24")), WrittenDatabase.country("ZZ"))
        try Data(database.octets).write(to: URL(filePath: place.path("country.mmdb")))
        config = try place.write(
            """
            dns: { resolvers: [] }
            listeners: [{ name: policy, role: policy, address: "127.0.0.1:0" }]
            geo: { databases: ["\(place.path("country.mmdb"))"], countries: { ZZ: 20 } }

            """, to: "c.yaml")
    }

    private func explain(_ address: String) async throws -> String? {
        let outcome = try await place.run(
            "explain", "--config", config, "--ip", address, "--from", "a@example.org", "--to", "b@example.net", "--json")
        return outcome.object["verdict"] as? String
    }

    @Test func aCountryCountsWithoutResolvers() async throws {
        #expect(try await explain("203.0.113.7") == "reject", "no daemon runs")
        #expect(try await explain("192.0.2.7") == "defer")
        try await place.withDaemon(["--config", config]) { daemon in
            #expect(try await explain("203.0.113.7") == "reject")
            let there = try await place.policy(
                daemon.port, sender: "a@example.org", recipient: "b@example.net", address: "203.0.113.7")
            let elsewhere = try await place.policy(daemon.port, sender: "a@example.org", recipient: "b@example.net", address: "192.0.2.7")
            #expect(there.contains("5.7.1"), "\(there)")
            #expect(elsewhere.contains("DEFER_IF_PERMIT"), "\(elsewhere)")
        }
    }

    @Test func aReplayAsksTheFilesForWhatTheDataLacks() async throws {
        let mails = """
            time,client_address,client_name,helo,sender,recipient,label,country
            1700000000,203.0.113.7,unknown,x,a@example.org,b@example.net,spam,
            1700000001,203.0.113.8,unknown,x,c@example.org,b@example.net,spam,NZ
            1700000002,192.0.2.7,unknown,x,d@example.org,b@example.net,spam,ZZ

            """
        let outcome = try await place.run("replay", "--config", config, "--json", try place.write(mails, to: "t.csv"))
        let policy = (outcome.object["policies"] as? [[String: Any]])?.first
        #expect((policy?["spam"] as? [String: Any])?["refused"] as? Int == 2, "\(outcome)")
        let evidence = (outcome.object["input"] as? [String: Any])?["evidence"] as? String
        #expect(evidence?.contains("geo.databases") == true, "\(evidence ?? "")")
        try FileManager.default.removeItem(atPath: place.path("country.mmdb"))
        let without = try await place.run("replay", "--config", config, "--json", place.path("t.csv"))
        #expect(without.code == 0 && without.errors.contains("country.mmdb cannot be read"), "\(without.errors)")
    }
}
