import PosternCore
import SPF
import Testing

/// Records with octets changed, put in and taken out: no input traps, and every bound holds.
struct MutationTests {
    /// SplitMix64 (Steele, Lea, Flood 2014): the same run from the same seed.
    struct Seeded: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
    }

    private static let records = [
        "v=spf1 a mx/24//64 ptr:example.org ip4:192.0.2.0/24 ip6:2001:db8::/32 exists:%{ir}.%{v}._spf.%{d2} -all",
        "v=spf1 include:b.example.org ?include:c.example.org redirect=%{d}", "v=spf1 -all exp=%{ir}.why.example.org",
        "v=spf1 a:%{H} mx:%{l1r-}.%{o} exists:%{s}%%%_%- ~all exp=why.example.org", "v=spf1 exists:%{p}.x.org include:%{i}.i.org -all",
    ]

    private static let explanation = "See http://%{d}/why?s=%{S};ip=%{c};r=%{r} %{t}%%%_%- %{p2r-+}"

    private func mutated(_ text: String, _ random: inout Seeded) -> [UInt8] {
        var octets = Array(text.utf8)
        let pool = Array("%{}/:.=+-~? 0189adehilmoprstvx\"\\()\r\n".utf8) + [0, 0x7f, 0x80, 0xff]
        for _ in 0..<Int.random(in: 0...4, using: &random) {
            let place = Int.random(in: 0...octets.count, using: &random)
            let octet = pool[Int.random(in: 0..<pool.count, using: &random)]
            switch Int.random(in: 0..<5, using: &random) {
            case 0 where place < octets.count: octets[place] = octet
            case 1 where place < octets.count: octets.remove(at: place)
            case 2 where place < octets.count:
                // A piece of it again.
                let end = min(octets.count, place + Int.random(in: 1...20, using: &random))
                octets.insert(contentsOf: octets[place..<end], at: Int.random(in: 0...octets.count, using: &random))
            default: octets.insert(octet, at: place)
            }
        }
        return octets
    }

    @Test(arguments: [1, 20_261_121, 0xdead_beef] as [UInt64])
    func mutatedRecords(seed: UInt64) async throws {
        var random = Seeded(state: seed)
        var seen: Set<SPFResult> = []
        for round in 0..<2000 {
            // Tests that measure time run beside this one, on as few threads as there are cores.
            await Task.yield()
            var zone: [String: [ZoneResolver.Record]] = [
                "mail.example.org": .at("192.0.2.1", "2001:db8::1"), "1.2.0.192.in-addr.arpa": [.pointer("mail.example.org")],
                "192.0.2.1.i.org": [.text("v=spf1 ip4:192.0.2.1")], "late.example.org": [.timeout],
            ]
            for name in ["example.org", "b.example.org", "c.example.org"] {
                let record = Self.records[Int.random(in: 0..<Self.records.count, using: &random)]
                zone[name] = [.text([mutated(record, &random)]), .exchanger("mail.example.org")]
            }
            zone["why.example.org"] = [.text([mutated(Self.explanation, &random)])]
            zone["1.2.0.192.why.example.org"] = zone["why.example.org"]
            let resolver = ZoneResolver(zone)
            let local = String(decoding: mutated("strong-bad+x", &random), as: UTF8.self)
            let helo = String(decoding: mutated("mail.example.org", &random), as: UTF8.self)
            let outcome = try await check(
                ip: ["192.0.2.1", "2001:db8::1", "203.0.113.5"][round % 3], from: "\(local)@example.org", helo: helo, resolver)
            seen.insert(outcome.result)
            #expect(outcome.lookups <= SPFLimits.lookups && outcome.voidLookups <= SPFLimits.voidLookups + 1)
            #expect(resolver.questions.count <= SPFLimits.queries)
            #expect((outcome.explanation?.utf8.count ?? 0) <= SPFLimits.explanationOctets)
            #expect((outcome.problem?.result ?? outcome.result) == outcome.result)
            expectSound(outcome)
        }
        // So the changes are neither too few nor too many.
        #expect(seen.isSuperset(of: [.pass, .fail, .permerror, .none, .softfail]))
    }

    @Test func octetsAtRandom() throws {
        var random = Seeded(state: 7)
        for _ in 0..<5000 {
            let noise = (0..<Int.random(in: 0...60, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            _ = try? SPFRecord(parsing: Array("v=spf1 ".utf8) + noise)
            let visible = noise.map { 0x21 + $0 % 0x5e }
            _ = try? SPFRecord(parsing: Array("v=spf1 a:%{".utf8) + visible)
        }
    }
}
