import PosternCore

/// A value of an XCLIENT attribute: known, or known not to be known (Postfix XCLIENT_README).
public enum XClientValue<Value: Hashable & Sendable>: Hashable, Sendable {
    case known(Value)
    /// `[UNAVAILABLE]`: there is none.
    case unavailable
    /// `[TEMPUNAVAIL]`: a look-up failed for now.
    case temporarilyUnavailable

    public var value: Value? {
        if case .known(let value) = self { value } else { nil }
    }

    /// What `transform` makes of a known value; where that is nothing, there is none.
    public func compactMap<Other>(_ transform: (Value) -> Other?) -> XClientValue<Other> {
        switch self {
        case .known(let value): transform(value).map(XClientValue<Other>.known) ?? .unavailable
        case .unavailable: .unavailable
        case .temporarilyUnavailable: .temporarilyUnavailable
        }
    }
}

/// What XCLIENT tells of a client (Postfix XCLIENT_README). `nil` where an attribute was not given.
public struct XClientAttributes: Hashable, Sendable {
    public enum Name: String, Hashable, Sendable, CaseIterable {
        case name = "NAME"
        case reverseName = "REVERSE_NAME"
        case port = "PORT"
        case proto = "PROTO"
        case helo = "HELO"
        case destinationAddress = "DESTADDR"
        case destinationPort = "DESTPORT"
        /// In the last command: Postfix takes a login back with the next XCLIENT that has none.
        case login = "LOGIN"
        /// Last: Postfix asks anew, with the new address, whether XCLIENT may be used.
        case address = "ADDR"
    }

    public enum Proto: String, Hashable, Sendable {
        case smtp = "SMTP"
        case esmtp = "ESMTP"
    }

    /// XCLIENT_README note 1: NAME and HELO have at most 255 characters; Postfix counts all values, and as they are sent.
    public static let longestValue = 255
    /// XCLIENT_README note 1: a command must not pass the 512 octets of RFC 5321 §4.5.3.1.4.
    public static let longestCommand = 512

    /// The client's forward-confirmed name.
    public var name: XClientValue<String>?
    /// The client's name by reverse look-up alone.
    public var reverseName: XClientValue<String>?
    public var address: XClientValue<IPAddress>?
    public var port: XClientValue<UInt16>?
    public var proto: Proto?
    public var helo: XClientValue<String>?
    public var login: XClientValue<String>?
    public var destinationAddress: XClientValue<IPAddress>?
    public var destinationPort: XClientValue<UInt16>?

    public init(
        name: XClientValue<String>? = nil, reverseName: XClientValue<String>? = nil, address: XClientValue<IPAddress>? = nil,
        port: XClientValue<UInt16>? = nil, proto: Proto? = nil, helo: XClientValue<String>? = nil, login: XClientValue<String>? = nil,
        destinationAddress: XClientValue<IPAddress>? = nil, destinationPort: XClientValue<UInt16>? = nil
    ) {
        self.name = name
        self.reverseName = reverseName
        self.address = address
        self.port = port
        self.proto = proto
        self.helo = helo
        self.login = login
        self.destinationAddress = destinationAddress
        self.destinationPort = destinationPort
    }

    /// Takes one `name=value`; false where it does not parse. Names are read in either case.
    mutating func merge(_ word: ArraySlice<UInt8>) -> Bool {
        guard let equals = word.firstIndex(of: Octet.equals),
            let name = Name(rawValue: String(decoding: word[..<equals].map { $0 & 0xdf }, as: UTF8.self)),
            let value = XText.decode(word[(equals + 1)...]), !value.isEmpty, value.count <= Self.longestValue,
            value.allSatisfy({ $0 >= 0x20 && $0 < 0x7f })
        else { return false }
        switch name {
        case .name: self.name = Self.parse(value) { String(decoding: $0, as: UTF8.self) }
        case .reverseName: reverseName = Self.parse(value) { String(decoding: $0, as: UTF8.self) }
        case .helo: helo = Self.parse(value) { String(decoding: $0, as: UTF8.self) }
        case .login: login = Self.parse(value) { String(decoding: $0, as: UTF8.self) }
        case .address:
            address = Self.parse(value, Self.address)
            return address != nil
        case .destinationAddress:
            destinationAddress = Self.parse(value, Self.address)
            return destinationAddress != nil
        case .port:
            port = Self.parse(value, Self.port)
            return port != nil
        case .destinationPort:
            destinationPort = Self.parse(value, Self.port)
            return destinationPort != nil
        case .proto:
            proto = Proto(rawValue: String(decoding: value, as: UTF8.self).uppercased())
            return proto != nil
        }
        return true
    }

