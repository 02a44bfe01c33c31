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
        withOctets(of: attribute) { String(decoding: $0, as: UTF8.self) }
    }

    /// Whether an attribute's value is `text`, octet for octet.
    func holds(_ attribute: PolicyAttribute, _ text: StaticString) -> Bool {
        withOctets(of: attribute) { octets in
            octets.elementsEqual(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
        }
    }

    private func withOctets<Result>(of attribute: PolicyAttribute, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        let range = values[attribute.index]
        return bytes.withUnsafeBufferPointer { body(UnsafeBufferPointer(rebasing: $0[Int(range.lowerBound)..<Int(range.upperBound)])) }
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
    /// The line's first `=`, where it was come across.
    private var equals: Int?
    private var hasNUL = false
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
            equals = equals.map { $0 - requestStart }
            requestStart = 0
        }
        buffer.append(contentsOf: bytes)
    }

    /// Whether part of a request is waiting for its rest.
    public var isWithinRequest: Bool { requestStart < buffer.count }

    /// The next whole request, or `nil` when more octets are needed. After an error nothing more can be read.
    public mutating func next() throws(PolicyRequestError) -> PolicyRequest? {
        while searchLineFeed() {
            let end = searched
            try checkLength(through: end, isLine: true)
            if end == lineStart {
                lineStart += 1
                searched = lineStart
                return try finish(end: end)
            }
            lines += 1
            guard lines <= limits.attributes else { throw .tooManyAttributes(limit: limits.attributes) }
            try note(lineStart..<end)
            lineStart = end + 1
            searched = lineStart
            equals = nil
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

    /// Goes on to the line's end; `false` where that has not come. On its way it notes what a line is judged by.
    private mutating func searchLineFeed() -> Bool {
        let start = searched
        let known = equals
        let (end, found, sawNUL) = buffer.withUnsafeBytes { octets in
            var index = start
            var equals = known
            var sawNUL = false
            if equals == nil {
                // Names are short.
                while index < octets.count {
                    let octet = octets[index]
                    if octet > UInt8(ascii: "\n") ? octet == UInt8(ascii: "=") : octet == UInt8(ascii: "\n") || octet == 0 { break }
                    index += 1
                }
                if index < octets.count, octets[index] == UInt8(ascii: "=") { equals = index }
            }
            while true {
                index = octets.firstLineFeedOrNUL(from: index)
                guard index < octets.count, octets[index] == 0 else { break }
                sawNUL = true
                index += 1
            }
            return (index, equals, sawNUL)
        }
        searched = end
        equals = found
        if sawNUL { hasNUL = true }
        return end < buffer.count
    }

    private mutating func note(_ line: Range<Int>) throws(PolicyRequestError) {
        guard !hasNUL else { throw .nulByte }
        guard let equals else {
            throw .lineWithoutEquals(line: String(decoding: buffer[line].prefix(64), as: UTF8.self))
        }
        guard equals > line.lowerBound else { throw .emptyName }
        let guess = expected
        let index = buffer.withUnsafeBytes { octets in
            PolicyAttribute.index(ofName: UnsafeRawBufferPointer(rebasing: octets[line.lowerBound..<equals]), guess: guess)
        }
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
        guard request.holds(.request, "smtpd_access_policy") else { throw .notAnAccessPolicyRequest(String(request[.request].prefix(64))) }
        return request
    }
}

extension UnsafeRawBufferPointer {
    /// Where the first line feed or NUL from `start` on is, or where the octets end. Looks at eight octets at a time.
    fileprivate func firstLineFeedOrNUL(from start: Int) -> Int {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let lineFeeds = ones &* UInt64(UInt8(ascii: "\n"))
        var index = start
        while index + 8 <= count {
            let word = UInt64(littleEndian: loadUnaligned(fromByteOffset: index, as: UInt64.self))
            let other = word ^ lineFeeds
            // The lowest octet with its upper bit set is the first that is zero here; those above it may be set by its borrow.
            let zeros = ((word &- ones) & ~word | (other &- ones) & ~other) & (ones << 7)
            if zeros != 0 { return index + zeros.trailingZeroBitCount / 8 }
            index += 8
        }
        while index < count, self[index] != 0, self[index] != UInt8(ascii: "\n") { index += 1 }
        return index
    }
}
