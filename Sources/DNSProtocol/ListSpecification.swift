import PosternCore

/// A DNS list as admins know it from postscreen: `zone`, `zone=filter`, `zone*weight`, `zone=filter*weight`.
public struct ListSpecification: Hashable, Sendable {
    public var zone: DomainName
    /// Which replies count; `nil` for every reply that is a listing.
    public var filter: ReplyFilter?
    /// What a listing adds to the score; negative for a list of the good. `nil` where the text names none.
    public var weight: Double?

    /// The weights that can be named.
    public static let weights: ClosedRange<Double> = -100...100

    public init(zone: DomainName, filter: ReplyFilter? = nil, weight: Double? = nil) {
        self.zone = zone
        self.filter = filter
        self.weight = weight
    }

    public init(_ text: some StringProtocol) throws(ListSyntaxError) {
        var scanner = ListScanner(text)
        let zone = scanner.text(until: "=*")
        guard let name = DomainName(zone)?.asciiForm, name.labels.count >= 2 else {
            throw ListSyntaxError(offset: 0, description: "this is not the name of a zone")
        }
        // Room for a reversed IPv6 address and its dots.
        guard name.text.utf8.count <= ListName.longestZone else {
            throw ListSyntaxError(offset: 0, description: "the zone's name is longer than \(ListName.longestZone) octets")
        }
        self.zone = name
        filter = scanner.take("=") ? try scanner.filter() : nil
        if scanner.take("*") {
            let start = scanner.index
            let digits = scanner.text(until: "=*")
            guard let value = Double(digits), value.isFinite, Self.weights.contains(value),
                digits.utf8.allSatisfy({ "0123456789.+-".utf8.contains($0) }), digits.drop(while: { $0 != "." }).utf8.count <= 4
            else {
                throw ListSyntaxError(offset: start, description: "a weight is a number from -100 to 100, of at most three decimals")
            }
            weight = value
        } else {
            weight = nil
        }
        guard scanner.atEnd else { throw scanner.error("after the zone comes =filter, then *weight, then nothing more") }
    }
}

extension ListSpecification: CustomStringConvertible {
    public var description: String {
        var text = zone.text
        if let filter { text += "=\(filter)" }
        if let weight { text += "*" + (weight == weight.rounded() ? "\(Int(weight))" : "\(weight)") }
        return text
    }
}

/// The names to ask of a DNS list.
public enum ListName {
    /// Octets of a zone's text: what 64 octets of nibbles leave of a name.
    public static let longestZone = 253 - 64

    /// RFC 5782 §2.1 and §2.4: the address reversed, by octets or nibbles, in front of the zone. `nil` where that is too long.
    public static func address(_ address: IPAddress, zone: DNSName) -> DNSName? {
        let reversed = reversedLabels(address)
        guard reversed.count + zone.wire.count <= DNSName.longestName else { return nil }
        return DNSName(trusted: reversed + zone.wire)
    }

    /// RFC 5782 §3: the name in front of the zone. `nil` where that is too long.
    public static func domain(_ name: DomainName, zone: DNSName) -> DNSName? {
        DNSName(name).followed(by: zone)
    }

    /// The name whose PTR records name a host (RFC 1035 §3.5, RFC 3596 §2.5).
    public static func pointer(_ address: IPAddress) -> DNSName {
        DNSName(trusted: reversedLabels(address) + (address.family == .v4 ? inAddrArpa : ip6Arpa).wire)
    }

    private static let inAddrArpa = DNSName(trusted: [7] + Array("in-addr".utf8) + [4] + Array("arpa".utf8) + [0])
    private static let ip6Arpa = DNSName(trusted: [3] + Array("ip6".utf8) + [4] + Array("arpa".utf8) + [0])

    private static func reversedLabels(_ address: IPAddress) -> [UInt8] {
        var wire: [UInt8] = []
        let octets = address.octets
        switch address.family {
        case .v4:
            wire.reserveCapacity(16)
            for octet in octets.reversed() {
                let start = wire.count
                wire.append(0)
                if octet >= 100 { wire.append(UInt8(ascii: "0") + octet / 100) }
                if octet >= 10 { wire.append(UInt8(ascii: "0") + octet / 10 % 10) }
                wire.append(UInt8(ascii: "0") + octet % 10)
                wire[start] = UInt8(wire.count - start - 1)
            }
        case .v6:
            wire.reserveCapacity(64)
            func digit(_ nibble: UInt8) -> UInt8 { nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "a") + nibble - 10 }
            for octet in octets.reversed() { wire += [1, digit(octet & 0xf), 1, digit(octet >> 4)] }
        }
        return wire
    }
}
