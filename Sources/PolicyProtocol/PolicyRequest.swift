import PosternCore

/// One request of the Postfix policy delegation protocol: `name=value` lines, ended by an empty line.
public struct PolicyRequest: Sendable {
    /// What was read last; the request begins at `start`.
    private let octets: [UInt8]
    private let start: Int
    /// Where each known attribute's value stands, counted from `start`; an empty range where it was not sent.
    private let values: [Range<Int32>]

    init(octets: [UInt8], start: Int, values: [Range<Int32>]) {
        self.octets = octets
        self.start = start
        self.values = values
    }

    /// An attribute's value; empty where it was not sent, which Postfix does not distinguish from an empty one either.
    /// Octets that are not UTF-8 (a client's HELO may hold any) become U+FFFD.
    public subscript(attribute: PolicyAttribute) -> String {
        isEmpty(attribute) ? "" : withOctets(of: attribute) { String(decoding: $0, as: UTF8.self) }
    }

    public func isEmpty(_ attribute: PolicyAttribute) -> Bool { values[attribute.index].isEmpty }

    /// Whether an attribute's value is `text`, octet for octet.
    public func holds(_ attribute: PolicyAttribute, _ text: StaticString) -> Bool {
        withOctets(of: attribute) { UnsafeRawBufferPointer($0).equals(text) }
    }

    /// A number's value; 0 where it was not sent or is none.
    public func number(_ attribute: PolicyAttribute) -> Int {
        let plain: Int? = withOctets(of: attribute) { octets in
            guard octets.count <= Self.plainDigits else { return nil }
            var number = 0
            for octet in octets {
                guard octet >= UInt8(ascii: "0"), octet <= UInt8(ascii: "9") else { return nil }
                number = number * 10 + Int(octet - UInt8(ascii: "0"))
            }
            return number
        }
        return plain ?? Int(self[attribute]) ?? 0
    }

    /// Digits that make no number too large.
    private static let plainDigits = 18

    /// An address's value; `nil` where it was not sent or is none.
    public func address(_ attribute: PolicyAttribute) -> IPAddress? { withOctets(of: attribute) { IPAddress(bytes: $0) } }

    /// A domain name's value; `nil` where it was not sent or is none.
    public func domainName(_ attribute: PolicyAttribute) -> DomainName? { withOctets(of: attribute) { DomainName(octets: $0) } }

    /// A mailbox's value; `nil` where it was not sent or is empty.
    public func mailbox(_ attribute: PolicyAttribute) -> Mailbox? { withOctets(of: attribute) { Mailbox(octets: $0) } }

    private func withOctets<Result>(of attribute: PolicyAttribute, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        let range = values[attribute.index]
        let place = start + Int(range.lowerBound)..<start + Int(range.upperBound)
        return octets.withUnsafeBufferPointer { body(UnsafeBufferPointer(rebasing: $0[place])) }
    }
}

/// Why a request was not understood. It gets no answer: Postfix asks again, then uses its `default_action`.
public enum PolicyRequestError: Error, Equatable, Sendable, CustomStringConvertible {
    case lineTooLong(limit: Int)
    case requestTooLong(limit: Int)
    case tooManyAttributes(limit: Int)
    case lineWithoutEquals(line: String)
    case emptyName
    case nulByte
    /// The `request` attribute is missing or names another kind of request.
    case notAnAccessPolicyRequest(String)
    /// The connection ended within a request.
    case truncated

    public var description: String {
        switch self {
        case .lineTooLong(let limit): "a line is longer than \(limit) octets"
        case .requestTooLong(let limit): "the request is longer than \(limit) octets"
        case .tooManyAttributes(let limit): "the request has more than \(limit) attributes"
        case .lineWithoutEquals(let line): "a line is not name=value: \"\(line)\""
        case .emptyName: "a line has no attribute name"
        case .nulByte: "a line holds a NUL octet"
        case .notAnAccessPolicyRequest(let value):
            value.isEmpty ? "the request attribute is missing" : "request=\(value) where request=smtpd_access_policy is expected"
        case .truncated: "the connection ended within a request"
        }
    }
}

/// What a request may cost.
public struct PolicyLimits: Equatable, Sendable {
    /// Octets of a line without its line feed.
    public var line: Int
    /// Lines, known attributes or not.
    public var attributes: Int
    /// Octets of a request.
    public var request: Int

    /// Postfix's own attributes fit many times over.
    public init(line: Int = 8192, attributes: Int = 128, request: Int = 65_536) {
        self.line = line
        self.attributes = attributes
        self.request = request
    }
}
