import PosternCore
import Testing

@testable import PolicyProtocol

@Suite("Values of a policy request")
struct PolicyRequestValueTests {
    private func request(_ attribute: PolicyAttribute, _ value: [UInt8]) throws -> PolicyRequest {
        var decoder = PolicyRequestDecoder()
        decoder.feed(Array("request=smtpd_access_policy\n\(attribute.rawValue)=".utf8) + value + [10, 10])
        return try #require(try decoder.next())
    }

    @Test(
        "are numbers where Swift reads one, and zero otherwise",
        arguments: [
            "", "0", "1", "42", "007", "+5", "-3", "-0", "+", "-", " 1", "1 ", "1.0", "1e3", "٣", "999999999999999999",
            "1000000000000000000",
            "9223372036854775807", "9223372036854775808", "-9223372036854775808", "0000000000000000000000000007", "99999999999999999999",
            "12a", "/", ":",
        ])
    func numbers(text: String) throws {
        #expect(try request(.size, Array(text.utf8)).number(.size) == Int(text) ?? 0)
    }

    @Test(
        "are what their text says, whatever octets it has",
        arguments: [
            "", "a", "user@example.org", "User@Example.ORG.", "a@b@c.d", "@", "x@", "192.0.2.1", "::ffff:192.0.2.1", "2001:DB8::1",
            "Host.Example.",
            "a..b", "unknown", "bounces+list=example.net-1a2b3c@mail.example.com", String(repeating: "x", count: 64) + ".org",
            "grüße@müller.example",
        ])
    func values(text: String) throws {
        for octets in [Array(text.utf8), Array(text.utf8) + [0xff], [0xc3] + Array(text.utf8), Array(text.utf8) + [0xe2, 0x82]] {
            let request = try request(.sender, octets)
            let text = String(decoding: octets, as: UTF8.self)
            #expect(request[.sender] == text)
            #expect(request.address(.sender) == IPAddress(text))
            #expect(request.domainName(.sender) == DomainName(text))
            #expect(request.mailbox(.sender) == Mailbox(text))
            #expect(request.isEmpty(.sender) == text.isEmpty)
            #expect(request.holds(.sender, "unknown") == (text == "unknown"))
        }
    }

    @Test("that are not UTF-8 may make a name too long by what stands for them")
    func repairedLength() throws {
        // 62 octets that become 64, and 63 that stay so.
        let label = [UInt8](repeating: UInt8(ascii: "x"), count: 61)
        #expect(try request(.clientName, label + [0xff]).domainName(.clientName) == nil)
        #expect(try request(.clientName, label + [0x78, 0x78]).domainName(.clientName) != nil)
    }

    @Test("stay what they are while later requests are read")
    func kept() throws {
        var decoder = PolicyRequestDecoder()
        var kept: [PolicyRequest] = []
        for number in 0..<50 {
            // Some requests come alone, some together, some cut.
            let text =
                "request=smtpd_access_policy\nsender=user\(number)@example.org\n" + (number % 2 == 0 ? "size=\(number)\n" : "") + "\n"
            let octets = Array(text.utf8)
            let cut = number % 3 == 0 ? octets.count / 2 : octets.count
            decoder.feed(octets[..<cut])
            if number % 5 != 0 { while let request = try decoder.next() { kept.append(request) } }
            octets[cut...].withUnsafeBytes { decoder.feed($0) }
            if number % 7 != 0 { while let request = try decoder.next() { kept.append(request) } }
        }
        while let request = try decoder.next() { kept.append(request) }
        #expect(kept.count == 50)
        for (number, request) in kept.enumerated() {
            #expect(request[.sender] == "user\(number)@example.org")
            #expect(request.number(.size) == (number % 2 == 0 ? number : 0))
        }
        #expect(!decoder.isWithinRequest)
    }

    @Test("of a request without lines are not those of the one before")
    func notInherited() throws {
        var decoder = PolicyRequestDecoder()
        decoder.feed("request=smtpd_access_policy\nsender=a@b.c\n\n\n".utf8)
        #expect(try decoder.next() != nil)
        #expect(throws: PolicyRequestError.notAnAccessPolicyRequest("")) { try decoder.next() }
    }

    @Test("are found in any order, and when each attribute is nearly the one expected")
    func order() throws {
        for attributes in [PolicyAttribute.allCases, PolicyAttribute.allCases.reversed(), PolicyAttribute.allCases.shuffled()] {
            for size in [1, 6, 10_000] {
                var decoder = PolicyRequestDecoder()
                let lines = attributes.map {
                    $0 == .request ? "request=smtpd_access_policy\n" : "\($0.rawValue)=\($0.index)=\n\($0.rawValue)x=no\n"
                }
                let octets = Array((lines.joined() + "\n").utf8)
                var found: PolicyRequest?
                for start in stride(from: 0, to: octets.count, by: size) {
                    decoder.feed(octets[start..<min(start + size, octets.count)])
                    found = try decoder.next() ?? found
                }
                let request = try #require(found)
                for attribute in attributes where attribute != .request { #expect(request[attribute] == "\(attribute.index)=") }
            }
        }
    }
}

@Suite("Replies as octets")
struct PolicyReplyEncodingTests {
    @Test("are what was asked for, with what is not printable replaced, and no longer than they say")
    func encoding() {
        let texts = ["", "later", "a\nb\u{7f}ü\u{0}", String(repeating: "x", count: 383) + "yz", String(repeating: "ü", count: 600)]
        for text in texts {
            func plain(_ maximum: Int) -> String {
                String(decoding: text.utf8.prefix(maximum).map { $0 >= 0x20 && $0 <= 0x7e ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
            }
            let replies: [(PolicyReply, String)] = [
                (.dunno, "action=DUNNO\n\n"), (.deferIfPermit(text), "action=DEFER_IF_PERMIT 4.7.1 \(plain(384))\n\n"),
                (.defer(code: 451, enhanced: "4.7.1", text: text), "action=451 4.7.1 \(plain(384))\n\n"),
                (.reject(code: .min, enhanced: "5.7.1", text: text), "action=\(Int.min) 5.7.1 \(plain(384))\n\n"),
                (.hold(text), "action=HOLD \(plain(384))\n\n"), (.prepend(text), "action=PREPEND \(plain(998))\n\n"),
            ]
            for (reply, expected) in replies {
                #expect(reply.encoded == expected)
                #expect(expected.utf8.count <= reply.longestEncoding)
            }
        }
    }
}
