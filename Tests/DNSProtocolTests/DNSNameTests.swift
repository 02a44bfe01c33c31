import DNSProtocol
import PosternCore
import Testing

@Suite struct DNSNameTests {
    @Test func textIsReadIntoLabels() throws {
        let name = try #require(DNSName("Mail.Example.ORG."))
        #expect(name.wire == [4] + Array("mail".utf8) + [7] + Array("example".utf8) + [3] + Array("org".utf8) + [0])
        #expect(name == DNSName("mail.example.org"))
        #expect(name.description == "mail.example.org")
        #expect(name.labels.map { String(decoding: $0, as: UTF8.self) } == ["mail", "example", "org"])
        #expect(DNSName(".") == DNSName.root)
        #expect(DNSName.root.description == ".")
        #expect(DNSName.root.labels.isEmpty)
    }

    @Test(arguments: ["", "..", ".org", "a..b", "a.b..", String(repeating: "x", count: 64), String(repeating: "x", count: 64) + ".org"])
    func brokenTextIsNoName(_ text: String) {
        #expect(DNSName(text) == nil)
    }

    @Test func limitsAreThoseOfTheWire() throws {
        let label = String(repeating: "a", count: 63)
        #expect(DNSName(label)?.wire.count == 65)
        // 3 × 64 + 62 + 1 = 255 octets.
        let longest = [label, label, label, String(repeating: "b", count: 61)].joined(separator: ".")
        #expect(DNSName(longest)?.wire.count == 255)
        #expect(DNSName(longest + ".")?.wire.count == 255)
        #expect(DNSName(longest + "b") == nil)
        #expect(DNSName(labels: [Array(label.utf8), [], [1]]) == nil)
        #expect(DNSName(labels: Array(repeating: Array(label.utf8), count: 4)) == nil)
        let name = try #require(DNSName(longest))
        #expect(name.followed(by: .root) == name)
        #expect(try name.followed(by: #require(DNSName("c"))) == nil)
    }

    @Test func everyNameOfMailIsAName() throws {
        for text in ["example.org", "_dmarc.Example.org", "xn--bcher-kva.example", "a", String(repeating: "a.", count: 126) + "a"] {
            let domain = try #require(DomainName(text))
            #expect(DNSName(domain) == DNSName(text))
            #expect(DNSName(domain).domainName == domain)
        }
        #expect(try DNSName(#require(DomainName("bücher.example"))) == DNSName("xn--bcher-kva.example"))
    }

    @Test func oddOctetsAreEscapedAndNoNameOfMail() throws {
        let name = try #require(DNSName(labels: [Array("a.b\\c".utf8), [0, 0x20, 0xff], Array("org".utf8)]))
        #expect(name.description == #"a\.b\\c.\000\032\255.org"#)
        #expect(name.domainName == nil)
        #expect(DNSName.root.domainName == nil)
    }

    @Test func belongingGoesByLabels() throws {
        let org = try #require(DNSName("example.org"))
        #expect(try #require(DNSName("mail.example.org")).isWithin(org))
        #expect(org.isWithin(org))
        #expect(org.isWithin(.root))
        #expect(try !#require(DNSName("badexample.org")).isWithin(org))
        #expect(try !#require(DNSName("org")).isWithin(org))
        // The octets of the shorter name stand at the end of a label that holds them.
        let trick = try #require(DNSName(labels: [Array("x".utf8) + org.wire.dropLast()]))
        #expect(!trick.isWithin(org))
        #expect(org.parent == DNSName("org"))
        #expect(DNSName.root.parent == nil)
    }
}
