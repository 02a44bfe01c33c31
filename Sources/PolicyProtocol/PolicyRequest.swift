import PosternCore

/// One request of the Postfix policy delegation protocol: `name=value` lines, ended by an empty line.
public struct PolicyRequest: Sendable {
    private var bytes: [UInt8]
    /// Where each known attribute's value stands in `bytes`; an empty range where it was not sent.
    private var values: [Range<Int32>]

    init(bytes: [UInt8], values: [Range<Int32>]) {
        self.bytes = bytes
        self.values = values
    }

    /// An attribute's value; empty where it was not sent, which Postfix does not distinguish from an empty one either.
    /// Octets that are not UTF-8 (a client's HELO may hold any) become U+FFFD.
    public subscript(attribute: PolicyAttribute) -> String {
        let range = values[attribute.index]
        return String(decoding: bytes[Int(range.lowerBound)..<Int(range.upperBound)], as: UTF8.self)
    }

    public func isEmpty(_ attribute: PolicyAttribute) -> Bool { values[attribute.index].isEmpty }

    /// A number's value; 0 where it was not sent or is none.
    public func number(_ attribute: PolicyAttribute) -> Int { Int(self[attribute]) ?? 0 }
}

/// Why a request was not understood. It gets no answer: Postfix asks again, then uses its `default_action`.
public enum PolicyRequestError: Error, Equatable, Sendable, CustomStringConvertible {
    case lineTooLong(limit: Int)
    case requestTooLong(limit: Int)
    case tooManyAttributes(limit: Int)
    case lineWithoutEquals(line: String)
    case emptyName
    case nulByte
    case duplicate(PolicyAttribute)
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
        case .duplicate(let attribute): "\(attribute.rawValue) is given twice"
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

/// Cuts a connection's octets into requests. Holds at most one request and what was fed last.
public struct PolicyRequestDecoder: Sendable {
    private let limits: PolicyLimits
    private var buffer: [UInt8] = []
    /// The first octet of the request being read, and of its line being read.
    private var requestStart = 0
    private var lineStart = 0
    /// Up to here the line was searched for its end.
    private var searched = 0
    private var lines = 0
    private var values: [Range<Int32>] = Self.noValues
    /// The attribute that is likely to come next: Postfix sends them nearly as they are listed.
    private var expected = 0

    private static let noValues = [Range<Int32>](repeating: 0..<0, count: PolicyAttribute.allCases.count)

    public init(limits: PolicyLimits = PolicyLimits()) {
        self.limits = limits
    }

    public mutating func feed(_ bytes: some Sequence<UInt8>) {
        if requestStart > 0 {
            buffer.removeFirst(requestStart)
            lineStart -= requestStart
            searched -= requestStart
            requestStart = 0
        }
        buffer.append(contentsOf: bytes)
    }

    /// Whether part of a request is waiting for its rest.
    public var isWithinRequest: Bool { requestStart < buffer.count }

    /// The next whole request, or `nil` when more octets are needed. After an error nothing more can be read.
    public mutating func next() throws(PolicyRequestError) -> PolicyRequest? {
        while let end = nextLineFeed() {
            let line = lineStart..<end
            try checkLength(through: end, isLine: true)
            lineStart = end + 1
            searched = lineStart
            if line.isEmpty {
                return try finish(end: end)
            }
            lines += 1
            guard lines <= limits.attributes else { throw .tooManyAttributes(limit: limits.attributes) }
            try note(line)
        }
        try checkLength(through: buffer.count, isLine: false)
        return nil
    }

    /// Whether the request may be so long up to `end`, and with the line feed there where it is a line's. Of both limits the
    /// one that is passed first counts, so that it is the same one however the octets come.
    private func checkLength(through end: Int, isLine: Bool) throws(PolicyRequestError) {
        let lineEnd = lineStart + limits.line
        let requestEnd = requestStart + limits.request
        if end > lineEnd, lineEnd <= requestEnd { throw .lineTooLong(limit: limits.line) }
        if end + (isLine ? 1 : 0) > requestEnd { throw .requestTooLong(limit: limits.request) }
        if end > lineEnd { throw .lineTooLong(limit: limits.line) }
    }

    private mutating func nextLineFeed() -> Int? {
        let end = buffer.withUnsafeBufferPointer { bytes in bytes[searched...].firstIndex(of: UInt8(ascii: "\n")) }
        searched = end ?? buffer.count
        return end
    }

    private mutating func note(_ line: Range<Int>) throws(PolicyRequestError) {
        let guess = expected
        let (equals, index, hasNUL) = buffer.withUnsafeBufferPointer { bytes in
            let text = bytes[line]
            let equals = text.firstIndex(of: UInt8(ascii: "="))
            return (equals, equals.flatMap { PolicyAttribute.index(ofName: text[..<$0], guess: guess) }, text.contains(0))
        }
        guard !hasNUL else { throw .nulByte }
        guard let equals else {
            throw .lineWithoutEquals(line: String(decoding: buffer[line].prefix(64), as: UTF8.self))
        }
        guard equals > line.lowerBound else { throw .emptyName }
        guard let index else { return }
        expected = index + 1
        guard values[index].lowerBound == 0 else { throw .duplicate(PolicyAttribute.allCases[index]) }
        values[index] = Int32(equals + 1 - requestStart)..<Int32(line.upperBound - requestStart)
    }

    private mutating func finish(end: Int) throws(PolicyRequestError) -> PolicyRequest {
        let request = PolicyRequest(bytes: Array(buffer[requestStart..<end]), values: values)
        values = Self.noValues
        expected = 0
        lines = 0
        requestStart = lineStart
        if requestStart == buffer.count {
            buffer.removeAll(keepingCapacity: true)
            requestStart = 0
            lineStart = 0
            searched = 0
        }
        guard request[.request] == "smtpd_access_policy" else { throw .notAnAccessPolicyRequest(String(request[.request].prefix(64))) }
        return request
    }
}
