import DNSProtocol
import PosternCore
import Testing

@Suite struct ConclusionTests {
    private func response(
        _ answers: [ResourceRecord] = [], authorities: [ResourceRecord] = [], code: ResponseCode = .noError, asked: String = "a.example"
    ) throws -> DNSMessage {
        var message = DNSMessage.query(Question(try name(asked), .a), id: 1)
        message.isResponse = true
        message.recursionAvailable = true
        message.answers = answers
        message.authorities = authorities
        message.code = code
        return message
    }

    private func alias(_ from: String, _ to: String, _ time: UInt32 = 100) throws -> ResourceRecord {
        ResourceRecord(try name(from), .cname(try name(to)), timeToLive: time)
    }

    private func soa(_ zone: String, time: UInt32, minimum: UInt32) throws -> ResourceRecord {
        ResourceRecord(
            try name(zone),
            .soa(StartOfAuthority(primary: .root, contact: .root, serial: 1, refresh: 1, retry: 1, expire: 1, minimum: minimum)),
            timeToLive: time)
    }

    private var question: Question { get throws { Question(try name("a.example"), .a) } }

    @Test func recordsAreFoundBehindAliasesInAnyOrder() throws {
        let message = try response([
            ResourceRecord(try name("c.example"), .a(3), timeToLive: 50),
            try alias("b.example", "c.example", 20),
            try alias("a.example", "b.example"),
            ResourceRecord(try name("c.example"), .a(4), timeToLive: 60),
            ResourceRecord(try name("elsewhere.example"), .a(5), timeToLive: 1),
            ResourceRecord(try name("c.example"), .txt([[1]]), timeToLive: 1),
        ])
        #expect(try message.conclusion(for: question) == .records([.a(3), .a(4)], owner: name("c.example"), timeToLive: 20))
    }

    @Test func aliasesThatGoRoundAreMalformed() throws {
        let circle = try response([try alias("a.example", "b.example"), try alias("b.example", "a.example")])
        #expect(try circle.conclusion(for: question) == .malformed)
        #expect(try response([try alias("a.example", "a.example")]).conclusion(for: question) == .malformed)
        func chain(_ length: Int) throws -> DNSMessage {
            try response(
                try (0..<length).map { try alias($0 == 0 ? "a.example" : "x\($0).example", "x\($0 + 1).example") }
                    + [ResourceRecord(try name("x\(length).example"), .a(1), timeToLive: 9)])
        }
        #expect(try chain(16).conclusion(for: question) == .records([.a(1)], owner: name("x16.example"), timeToLive: 9))
        #expect(try chain(17).conclusion(for: question) == .malformed)
    }

    @Test func anAliasAloneIsToBeFollowed() throws {
        let message = try response([try alias("a.example", "b.example", 30)])
        #expect(try message.conclusion(for: question) == .alias(name("b.example"), timeToLive: 30))
    }

    @Test func negativeAnswersAreKeptAsLongAsTheZoneSays() throws {
        #expect(
            try response(authorities: [soa("example", time: 900, minimum: 60)], code: .noSuchDomain).conclusion(for: question)
                == .noSuchDomain(timeToLive: 60))
        #expect(
            try response(authorities: [soa("example", time: 30, minimum: 60)]).conclusion(for: question) == .noData(timeToLive: 30))
        #expect(try response(code: .noSuchDomain).conclusion(for: question) == .noSuchDomain(timeToLive: nil))
        #expect(try response().conclusion(for: question) == .noData(timeToLive: nil))
        // A SOA record of a zone that the name is not in says nothing of it.
        #expect(
            try response(authorities: [soa("other", time: 900, minimum: 60)], code: .noSuchDomain).conclusion(for: question)
                == .noSuchDomain(timeToLive: nil))
        // The alias is shorter-lived than the knowledge of its target.
        let aliased = try response(
            [alias("a.example", "b.other", 10)], authorities: [soa("other", time: 900, minimum: 60)], code: .noSuchDomain)
        #expect(try aliased.conclusion(for: question) == .noSuchDomain(timeToLive: 10))
    }

    @Test func refusalsReferralsAndStrangersAreNoAnswers() throws {
        #expect(try response(code: .serverFailure).conclusion(for: question) == .failure(.serverFailure))
        #expect(try response(code: .refused).conclusion(for: question) == .failure(.refused))
        var referral = try response(authorities: [ResourceRecord(try name("example"), .ns(try name("ns.example")), timeToLive: 1)])
        referral.recursionAvailable = false
        #expect(try referral.conclusion(for: question) == .lame)
        #expect(try response(asked: "b.example").conclusion(for: question) == .malformed)
        var query = try response()
        query.isResponse = false
        #expect(try query.conclusion(for: question) == .malformed)
        var silent = try response()
        silent.questions = []
        #expect(try silent.conclusion(for: question) == .malformed)
    }
}
