import EngineTestSupport
import PosternCore
import Testing

@testable import PosternEngine

@Suite("What is said of a HELO name beside its plain definition")
struct HeloEquivalenceTests {
    private static let pieces = [
        "[", "]", "IPv6:", "ipv6:", "i", "192.0.2.1", "203.0.113.9", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1", ".", "mx", "MX", "-",
        "_", "a",
        "example.org", "Example.ORG", "mail.example.net", "host7", "é", "\u{301}", " ", "@",
    ]

    /// As the rules are written: RFC 5321 §4.1.1.1 and §4.1.3, and leniently where a client got them wrong.
    private func plain(_ helo: String, _ settings: EngineSettings) -> [Check] {
        guard !helo.isEmpty else { return [] }
        var checks: [Check] = HeloSyntax.form(of: helo).isValid ? [] : [.heloSyntax]
        let bare = helo.utf8.first == UInt8(ascii: "[") ? String(helo.dropFirst().prefix { $0 != "]" }) : helo
        if let address = IPAddress(bare.lowercasedASCII.hasPrefix("ipv6:") ? String(bare.dropFirst(5)) : bare) {
            checks.append(.heloIsAddress)
            if settings.ourAddresses.contains(address) { checks.append(.heloIsOurs) }
        } else if let name = DomainName(helo), name == DomainName(settings.hostname) || settings.ourDomains.contains(name) {
            checks.append(.heloIsOurs)
        } else {
            checks.append(.heloUnresolvable)
        }
        return checks
    }

    @Test(arguments: [false, true])
    func saysTheSame(hasDomains: Bool) throws {
        var settings = EngineSettings()
        settings.hostname = "mx.Example.org"
        settings.ourAddresses = [try #require(IPAddress("192.0.2.1")), try #require(IPAddress("2001:db8::1"))]
        if hasDomains { settings.ourDomains = [try #require(DomainName("example.org")), try #require(DomainName("mail.example.net"))] }
        var findings = Findings()
        findings.helo = .none
        var random = Seeded(seed: 42)
        var seen: [Check: Int] = [:]
        for _ in 0..<20_000 {
            let helo = (0...random.below(4)).map { _ in random.pick(Self.pieces) }.joined()
            let client = Client(address: IPAddress("198.51.100.7"), helo: helo)
            let causes = settings.assess(Attempt(stage: .rcpt, client: client), findings).causes
            let checks = causes.map { cause in if case .scored(let check, _, _, _) = cause { check } else { Check.nonSMTP } }
            #expect(checks == plain(helo, settings), "\(helo)")
            for check in checks { seen[check, default: 0] += 1 }
        }
        for check in [Check.heloSyntax, .heloIsAddress, .heloIsOurs, .heloUnresolvable] { #expect(seen[check, default: 0] > 50) }
    }
}
