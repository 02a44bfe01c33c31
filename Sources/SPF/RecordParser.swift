import PosternCore

extension SPFRecord {
    /// Whether a TXT record is an SPF record (RFC 7208 §4.5): `v=spf1`, in any case, and then a space or the end.
    static func isRecord(_ octets: [UInt8]) -> Bool {
        guard octets.count >= version.count, octets.prefix(version.count).elementsEqual(version, by: { $0.lowered == $1 }) else {
            return false
        }
        return octets.count == version.count || octets[version.count] == UInt8(ascii: " ")
    }

    private static let version = Array("v=spf1".utf8)

    /// Reads a whole record, `v=spf1` included (RFC 7208 §12). At most `SPFLimits.terms` terms.
    public init(parsing octets: [UInt8]) throws(SPFSyntaxError) {
        guard Self.isRecord(octets) else { throw SPFSyntaxError(term: octets[...].quoted, flaw: .unknownMechanism) }
        var count = 0
        // RFC 7208 §4.6.1: spaces separate terms, and nothing else does.
        for term in octets.dropFirst(Self.version.count).split(separator: UInt8(ascii: " ")) {
            count += 1
            do throws(SPFSyntaxError.Flaw) {
                guard count <= SPFLimits.terms else { throw .tooManyTerms }
                guard term.allSatisfy({ $0 >= 0x21 && $0 <= 0x7e }) else { throw .octet }
                try add(term)
            } catch {
                throw SPFSyntaxError(term: term.quoted, flaw: error)
            }
        }
    }

    private mutating func add(_ term: ArraySlice<UInt8>) throws(SPFSyntaxError.Flaw) {
        // RFC 7208 §4.6.1: what tells a modifier is "=" behind the name, before any ":" or "/".
        let end = term.firstIndex { $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "=") } ?? term.endIndex
        if end < term.endIndex, term[end] == UInt8(ascii: "=") {
            try addModifier(term[..<end], value: term[(end + 1)...])
            return
        }
        let qualifier = term.first.flatMap(SPFQualifier.init(octet:))
        let name = qualifier == nil ? term[..<end] : term[..<end].dropFirst()
        let mechanism = try SPFMechanism(name: name, rest: term[end...])
        directives.append(SPFDirective(qualifier: qualifier ?? .pass, mechanism: mechanism, octets: term))
    }

    private mutating func addModifier(_ name: ArraySlice<UInt8>, value: ArraySlice<UInt8>) throws(SPFSyntaxError.Flaw) {
        guard let first = name.first, first.isLetter,
            name.allSatisfy({ $0.isLetter || $0.isDigit || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".") })
        else { throw .modifierName }
        // RFC 7208 §6: redirect and exp at most once each.
        if name.spells("redirect") {
            guard redirect == nil else { throw .twice }
            redirect = try MacroString(domainSpec: value)
        } else if name.spells("exp") {
            guard explanation == nil else { throw .twice }
            explanation = try MacroString(domainSpec: value)
        } else {
            // RFC 7208 §6: unknown modifiers are ignored, but they have to be well formed.
            _ = try MacroString(value, in: .unknownModifier)
        }
    }
}

extension SPFMechanism {
    /// `rest` starts with ":" or "/", or is empty.
    fileprivate init(name: ArraySlice<UInt8>, rest: ArraySlice<UInt8>) throws(SPFSyntaxError.Flaw) {
        let argument = rest.first == UInt8(ascii: ":") ? rest.dropFirst() : nil
        if name.spells("all") {
            guard rest.isEmpty else { throw .argument }
            self = .all
        } else if name.spells("include") {
            self = .include(try Self.domain(argument, rest: rest))
        } else if name.spells("exists") {
            self = .exists(try Self.domain(argument, rest: rest))
        } else if name.spells("a") {
            let (domain, lengths) = try Self.domainAndLengths(rest)
            self = .a(domain, lengths)
        } else if name.spells("mx") {
            let (domain, lengths) = try Self.domainAndLengths(rest)
            self = .mx(domain, lengths)
        } else if name.spells("ptr") {
            self = .ptr(rest.isEmpty ? nil : try Self.domain(argument, rest: rest))
        } else if name.spells("ip4") {
            self = .ip4(try Self.network4(argument))
        } else if name.spells("ip6") {
            self = .ip6(try Self.network6(argument))
        } else {
            throw .unknownMechanism
        }
    }

    private static func domain(_ argument: ArraySlice<UInt8>?, rest: ArraySlice<UInt8>) throws(SPFSyntaxError.Flaw) -> MacroString {
        guard let argument else { throw rest.isEmpty ? .domainMissing : .prefixLength }
        return try MacroString(domainSpec: argument)
    }

