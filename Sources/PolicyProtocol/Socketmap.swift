/// One look-up of Postfix's socketmap protocol (socketmap_table(5)): `name <space> key`, as a netstring.
public struct SocketmapRequest: Equatable, Sendable {
    /// The table that is asked.
    public var name: String
    /// What is looked up; octets that are not UTF-8 become U+FFFD.
    public var key: String

    public init(name: String, key: String) {
        self.name = name
        self.key = key
    }
}

/// What is answered.
public enum SocketmapReply: Equatable, Sendable {
    case found(String)
    case notFound
    /// Trouble that will pass: Postfix puts the mail off. The reason is for its log.
    case temporaryFailure(String)
    /// The time for the look-up was over.
    case timeout(String)
    /// Trouble that stays until somebody mends it.
    case permanentFailure(String)

    /// socketmap_table(5): a reply may have 100,000 octets, without what makes it a netstring.
    public static let longestReply = 100_000

    /// As a netstring. What is too long, which no table of ours holds, is a permanent failure.
    public var encoded: [UInt8] {
        let text =
            switch self {
            case .found(let data): "OK \(data)"
            case .notFound: "NOTFOUND "
            case .temporaryFailure(let reason): "TEMP \(reason)"
            case .timeout(let reason): "TIMEOUT \(reason)"
            case .permanentFailure(let reason): "PERM \(reason)"
            }
        guard text.utf8.count <= Self.longestReply else { return Self.permanentFailure("the answer is too long").encoded }
        return Array("\(text.utf8.count):\(text),".utf8)
    }
}

/// Why a request was not understood. Nothing more can be read of its connection.
public enum SocketmapError: Error, Equatable, Sendable, CustomStringConvertible {
    /// It does not begin with a length in plain digits.
    case malformedLength
    case requestTooLong(limit: Int)
    /// The comma at the end of a netstring is missing.
    case missingComma
    /// There is no space between name and key.
    case missingKey
    /// The connection ended within a request.
    case truncated

    public var description: String {
        switch self {
        case .malformedLength: "it does not begin with a length and a colon"
        case .requestTooLong(let limit): "it is longer than \(limit) octets"
        case .missingComma: "it does not end with a comma"
        case .missingKey: "there is no key after the name of a table"
        case .truncated: "the connection ended within it"
        }
    }
}

/// Cuts a connection's octets into requests. Holds at most one request and what was fed last.
public struct SocketmapRequestDecoder: Sendable {
    /// Octets of a request: a name and a key, which is a mailbox.
    public static let longestRequest = 4096

    private let limit: Int
    private var buffer: [UInt8] = []
    private var start = 0

    public init(limit: Int = Self.longestRequest) {
        self.limit = limit
    }

    public mutating func feed(_ bytes: some Sequence<UInt8>) {
        if start > 0 {
            buffer.removeFirst(start)
            start = 0
        }
        buffer.append(contentsOf: bytes)
    }

    /// Whether part of a request is waiting for its rest.
    public var isWithinRequest: Bool { start < buffer.count }

    /// The next whole request, or `nil` when more octets are needed. After an error nothing more can be read.
    public mutating func next() throws(SocketmapError) -> SocketmapRequest? {
        var length = 0
        var position = start
        // A netstring's length: digits, none before a zero, a colon.
        while true {
            guard position < buffer.count else { return nil }
            let octet = buffer[position]
            position += 1
            if octet == UInt8(ascii: ":") {
                guard position - start > 1 else { throw .malformedLength }
                break
            }
            let isLeadingZero = position - start == 2 && buffer[start] == UInt8(ascii: "0")
            guard octet >= UInt8(ascii: "0"), octet <= UInt8(ascii: "9"), !isLeadingZero else { throw .malformedLength }
            length = length * 10 + Int(octet - UInt8(ascii: "0"))
            guard length <= limit else { throw .requestTooLong(limit: limit) }
        }
        let end = position + length
        guard end < buffer.count else { return nil }
        guard buffer[end] == UInt8(ascii: ",") else { throw .missingComma }
        start = end + 1
        let text = buffer[position..<end]
        guard let space = text.firstIndex(of: UInt8(ascii: " ")), space > text.startIndex else { throw .missingKey }
        return SocketmapRequest(
            name: String(decoding: text[..<space], as: UTF8.self), key: String(decoding: text[(space + 1)...], as: UTF8.self))
    }
}
