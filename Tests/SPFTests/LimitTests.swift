import PosternCore
import SPF
import Testing

/// What a hostile record may cost (RFC 7208 §4.6.4, §11.1).
struct LimitTests {
    @Test func aThousandIncludes() async throws {
        let record = "v=spf1" + (0..<1000).map { " include:i\($0).x" }.joined()
        var texts = ["example.org": record]
        for index in 0..<1000 { texts["i\(index).x"] = "v=spf1 ?all" }
        let resolver = ZoneResolver(texts: texts)
        let outcome = try await check(resolver)
        #expect(outcome.result == .permerror && outcome.problem == .tooManyLookups && outcome.lookups == 10)
        #expect(resolver.questions.count == 11)
        // The same, each in the next.
        texts = ["example.org": "v=spf1 include:i0.example.org"]
        for index in 0..<1000 { texts["i\(index).example.org"] = "v=spf1 include:i\(index + 1).example.org" }
        #expect(try await check(ZoneResolver(texts: texts)).problem == .tooManyLookups)
    }

    @Test(arguments: ["include:example.org", "redirect=example.org", "include:%{d}", "include:b.example.org", "redirect=%{o}"])
    func recursion(term: String) async throws {
        let resolver = ZoneResolver(texts: ["example.org": "v=spf1 \(term)", "b.example.org": "v=spf1 redirect=example.org"])
        #expect(try await check(resolver).problem == .tooManyLookups && resolver.questions.count == 11)
    }

    /// The most questions that any record can lead to are those that `SPFLimits.queries` counts.
    @Test func allThatCanBeAsked() async throws {
        var zone: [String: [ZoneResolver.Record]] = [:]
        let terms = (0..<9).map { "mx:m\($0).example.org" } + ["exists:%{p}.x.org"]
        for index in 0..<9 {
            zone["m\(index).example.org"] = (0..<10).map { .exchanger("h\(index)-\($0).example.org") }
            for host in 0..<10 { zone["h\(index)-\(host).example.org"] = .at("192.0.2.99") }
        }
        zone["1.2.0.192.in-addr.arpa"] = (0..<50).map { .pointer("p\($0).example.net") }
        zone["why.example.org"] = [.text("no")]
        let resolver = ZoneResolver(
            texts: ["example.org": "v=spf1 \(terms.joined(separator: " ")) -all exp=why.example.org"], zone)
        let outcome = try await check(resolver)
        #expect(outcome.problem == .tooManyLookups)
        let ninth = ZoneResolver(
            texts: ["example.org": "v=spf1 \(terms.dropFirst().joined(separator: " ")) -all exp=why.example.org"], zone)
        let second = try await check(ninth)
        #expect(second.result == .fail && second.explanation == "no" && second.lookups == 10)
        #expect(ninth.questions.count == 1 + 8 * 11 + 11 + 1 + 1 && ninth.questions.count <= SPFLimits.queries)
    }

    @Test func aMacroBomb() async throws {
        let helo = String(repeating: "long-label.", count: 90)
        let bomb = String(repeating: "%{S}%{H}%{L}%{p}", count: 900)
        let local = String(repeating: "%", count: 1000)
        let clock = ContinuousClock()
        for term in ["exists:\(bomb)", "a:\(bomb).org", "include:\(bomb).org", "redirect=\(bomb)", "x=\(bomb)"] {
            let record = "v=spf1 \(term)"
            #expect(record.utf8.count <= SPFLimits.recordOctets)
            let resolver = ZoneResolver(texts: ["example.org": record])
            let spent = try await clock.measure {
                let outcome = try await check(from: "\(local)@example.org", helo: helo, resolver)
                #expect(outcome.result == .neutral || outcome.result == .permerror)
            }
            #expect(resolver.questions.count <= 3 && resolver.questions.allSatisfy { $0.utf8.count <= 253 + 5 })
            #expect(spent < .seconds(5), "\(term.prefix(10)) took \(spent)")
        }
        // As an explanation.
        let resolver = ZoneResolver(texts: ["example.org": "v=spf1 -all exp=why.example.org", "why.example.org": bomb])
        let outcome = try await check(from: "\(local)@example.org", helo: helo, resolver)
        #expect(outcome.result == .fail && outcome.explanation?.utf8.count == SPFLimits.explanationOctets)
    }

