import PosternCore
import PosternEngine

/// Who takes part in a schedule. What a model may know of them is written out by hand, so that it need not ask the
/// engine's own code: identities as plain text, senders as persons.
public enum World {
    public struct Host: Sendable {
        public let address: String
        public let name: String?
        /// What this client is known by.
        public let identities: [String]
        /// Whether it is a line of a consumer's.
        public let isConsumer: Bool
        public let isForwarder: Bool

        init(address: String, name: String?, identities: [String], isConsumer: Bool = false, isForwarder: Bool = false) {
            (self.address, self.name, self.identities) = (address, name, identities)
            (self.isConsumer, self.isForwarder) = (isConsumer, isForwarder)
        }

        public var client: Client { Client(address: IPAddress(address), confirmedName: name.flatMap { DomainName($0) }, helo: name ?? "") }
    }

    public static let hosts: [Host] = [
        // A pool in two networks and IPv6; its name cannot always be looked up.
        Host(address: "198.51.100.10", name: "mx1.big.example", identities: ["big.example", "198.51.100"]),
        Host(address: "198.51.100.77", name: nil, identities: ["198.51.100"]),
        Host(address: "203.0.113.5", name: "mx2.big.example", identities: ["big.example", "203.0.113"]),
        Host(address: "203.0.113.6", name: nil, identities: ["203.0.113"]),
        Host(address: "2001:db8:1:2::5", name: "mx6.big.example", identities: ["big.example", "2001:db8:1:2"]),
        Host(address: "2001:db8:1:2:ffff::1", name: nil, identities: ["2001:db8:1:2"]),
        // A small server, by either socket family, and a neighbour in its network.
        Host(address: "192.0.2.25", name: "mail.small.example", identities: ["small.example", "192.0.2"]),
        Host(address: "::ffff:192.0.2.25", name: "mail.small.example", identities: ["small.example", "192.0.2"]),
        Host(address: "192.0.2.99", name: "mx.neighbour.example", identities: ["neighbour.example", "192.0.2"]),
        // Lines of one provider: strangers to each other.
        Host(address: "100.64.7.9", name: "dsl-100-64-7-9.isp.example", identities: ["100.64.7"], isConsumer: true),
        Host(address: "100.64.8.9", name: "dsl-100-64-8-9.isp.example", identities: ["100.64.8"], isConsumer: true),
        Host(address: "10.9.8.7", name: "fwd.example.com", identities: [], isForwarder: true),
    ]

    /// The host that bears an entry for this one: one address may come in two spellings.
    public static func listedAs(_ host: Int) -> Int { hosts[host].address == "::ffff:192.0.2.25" ? host - 1 : host }

    /// Groups of hosts that one sender's attempts come from.
    public static let pools: [[Int]] = [[0, 1, 2, 3, 4, 5], [0, 2, 4], [6, 7], [6, 8], [8], [9], [9, 10], [3, 4, 6], [11]]

    /// A sender: the same person whatever marks the software puts into the address.
    public enum Person: Int, CaseIterable, Sendable {
        case null
        case alice
        case bob
        case list
        case shop
        case forwarded
        case number

        /// One of the addresses under which the person's messages come.
        public func address(_ random: inout Seeded) -> String {
            func number(_ bound: Int) -> Int { random.below(bound) }
            func hex(_ digits: Int) -> String { String((0..<digits).map { _ in "0123456789abcdef".randomElement(using: &random) ?? "0" }) }
            switch self {
            case .null: return ""
            case .alice: return random.pick(["alice@big.example", "Alice@Big.Example", "alice+\(number(100))@big.example"])
            case .bob: return "prvs=\(1000 + number(9000))\(hex(6))=bob@small.example"
            case .list: return "news-return-\(number(100_000))-r1=rcpt.example@lists.example"
            case .shop:
                return "0102\(hex(12))-\(hex(8))-\(hex(4))-4\(hex(3))-8\(hex(3))-\(hex(12))-000000@eu-west-1.amazonses.com"
            case .forwarded: return "SRS0=\(hex(4))=\(hex(2))=orig.example=dave@fwd.example"
            case .number: return "10001@numbers.example"
            }
        }

        /// The address under which a list entry blocks the person; `nil` where none is blocked.
        public var blockable: String? { self == .number ? "10001@numbers.example" : nil }
    }

    public static let recipients = [
        "r1@rcpt.example", "r2@rcpt.example", "r3@rcpt.example", "quiet@rcpt.example", "postmaster@rcpt.example",
    ]
    /// Opted out by the settings.
    public static let optedOut = "quiet@rcpt.example"
}
