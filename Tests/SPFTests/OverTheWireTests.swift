import DNSProtocol
import Foundation
import IntegrationSupport
import PosternCore
import PosternResolver
import SPF
import Testing

/// Checks over a real resolver and a DNS server on loopback: names of any octets, aliases, strings of records, failures.
struct OverTheWireTests {
    private func server(_ zones: [String: [ZoneResolver.Record]]) throws -> ScriptedDNSServer {
        let zone = ScriptedZone()
        for (name, records) in zones {
            for record in records {
                switch record {
                case .text(let strings): zone.add(name, .txt(strings.isEmpty ? [[]] : strings))
                case .address(let address):
                    let octets = address.octets
                    if address.family == .v4 {
                        zone.add(name, .a(octets.reduce(0) { $0 << 8 | UInt32($1) }))
                    } else {
                        zone.add(
                            name,
                            .aaaa(
                                high: octets.prefix(8).reduce(0) { $0 << 8 | UInt64($1) },
                                low: octets.suffix(8).reduce(0) { $0 << 8 | UInt64($1) })
                        )
                    }
                case .exchanger(let host): zone.add(name, exchange: host.isEmpty ? "." : host)
                case .pointer(let host): zone.add(name, pointer: host)
                case .alias(let target): zone.add(name, alias: target)
                case .timeout: break
                }
            }
        }
        let answer = zone.script
        return try ScriptedDNSServer { query, transport in
            guard let question = query.questions.first else { return .silence }
            let records = zones[question.name.labels.map { String(decoding: $0, as: UTF8.self) }.joined(separator: ".")] ?? []
            // Every question that has no record fails, at once for the test's sake.
            guard !records.contains(.timeout) || records.contains(where: { $0.type == question.type }) else {
                return .message(query.answer(code: .serverFailure))
            }
            return answer(query, transport)
        }
    }

    private func resolver(_ server: ScriptedDNSServer) throws -> Resolver {
        try Resolver(ResolverSettings(servers: [.init(IPAddress(v4: 0x7f00_0001), port: server.port)]))
    }

    @Test(.enabled(if: OpenSPFSuite.folder != nil, "the suites are not at hand"))
    func everyCaseOfRFC7208() async throws {
        var count = 0
        for scenario in try OpenSPFSuite.scenarios("pyspf-rfc7208-tests.yml") {
            let server = try server(scenario.zones)
            let resolver = try resolver(server)
            defer { resolver.close() }
            for test in scenario.cases {
                let outcome = try await check(
                    ip: test.host, from: test.sender, helo: test.helo, receiver: "",
                    SPFLookups(resolver, deadline: .after(.seconds(20))))
                #expect(test.accepted.contains(outcome.result.rawValue), "\(test.name): \(outcome)")
                if let explanation = test.explanation, outcome.result == .fail {
                    #expect((outcome.explanation ?? "DEFAULT") == explanation, "\(test.name)")
                }
                count += 1
            }
        }
        #expect(count == 203)
    }

    @Test func namesOfAnyOctets() async throws {
        let server = try server([
            "example.org": [
                .text("v=spf1 exists:%{l}\\x.y.org a:a/b:c%_d@e.example.org mx -all"), .exchanger("odd host.example.org"),
            ],
            "o'brien+tag\\x.y.org": .at("192.0.2.99"), "odd host.example.org": .at("192.0.2.7"), "x.y.org": .at("192.0.2.99"),
        ])
        let resolver = try resolver(server)
        defer { resolver.close() }
        let lookups = SPFLookups(resolver, deadline: .after(.seconds(20)))
        let outcome = try await check(from: "o'brien+tag@example.org", lookups)
        #expect(outcome.result == .pass && outcome.weakness == .exists, "\(outcome)")
        #expect(server.questions.map(\.description).last == "o'brien+tag\\\\x.y.org A")
        // An exchanger whose name has an escape in it is passed over.
        let other = try await check(ip: "192.0.2.7", from: "jo@example.org", lookups)
        #expect(other.result == .fail && !server.questions.contains { $0.name.description.hasPrefix("odd") })
        #expect(server.questions.contains { $0.name.description == "a/b:c\\032d@e.example.org" })
    }

    @Test func aReverseNameCannotPretend() async throws {
        // A label with a dot in it is one label: it is not below example.org.
        let server = try ScriptedDNSServer { query, _ in
            guard let question = query.questions.first else { return .silence }
            var records: [ResourceRecord] = []
            switch question.type {
            case .txt: records = [ResourceRecord(question.name, .txt([Array("v=spf1 ptr:example.org -all".utf8)]), timeToLive: 60)]
            case .ptr:
                if let name = DNSName(labels: ["evil.example.org".utf8]) {
                    records = [ResourceRecord(question.name, .ptr(name), timeToLive: 60)]
                }
            default: records = [ResourceRecord(question.name, .a(0xc000_0201), timeToLive: 60)]
            }
            return .message(query.answer(records))
        }
        let resolver = try resolver(server)
        defer { resolver.close() }
        #expect(try await check(SPFLookups(resolver, deadline: .after(.seconds(20)))).result == .fail)
    }

    @Test func aLongRecordComesOverTCP() async throws {
        let record = "v=spf1 " + (0..<600).map { "ip4:198.51.100.\($0 % 256)" }.joined(separator: " ") + " ip4:192.0.2.1 -all"
        let strings = stride(from: 0, to: record.utf8.count, by: 255).map { Array(record.utf8.dropFirst($0).prefix(255)) }
        let server = try server(["example.org": [.text(strings)]])
        let resolver = try resolver(server)
        defer { resolver.close() }
        #expect(try await check(SPFLookups(resolver, deadline: .after(.seconds(20)))).result == .pass)
        #expect(resolver.counts.tcp == 1)
    }

    @Test func silenceIsATemporaryError() async throws {
        let server = try ScriptedDNSServer { _, _ in .silence }
        let resolver = try resolver(server)
        defer { resolver.close() }
        let clock = ContinuousClock()
        let start = clock.now
        let outcome = try await check(SPFLookups(resolver, deadline: .after(.milliseconds(300))))
        #expect(outcome.result == .temperror && outcome.problem == .temporaryFailure(name: "example.org", type: "TXT"))
        #expect(start.duration(to: clock.now) < .seconds(15))
    }

    /// The deadline is one for all questions, however many the records lead to.
    @Test func slowAnswersAddUpToOneDeadline() async throws {
        let server = try ScriptedDNSServer { query, _ in
            guard let question = query.questions.first else { return .silence }
            let record = RecordData.txt([Array("v=spf1 include:a.%{d} -all".utf8)])
            return .after(.milliseconds(100), .message(query.answer([ResourceRecord(question.name, record, timeToLive: 60)])))
        }
        let resolver = try resolver(server)
        defer { resolver.close() }
        #expect(try await check(SPFLookups(resolver, deadline: .after(.milliseconds(600)))).result == .temperror)
        // Eleven would have come to a permanent error.
        #expect(server.questions.count <= 7)
    }
}

extension ZoneResolver.Record {
    fileprivate var type: RecordType? {
        switch self {
        case .text: .txt
        case .address(let address): address.family == .v4 ? .a : .aaaa
        case .exchanger: .mx
        case .pointer: .ptr
        case .alias: .cname
        case .timeout: nil
        }
    }
}