    @Test func aLongRecord() async throws {
        let strings = { (text: String) in stride(from: 0, to: text.utf8.count, by: 255).map { Array(text.utf8.dropFirst($0).prefix(255)) } }
        func outcome(_ text: String) async throws -> SPFOutcome {
            try await check(ZoneResolver(["example.org": [.text(strings(text))]]))
        }
        // 10,000 octets that mean something.
        let networks = (0..<600).map { "ip4:198.51.100.\($0 % 256)" }.joined(separator: " ")
        let long = "v=spf1 \(networks) ip4:192.0.2.1 -all"
        #expect(long.utf8.count > 10_000)
        #expect(try await outcome(long).result == .pass)
        #expect(try await outcome("v=spf1 x=" + String(repeating: "y", count: 10_000) + " +all").result == .pass)
        // And more than anybody needs.
        let exact = "v=spf1 +all x="
        let fill = SPFLimits.recordOctets - exact.utf8.count
        #expect(try await outcome(exact + String(repeating: "y", count: fill)).result == .pass)
        let over = try await outcome(exact + String(repeating: "y", count: fill + 1))
        #expect(over.result == .permerror && over.problem == .recordTooLong(domain: "example.org"))
        // What is no SPF record may be of any length.
        let both = ZoneResolver(["example.org": [.text(String(repeating: "y", count: 60_000)), .text("v=spf1 +all")]])
        #expect(try await check(both).result == .pass)
    }

    @Test func manyTexts() async throws {
        let texts: [ZoneResolver.Record] = (0..<5000).map { .text("verification-\($0)") }
        #expect(try await check(ZoneResolver(["example.org": texts + [.text("v=spf1 +all")]])).result == .pass)
        let two = try await check(ZoneResolver(["example.org": texts + [.text("v=spf1 +all"), .text("v=spf1")]]))
        #expect(two.problem == .severalRecords(domain: "example.org"))
    }

    @Test func voidLookups() async throws {
        let zone: [String: [ZoneResolver.Record]] = ["a.example.org": .at("192.0.2.9"), "empty.example.org": [.text("x")]]
        func outcome(_ record: String, limit: Int = 2) async throws -> SPFOutcome {
            var settings = SPFSettings()
            settings.voidLookups = limit
            return try await check(settings: settings, ZoneResolver(texts: ["example.org": "v=spf1 \(record)"], zone))
        }
        let two = try await outcome("a:none.example.org exists:empty.example.org -all")
        #expect(two.result == .fail && two.voidLookups == 2)
        for third in ["a:x.org", "mx:a.example.org", "ptr:x.org", "exists:x.org"] {
            let three = try await outcome("a:none.example.org exists:empty.example.org \(third)")
            #expect(three.result == .permerror && three.problem == .tooManyVoidLookups && three.voidLookups == 3, "\(third)")
        }
        #expect(try await outcome("a:x.org", limit: 0).problem == .tooManyVoidLookups)
        #expect(try await outcome("a:x.org a:x.org a:x.org -all", limit: 10).result == .fail)
        // Not the text of exp, nor an exchanger's missing address, nor a name that cannot be asked for.
        let others = try await outcome("a:x.org a:y.org a:a..org -all exp=none.example.org")
        #expect(others.result == .fail && others.voidLookups == 2)
    }

