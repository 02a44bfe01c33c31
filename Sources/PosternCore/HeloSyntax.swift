/// What HELO's argument is (RFC 5321 §4.1.1.1, §4.1.3): one grammar for the conversation and for what a mail server tells.
public enum HeloSyntax {
    public enum Form: Hashable, Sendable {
        /// A domain name (RFC 5321 §4.1.2), of one label or more.
        case domain
        /// An address literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
        case addressLiteral(IPAddress)
        /// An address without its brackets, which is an error.
        case bareAddress(IPAddress)
        /// Anything else.
        case malformed

        /// Whether RFC 5321 §4.1.1.1 allows it.
        public var isValid: Bool {
            switch self {
            case .domain, .addressLiteral: true
            case .bareAddress, .malformed: false
            }
        }
    }

    /// - Parameter name: without white space around it.
    public static func form(of name: String) -> Form {
        var name = name
        return name.withUTF8(form(of:))
    }

    static func form(of octets: UnsafeBufferPointer<UInt8>) -> Form {
        if octets.count > 1, octets.first == UInt8(ascii: "["), octets.last == UInt8(ascii: "]") {
            let body = UnsafeBufferPointer(rebasing: octets[1..<(octets.count - 1)])
            return DomainSyntax.addressLiteral(body).map(Form.addressLiteral) ?? .malformed
        }
        if let address = IPAddress(bytes: octets) { return .bareAddress(address) }
        // RFC 5321 §2.3.5 has no final dot, but many resolvers hand one out.
        let name = octets.last == UInt8(ascii: ".") ? UnsafeBufferPointer(rebasing: octets.dropLast()) : octets
        return DomainSyntax.isDomain(name, utf8: false, underscores: false) ? .domain : .malformed
    }
}

/// The grammar of domains and address literals in SMTP (RFC 5321 §4.1.2, §4.1.3).
public enum DomainSyntax {
    /// RFC 5321 §4.5.3.1.2.
    public static let longestDomain = 255
    /// RFC 1035 §2.3.4.
    public static let longestLabel = 63

    /// `sub-domain *("." sub-domain)`. Underscores stand in the names of many real hosts and are let through on request.
    public static func isDomain(_ octets: UnsafeBufferPointer<UInt8>, utf8: Bool, underscores: Bool) -> Bool {
        guard !octets.isEmpty, octets.count <= longestDomain else { return false }
        let (dot, hyphen, underscore) = (UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"))
        var label = 0
        var previous = dot
        for octet in octets {
            if octet == dot {
                guard label > 0, previous != hyphen else { return false }
                label = 0
            } else {
                let isAlphanumeric = (0x30...0x39).contains(octet) || (0x61...0x7a).contains(octet | 0x20)
                guard
                    isAlphanumeric || (octet == hyphen && label > 0) || (underscores && octet == underscore) || (utf8 && octet >= 0x80)
                else { return false }
                label += 1
                guard label <= longestLabel else { return false }
            }
            previous = octet
        }
        return label > 0 && previous != hyphen
    }

    /// What stands between the brackets of an address literal: `192.0.2.1` or `IPv6:2001:db8::1` (RFC 5321 §4.1.3).
    /// General address literals name no registered tag and are refused.
    public static func addressLiteral(_ octets: UnsafeBufferPointer<UInt8>) -> IPAddress? {
        let tag: StaticString = "ipv6:"
        let isTagged = octets.count > tag.utf8CodeUnitCount && tag.withUTF8Buffer { tag in zip(octets, tag).allSatisfy { $0 | 0x20 == $1 } }
        let body = isTagged ? UnsafeBufferPointer(rebasing: octets.dropFirst(tag.utf8CodeUnitCount)) : octets
        guard body.contains(UInt8(ascii: ":")) == isTagged else { return nil }
        return IPAddress(bytes: body)
    }
}