    /// Whether these must be another client's than `others`: its address is another.
    func areOfAnother(than others: XClientAttributes) -> Bool {
        guard let address, let other = others.address else { return false }
        return address != other
    }

    /// Adds what a further command has told: what it says anew counts.
    mutating func add(_ further: XClientAttributes) {
        name = further.name ?? name
        reverseName = further.reverseName ?? reverseName
        address = further.address ?? address
        port = further.port ?? port
        proto = further.proto ?? proto
        helo = further.helo ?? helo
        login = further.login ?? login
        destinationAddress = further.destinationAddress ?? destinationAddress
        destinationPort = further.destinationPort ?? destinationPort
    }

    /// The commands that hand over these attributes to a server that knows `offered`, each at most 512 octets with its
    /// CRLF, LOGIN and ADDR in the last. Attributes that the server does not know are left out.
    public func commands(offered: Set<Name>) -> [[UInt8]] {
        let words = Name.allCases.map { attribute in
            offered.contains(attribute) ? encoded(attribute).map { Array(" \(attribute.rawValue)=".utf8) + $0 } ?? [] : []
        }
        let verb = Array("XCLIENT".utf8)
        var commands: [[UInt8]] = []
        var line = verb
        for word in words.dropLast(2) + [words.suffix(2).flatMap { $0 }] {
            if line.count + word.count + 2 > Self.longestCommand, line.count > verb.count {
                commands.append(line + [Octet.cr, Octet.lf])
                line = verb
            }
            line += word
        }
        if line.count > verb.count { commands.append(line + [Octet.cr, Octet.lf]) }
        return commands
    }

    private func encoded(_ attribute: Name) -> [UInt8]? {
        switch attribute {
        case .name: name.flatMap { Self.encode($0) { Array($0.utf8) } }
        case .reverseName: reverseName.flatMap { Self.encode($0) { Array($0.utf8) } }
        case .helo: helo.flatMap { Self.encode($0) { Array($0.utf8) } }
        case .login: login.flatMap { Self.encode($0) { Array($0.utf8) } }
        case .address: address.flatMap { Self.encode($0, Self.text) }
        case .destinationAddress: destinationAddress.flatMap { Self.encode($0, Self.text) }
        case .port: port.flatMap { Self.encode($0) { Array("\($0)".utf8) } }
        case .destinationPort: destinationPort.flatMap { Self.encode($0) { Array("\($0)".utf8) } }
        case .proto: proto.map { Array($0.rawValue.utf8) }
        }
    }

    private static func encode<Value>(_ value: XClientValue<Value>, _ text: (Value) -> [UInt8]) -> [UInt8] {
        switch value {
        case .known(let known):
            let encoded = XText.encode(text(known))
            return encoded.isEmpty || encoded.count > longestValue ? Array("[UNAVAILABLE]".utf8) : encoded
        case .unavailable: return Array("[UNAVAILABLE]".utf8)
        case .temporarilyUnavailable: return Array("[TEMPUNAVAIL]".utf8)
        }
    }

    private static func text(_ address: IPAddress) -> [UInt8] {
        Array((address.family == .v6 ? "IPV6:\(address)" : "\(address)").utf8)
    }

    private static func parse<Value>(_ octets: [UInt8], _ read: ([UInt8]) -> Value?) -> XClientValue<Value>? {
        if octets.equalsIgnoringCase("[UNAVAILABLE]") { return .unavailable }
        if octets.equalsIgnoringCase("[TEMPUNAVAIL]") { return .temporarilyUnavailable }
        return read(octets).map(XClientValue.known)
    }

    /// IPv4, or IPv6 behind `IPV6:`.
    private static func address(_ octets: [UInt8]) -> IPAddress? {
        PathSyntax.addressLiteral(octets[...])
    }

    private static func port(_ octets: [UInt8]) -> UInt16? {
        CommandParser.number(octets[...]).flatMap { UInt16(exactly: $0) }
    }
}