    @Test func voidLookupsCountTerms() async throws {
        let zone: [String: [ZoneResolver.Record]] = ["m.example.org": (0..<5).map { .exchanger("h\($0).example.org") }]
        let resolver = ZoneResolver(texts: ["example.org": "v=spf1 mx:m.example.org -all"], zone)
        let outcome = try await check(resolver)
        #expect(outcome.result == .fail && outcome.voidLookups == 0 && resolver.questions.count == 7)
    }

    @Test func tenExchangers() async throws {
        for count in [10, 11] {
            let exchangers: [ZoneResolver.Record] = (0..<count).map { .exchanger("h\($0).example.org") }
            let zone = ["h0.example.org": [ZoneResolver.Record].at("192.0.2.1")]
            let outcome = try await check(
                ZoneResolver(texts: ["example.org": "v=spf1 mx -all"], zone.merging(["example.org": exchangers]) { $1 }))
            // Whatever the order that the DNS gives them in.
            #expect(count == 10 ? outcome.result == .pass : outcome.problem == .tooManyMailExchangers(domain: "example.org"))
        }
    }

    @Test func nullExchangers() async throws {
        for null in ["", "."] {
            let resolver = ZoneResolver(["example.org": [.text("v=spf1 mx -all"), .exchanger(null)]])
            let outcome = try await check(resolver)
            #expect(outcome.result == .fail && resolver.questions.count == 2 && outcome.voidLookups == 0)
        }
    }

    @Test func tenReverseNames() async throws {
        for (index, result) in [(9, SPFResult.pass), (10, .fail)] {
            let pointers: [ZoneResolver.Record] = (0..<12).map { .pointer($0 == index ? "mail.example.org" : "p\($0).example.net") }
            let resolver = ZoneResolver(
                texts: ["example.org": "v=spf1 ptr ptr ptr -all"],
                ["1.2.0.192.in-addr.arpa": pointers, "mail.example.org": .at("192.0.2.1")])
            let outcome = try await check(resolver)
            #expect(outcome.result == result)
            // Names elsewhere are not looked up, and the names are asked for once.
            #expect(resolver.questions.count == (result == .pass ? 3 : 2) && outcome.lookups == (result == .pass ? 1 : 3))
        }
    }

    /// RFC 7208 §4.6.4 counts the question of `%{p}` too, once, and not that of an explanation.
    @Test func theNameMacroIsALookup() async throws {
        let nine = (0..<9).map { _ in "a" }.joined(separator: " ")
        func outcome(_ record: String) async throws -> SPFOutcome {
            try await check(
                ZoneResolver(["example.org": [.text("v=spf1 \(record)")] + .at("192.0.2.9"), "unknown.x.org": .at("192.0.2.9")]))
        }
        #expect(try await outcome("\(nine) exists:%{p}.x.org").problem == .tooManyLookups)
        #expect(try await outcome("\(nine.dropFirst(2)) exists:%{p}.x.org").result == .pass)
        #expect(try await outcome("\(nine.dropFirst(4)) -exists:%{i}.x.org exists:%{p}.x.org").lookups == 10)
        #expect(try await outcome("\(nine) a -all exp=%{p}.x.org").result == .fail)
    }

    @Test func longInput() async throws {
        let resolver = ZoneResolver(texts: [
            "example.org": "v=spf1 exists:%{l1}.x.org include:%{h} -all exp=why.example.org", "why.example.org": "%{h}",
        ])
        let text = String(repeating: "a.", count: 50_000)
        let outcome = try await check(from: "\(text)b@example.org", helo: text, resolver)
        #expect(outcome.result == .fail && outcome.explanation == nil && resolver.questions.count == 2)
        #expect(
            outcome.receivedSPF.utf8.count <= SPFOutcome.lineOctets && outcome.authenticationResult == "spf=fail smtp.mailfrom=example.org")
    }

    @Test func aCheckThatIsCalledOff() async throws {
        let resolver = ZoneResolver(texts: ["example.org": "v=spf1 a include:example.org -all"])
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await check(resolver)
        }
        #expect(try await task.value.result == .temperror && resolver.questions.isEmpty)
    }
}
