import DNSProtocol
import PosternCore
import Testing

func name(_ text: String) throws -> DNSName { try #require(DNSName(text)) }

extension DNSMessage {
    init(octets: [UInt8]) throws(DNSFormatError) {
        let octets = octets
        try self.init(parsing: octets.span)
    }
}

/// One of everything.
func richMessage() throws -> DNSMessage {
    var message = DNSMessage.query(Question(try name("www.example.org"), .a), id: 0xbeef)
    message.isResponse = true
    message.isAuthoritative = true
    message.recursionAvailable = true
    message.answers = [
        ResourceRecord(try name("www.example.org"), .cname(try name("web.example.org")), timeToLive: 300),
        ResourceRecord(try name("web.example.org"), .a(0xc000_0201), timeToLive: 60),
        ResourceRecord(try name("web.example.org"), .aaaa(high: 0x2001_0db8_0000_0000, low: 1), timeToLive: 0),
        ResourceRecord(try name("example.org"), .mx(preference: 10, exchange: try name("mx.example.org")), timeToLive: 5),
        ResourceRecord(try name("example.org"), .txt([Array("v=spf1 -all".utf8), [], [0, 255]]), timeToLive: 5),
        ResourceRecord(try name("1.2.0.192.in-addr.arpa"), .ptr(try name("web.example.org")), timeToLive: 5),
        ResourceRecord(try name("example.org"), .other([1, 2, 3]), timeToLive: 5, type: RecordType(rawValue: 65280)),
    ]
    message.authorities = [
        ResourceRecord(try name("example.org"), .ns(try name("ns.example.org")), timeToLive: 5),
        ResourceRecord(
            try name("example.org"),
            .soa(
                StartOfAuthority(
                    primary: try name("ns.example.org"), contact: try name("hostmaster.example.org"), serial: 2_026_112_000,
                    refresh: 7200, retry: 900, expire: 1_209_600, minimum: 3600)),
            timeToLive: 86_400),
    ]
    message.additionals = [ResourceRecord(try name("ns.example.org"), .a(0xc000_0202), timeToLive: 5)]
    message.extensions = DNSMessage.Extensions(payloadSize: 1232, version: 0, dnssecOK: true, options: [0, 10, 0, 2, 7, 7])
    return message
}

@Suite struct MessageTests {
    @Test func whatIsWrittenIsReadBack() throws {
        let message = try richMessage()
        let octets = message.serialised()
        #expect(try DNSMessage(octets: octets) == message)
        // Names are written once: in full they take more than twice as much.
        #expect(octets.filter { $0 & 0xc0 == 0xc0 }.count >= 15)
        #expect(octets.count < 420)
    }

    @Test func aQueryIsWhatAResolverExpects() throws {
        let octets = DNSMessage.query(Question(try name("Example.org"), .mx), id: 0x1234).serialised()
        let wanted: [UInt8] =
            [0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 1, 7] + Array("example".utf8) + [3] + Array("org".utf8) + [0, 0, 15, 0, 1]
            + [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]
        #expect(octets == wanted)
    }

    @Test func everyShorterMessageIsTooShort() throws {
        let octets = try richMessage().serialised()
        for count in 0..<octets.count {
            #expect(throws: DNSFormatError.self) { try DNSMessage(octets: Array(octets[..<count])) }
        }
        #expect(try DNSMessage(octets: octets + [1, 2, 3]) == richMessage())
    }

    @Test func namesThatLoopOrRunWildAreRefused() throws {
        func message(_ name: [UInt8], before: [UInt8] = []) -> [UInt8] {
            [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0] + before + name + [0, 1, 0, 1]
        }
        // To itself, forwards, to each other, into the header that points on.
        #expect(throws: DNSFormatError.badPointer) { try DNSMessage(octets: message([0xc0, 12])) }
        #expect(throws: DNSFormatError.badPointer) { try DNSMessage(octets: message([0xc0, 20])) }
        #expect(throws: DNSFormatError.badPointer) { try DNSMessage(octets: message([1, 0x61, 0xc0, 12])) }
        #expect(throws: DNSFormatError.badName) { try DNSMessage(octets: message([0x40, 1, 0])) }
        #expect(throws: DNSFormatError.badName) { try DNSMessage(octets: message([0x80, 1, 0])) }
        let label = [63] + [UInt8](repeating: 0x61, count: 63)
        #expect(throws: DNSFormatError.badName) { try DNSMessage(octets: message(label + label + label + label + [0])) }
        #expect(
            try DNSMessage(octets: message(label + label + label + [61] + [UInt8](repeating: 0x62, count: 61) + [0])).questions.count == 1)
    }

    @Test func dataHasToBeWhatItsTypeHas() throws {
        func record(_ type: UInt8, _ data: [UInt8]) -> [UInt8] {
            [0, 1, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, type, 0, 1, 0, 0, 0, 9, 0, UInt8(data.count)] + data
        }
        for bad in [
            record(1, [1, 2, 3]), record(1, [1, 2, 3, 4, 5]), record(28, [UInt8](repeating: 0, count: 15)),
            record(16, [2, 65]), record(2, [0, 0]), record(2, []), record(15, [0, 1]), record(6, [0, 0, 1, 2, 3]),
        ] {
            #expect(throws: DNSFormatError.self) { try DNSMessage(octets: bad) }
        }
        let odd = try DNSMessage(octets: record(16, [1, 65, 0]))
        #expect(odd.answers.first?.data == .txt([[65], []]))
        // One without any string says nothing, and the record beside it is read.
        let text: [UInt8] = [0, 0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 1, 65]
        var two = record(16, []) + text
        two[7] = 2
        let beside = try DNSMessage(octets: two)
        #expect(beside.answers.map(\.data) == [.other([]), .txt([[65]])] && beside.answers.allSatisfy { $0.type == .txt })
    }

    @Test func timesBeyondTheirRangeCountAsZero() throws {
        let octets: [UInt8] = [0, 1, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0x80, 0, 0, 1, 0, 4, 127, 0, 0, 2]
        #expect(try DNSMessage(octets: octets).answers.first?.timeToLive == 0)
    }

    @Test func extensionsCarryTheUpperBitsOfTheCode() throws {
        var message = DNSMessage(id: 1)
        message.isResponse = true
        message.code = .badVersion
        message.extensions = DNSMessage.Extensions(payloadSize: 512, version: 0)
        let octets = message.serialised()
        #expect(try DNSMessage(octets: octets).code == .badVersion)
        // Two of them, or one that is not the root's, is an error.
        var twice = octets
        twice[11] = 2
        #expect(throws: DNSFormatError.badExtensions) { try DNSMessage(octets: twice + octets[12...]) }
        let named = Array(octets[..<12]) + [1, 0x61] + octets[12...]
        #expect(throws: DNSFormatError.badExtensions) { try DNSMessage(octets: named) }
    }

    @Test func whatHasNoRoomIsLeftOutWhole() throws {
        var message = DNSMessage(id: 1)
        message.isResponse = true
        message.questions = [Question(try name("example.org"), .a)]
        message.extensions = DNSMessage.Extensions(payloadSize: 1232)
        for index in 0..<200 {
            message.answers.append(ResourceRecord(try name("example.org"), .a(UInt32(index)), timeToLive: 1))
        }
        for limit in [0, 512, 600, 1232, 2000] {
            let octets = message.serialised(limit: limit)
            #expect(octets.count <= max(limit, 512))
            #expect(octets.count > max(limit, 512) - 16)
            let read = try DNSMessage(octets: octets)
            #expect(read.isTruncated)
            #expect(read.extensions == message.extensions)
            #expect(read.answers == Array(message.answers.prefix(read.answers.count)))
        }
        #expect(try DNSMessage(octets: message.serialised()) == message)
        message.additionals = message.answers
        message.answers = []
        let lenient = try DNSMessage(octets: message.serialised(limit: 512))
        #expect(!lenient.isTruncated)
        #expect(lenient.additionals.count < 200)
    }

    @Test func aMessageBeyondTheRangeOfPointersIsReadBack() throws {
        var message = DNSMessage(id: 1)
        for index in 0..<300 {
            message.answers.append(
                ResourceRecord(
                    try name("host\(index).example.org"), .txt([[UInt8](repeating: UInt8(index & 255), count: 120)]), timeToLive: 1))
        }
        let octets = message.serialised()
        #expect(octets.count > 0x4000)
        #expect(try DNSMessage(octets: octets) == message)
    }

    /// Any octets are read or refused; what is read can be written, and is read back as the same.
    @Test func anyOctetsAreReadOrRefused() throws {
        var generator = SeededGenerator(seed: 20_261_121)
        let good = [try richMessage().serialised(), DNSMessage.query(Question(try name("a.b.c"), .txt), id: 7).serialised()]
        var read = 0
        for round in 0..<60_000 {
            var octets = good[round % good.count]
            switch round % 5 {
            case 0: octets = (0..<Int.random(in: 0...120, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
            case 1: octets.removeLast(Int.random(in: 0...octets.count, using: &generator))
            default:
                for _ in 0..<Int.random(in: 1...6, using: &generator) {
                    let index = Int.random(in: 0..<octets.count, using: &generator)
                    octets[index] = Bool.random(using: &generator) ? UInt8.random(in: 0...255, using: &generator) : 0xc0
                }
            }
            guard let message = try? DNSMessage(octets: octets) else { continue }
            read += 1
            let written = message.serialised()
            guard try !DNSMessage(octets: written).isTruncated else { continue }
            #expect(try DNSMessage(octets: written) == message)
            for question in message.questions { _ = message.conclusion(for: question) }
        }
        #expect(read > 5000)
    }

    /// The dearest message there is: every record's name is the longest there can be, by a pointer.
    @Test func theDearestMessageIsBounded() throws {
        let label = [63] + [UInt8](repeating: 0x61, count: 63)
        var octets: [UInt8] = [0, 1, 0x80, 0, 0, 1, 0x15, 0, 0, 0, 0, 0]
        octets += label + label + label + [61] + [UInt8](repeating: 0x62, count: 61) + [0, 0, 1, 0, 1]
        while octets.count < 65_500 { octets += [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0] }
        let took = ContinuousClock().measure { _ = try? DNSMessage(octets: octets) }
        #expect(took < .seconds(2))
    }
}