    /// `[ ":" domain-spec ] [ dual-cidr-length ]`. A slash may stand in a domain-spec too, so lengths are taken from the end.
    private static func domainAndLengths(_ rest: ArraySlice<UInt8>) throws(SPFSyntaxError.Flaw) -> (MacroString?, PrefixLengths) {
        var rest = rest
        var lengths = PrefixLengths()
        if let length = rest.trailingLength(after: "//") {
            lengths.v6 = try prefixLength(length, atMost: 128)
            rest = rest[..<(length.startIndex - 2)]
        }
        if let length = rest.trailingLength(after: "/") {
            lengths.v4 = try prefixLength(length, atMost: 32)
            rest = rest[..<(length.startIndex - 1)]
        }
        guard let first = rest.first else { return (nil, lengths) }
        guard first == UInt8(ascii: ":") else { throw .prefixLength }
        return (try MacroString(domainSpec: rest.dropFirst()), lengths)
    }

    /// RFC 7208 §12: `"0" / %x31-39 0*1DIGIT`, so no leading zeros.
    private static func prefixLength(_ digits: ArraySlice<UInt8>, atMost limit: Int) throws(SPFSyntaxError.Flaw) -> Int {
        guard let first = digits.first, digits.count <= 3, digits.allSatisfy(\.isDigit), digits.count == 1 || first != UInt8(ascii: "0")
        else { throw .prefixLength }
        let value = digits.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
        guard value <= limit else { throw .prefixLength }
        return value
    }

    private static func splitNetwork(
        _ argument: ArraySlice<UInt8>?, bits: Int
    ) throws(SPFSyntaxError.Flaw) -> (address: ArraySlice<UInt8>, length: Int) {
        guard let argument else { throw .address }
        guard let slash = argument.firstIndex(of: UInt8(ascii: "/")) else { return (argument, bits) }
        return (argument[..<slash], try prefixLength(argument[(slash + 1)...], atMost: bits))
    }

    /// RFC 7208 §5.6. Host bits may be set: they are ignored.
    private static func network4(_ argument: ArraySlice<UInt8>?) throws(SPFSyntaxError.Flaw) -> Prefix {
        let (text, length) = try splitNetwork(argument, bits: 32)
        // With a colon it could be a mapped address, which `IPAddress` would take.
        guard !text.contains(UInt8(ascii: ":")), let address = text.withUnsafeBufferPointer({ IPAddress(bytes: $0) }) else {
            throw .address
        }
        return Prefix(address, length: length)
    }

    private static func network6(_ argument: ArraySlice<UInt8>?) throws(SPFSyntaxError.Flaw) -> Prefix? {
        let (text, length) = try splitNetwork(argument, bits: 128)
        guard text.contains(UInt8(ascii: ":")), let address = text.withUnsafeBufferPointer({ IPAddress(bytes: $0) }) else { throw .address }
        guard address.family == .v4 else { return Prefix(address, length: length) }
        guard length < 96 else { return nil }
        // ::ffff:0:0 with some of its bits cleared is an IPv6 network again.
        let low = UInt64(0xffff) << 32
        let kept = length <= 64 ? 0 : low & (UInt64.max << UInt64(128 - length))
        return Prefix(IPAddress(v6High: 0, low: kept), length: length)
    }
}

// MARK: - Octets

extension UInt8 {
    var isLetter: Bool { lowered >= UInt8(ascii: "a") && lowered <= UInt8(ascii: "z") }
    var isDigit: Bool { self >= UInt8(ascii: "0") && self <= UInt8(ascii: "9") }
    /// An ASCII letter in lower case, anything else as it is.
    var lowered: UInt8 { self >= UInt8(ascii: "A") && self <= UInt8(ascii: "Z") ? self | 0x20 : self }
}

extension ArraySlice<UInt8> {
    /// Compares without regard to case; `word` is in lower case.
    fileprivate func spells(_ word: StaticString) -> Bool {
        word.withUTF8Buffer { word in count == word.count && elementsEqual(word) { $0.lowered == $1 } }
    }

    /// The digits at the end, where `separator` stands right before them.
    fileprivate func trailingLength(after separator: StaticString) -> ArraySlice<UInt8>? {
        var start = endIndex
        while start > startIndex, self[start - 1].isDigit { start -= 1 }
        guard start < endIndex else { return nil }
        let before = self[..<start].suffix(separator.utf8CodeUnitCount)
        return separator.withUTF8Buffer { before.elementsEqual($0) } ? self[start...] : nil
    }

    /// For an error's text: visible ASCII characters, at most `SPFLimits.quotedOctets`.
    var quoted: String {
        let kept = prefix(SPFLimits.quotedOctets).map { $0 >= 0x20 && $0 <= 0x7e ? $0 : UInt8(ascii: "?") }
        return String(decoding: kept, as: UTF8.self) + (count > SPFLimits.quotedOctets ? "..." : "")
    }
}
