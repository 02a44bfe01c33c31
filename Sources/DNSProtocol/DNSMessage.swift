/// A DNS message (RFC 1035 §4), with the OPT record of EDNS0 taken out of the additional section (RFC 6891).
public struct DNSMessage: Hashable, Sendable {
    public var id: UInt16
    public var isResponse: Bool
    /// 0 for a query; four bits.
    public var opcode: UInt8
    public var isAuthoritative: Bool
    /// Set by `serialised` where not everything had room.
    public var isTruncated: Bool
    public var recursionDesired: Bool
    public var recursionAvailable: Bool
    public var code: ResponseCode
    public var questions: [Question]
    public var answers: [ResourceRecord]
    public var authorities: [ResourceRecord]
    /// Without the OPT record.
    public var additionals: [ResourceRecord]
    public var extensions: Extensions?

    /// What an OPT record says (RFC 6891 §6.1).
    public struct Extensions: Hashable, Sendable {
        /// Octets of UDP payload that the sender takes.
        public var payloadSize: UInt16
        public var version: UInt8
        public var dnssecOK: Bool
        /// The options, as on the wire.
        public var options: [UInt8]

        public init(payloadSize: UInt16, version: UInt8 = 0, dnssecOK: Bool = false, options: [UInt8] = []) {
            self.payloadSize = payloadSize
            self.version = version
            self.dnssecOK = dnssecOK
            self.options = options
        }
    }

    /// A message of UDP payload that crosses every network unfragmented (DNS flag day 2020).
    public static let commonPayloadSize: UInt16 = 1232
    /// Without EDNS (RFC 1035 §2.3.4).
    public static let plainPayloadSize = 512
    /// Over TCP (RFC 1035 §4.2.2).
    public static let largestSize = 65_535

    public init(id: UInt16) {
        self.id = id
        isResponse = false
        opcode = 0
        isAuthoritative = false
        isTruncated = false
        recursionDesired = false
        recursionAvailable = false
        code = .noError
        questions = []
        answers = []
        authorities = []
        additionals = []
        extensions = nil
    }

    /// A question to a recursive resolver.
    public static func query(_ question: Question, id: UInt16) -> DNSMessage {
        var message = DNSMessage(id: id)
        message.recursionDesired = true
        message.questions = [question]
        message.extensions = Extensions(payloadSize: commonPayloadSize)
        return message
    }
}

/// Why octets are not a DNS message.
public enum DNSFormatError: Error, Equatable, Sendable {
    /// It ends before what it announces.
    case tooShort
    /// A label longer than 63, or of a reserved kind; a name longer than 255.
    case badName
    /// A compression pointer that does not lead back to an earlier place (RFC 1035 §4.1.4).
    case badPointer
    /// A record's data that is not what its type has.
    case badData
    /// More than one OPT record, or one that is not the root's (RFC 6891 §6.1.1).
    case badExtensions
}
