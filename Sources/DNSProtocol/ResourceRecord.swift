import PosternCore

/// What is asked: the records of one type that one name has in the Internet's class.
public struct Question: Hashable, Sendable {
    public var name: DNSName
    public var type: RecordType
    public var recordClass: RecordClass

    public init(_ name: DNSName, _ type: RecordType, recordClass: RecordClass = .internet) {
        self.name = name
        self.type = type
        self.recordClass = recordClass
    }
}

extension Question: CustomStringConvertible {
    public var description: String { "\(name) \(type)" }
}

/// One record.
public struct ResourceRecord: Hashable, Sendable {
    public var name: DNSName
    public var type: RecordType
    public var recordClass: RecordClass
    /// Seconds, 0 to 2³¹ - 1 (RFC 2181 §8).
    public var timeToLive: UInt32
    public var data: RecordData

    /// The type is that of the data; `type` matters for `RecordData.other` only.
    public init(
        _ name: DNSName, _ data: RecordData, timeToLive: UInt32, type: RecordType? = nil, recordClass: RecordClass = .internet
    ) {
        self.name = name
        self.type = data.type ?? type ?? RecordType(rawValue: 0)
        self.recordClass = recordClass
        self.timeToLive = min(timeToLive, 0x7fff_ffff)
        self.data = data
    }
}

/// What a record says.
public enum RecordData: Hashable, Sendable {
    /// The 32 bits of an IPv4 address, the first octet uppermost.
    case a(UInt32)
    /// The two halves of an IPv6 address. Kept as they came: an IPv4-mapped address in an AAAA record is not IPv4.
    case aaaa(high: UInt64, low: UInt64)
    case ns(DNSName)
    case cname(DNSName)
    case soa(StartOfAuthority)
    case ptr(DNSName)
    case mx(preference: UInt16, exchange: DNSName)
    /// Strings of at most 255 octets each (RFC 1035 §3.3.14), at least one.
    case txt([[UInt8]])
    /// The octets of a type that nothing here looks into (RFC 3597).
    case other([UInt8])

    /// `nil` for `other`.
    public var type: RecordType? {
        switch self {
        case .a: .a
        case .aaaa: .aaaa
        case .ns: .ns
        case .cname: .cname
        case .soa: .soa
        case .ptr: .ptr
        case .mx: .mx
        case .txt: .txt
        case .other: nil
        }
    }

    /// The address of an A or AAAA record.
    public var address: IPAddress? {
        switch self {
        case .a(let bits): IPAddress(v4: bits)
        case .aaaa(let high, let low): IPAddress(v6High: high, low: low)
        default: nil
        }
    }
}

/// The start of a zone (RFC 1035 §3.3.13); its last field is the time to keep a negative answer (RFC 2308 §4).
public struct StartOfAuthority: Hashable, Sendable {
    public var primary: DNSName
    /// The mailbox of who is responsible, its first label the local part.
    public var contact: DNSName
    public var serial: UInt32
    /// Seconds, as are the following.
    public var refresh: UInt32
    public var retry: UInt32
    public var expire: UInt32
    public var minimum: UInt32

    public init(
        primary: DNSName, contact: DNSName, serial: UInt32, refresh: UInt32, retry: UInt32, expire: UInt32, minimum: UInt32
    ) {
        self.primary = primary
        self.contact = contact
        self.serial = serial
        self.refresh = refresh
        self.retry = retry
        self.expire = expire
        self.minimum = minimum
    }
}
