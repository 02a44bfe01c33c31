/// An address of the web (RFC 3986 §3, RFC 9110 §4.2): `http` or `https`, a host, perhaps a port, and the rest.
public struct WebAddress: Equatable, Sendable {
    /// Without the credentials, the scheme in lower case.
    public let text: String
    /// User, colon and password, as they stand in base64 for basic authorization (RFC 7617 §2); `nil` where none are given.
    public let credentials: [UInt8]?

    public var isEncrypted: Bool { text.hasPrefix("https:") }

    public init(_ address: String) throws(WebAddressError) {
        let octets = Array(address.utf8)
        // Schemes are the same in any case (RFC 3986 §3.1).
        guard let scheme = ["http://", "https://"].first(where: { octets.prefix($0.utf8.count).map { $0 | 0x20 } == Array($0.utf8) }) else {
            throw .scheme
        }
        guard octets.allSatisfy({ $0 > 0x20 && $0 != 0x7f }) else { throw .space }
        let authority = octets.dropFirst(scheme.utf8.count).prefix { !"/?#".utf8.contains($0) }
        let rest = octets[authority.endIndex...]
        var place = authority
        if let at = authority.firstIndex(of: UInt8(ascii: "@")) {
            place = authority[(at + 1)...]
            var decoded = Self.decoded(authority[..<at])
            if !decoded.contains(UInt8(ascii: ":")) { decoded.append(UInt8(ascii: ":")) }
            credentials = decoded
        } else {
            credentials = nil
        }
        try Self.check(place)
        text = scheme + String(decoding: place + rest, as: UTF8.self)
    }

    /// A host, and a port or none (RFC 3986 §3.2.2, §3.2.3).
    private static func check(_ place: ArraySlice<UInt8>) throws(WebAddressError) {
        var port: ArraySlice<UInt8>
        if place.first == UInt8(ascii: "[") {
            let inner = place.dropFirst().prefix { $0 != UInt8(ascii: "]") }
            guard inner.endIndex < place.endIndex, IPAddress(String(decoding: inner, as: UTF8.self))?.family == .v6 else { throw .host }
            port = place[(inner.endIndex + 1)...]
            guard port.isEmpty || port.first == UInt8(ascii: ":") else { throw .host }
        } else {
            let name = place.prefix { $0 != UInt8(ascii: ":") }
            guard !name.isEmpty, name.allSatisfy(isOfName) else { throw .host }
            port = place[name.endIndex...]
        }
        guard port.popFirst() != nil else { return }
        let isNumber = port.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard isNumber, let number = UInt16(String(decoding: port, as: UTF8.self)), number > 0 else { throw .port }
    }

    /// Whether a name may hold an octet; those beyond ASCII are of a name that is not yet in its ASCII form.
    private static func isOfName(_ octet: UInt8) -> Bool {
        switch octet {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"), 0x80...:
            true
        default: "-._~%!$&'()*+,;=".utf8.contains(octet)
        }
    }

    /// RFC 3986 §2.1. What is no encoding stays as it is.
    private static func decoded(_ text: ArraySlice<UInt8>) -> [UInt8] {
        var out: [UInt8] = []
        var rest = text
        while let octet = rest.popFirst() {
            let digits = String(decoding: rest.prefix(2), as: UTF8.self)
            if octet == UInt8(ascii: "%"), digits.utf8.count == 2, digits.allSatisfy(\.isHexDigit), let value = UInt8(digits, radix: 16) {
                out.append(value)
                rest = rest.dropFirst(2)
            } else {
                out.append(octet)
            }
        }
        return out
    }
}

/// Why a text is no address of the web.
public enum WebAddressError: Error, Equatable, CustomStringConvertible {
    case scheme
    case space
    case host
    case port

    public var description: String {
        switch self {
        case .scheme: "it does not begin with http:// or https://"
        case .space: "it holds a space or a control character"
        case .host: "its host is neither a name nor an address"
        case .port: "its port is not a number from 1 to 65535"
        }
    }
}
