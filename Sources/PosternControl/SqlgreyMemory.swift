import PosternCore

/// What sqlgrey (1.8) had learnt, row by row, as `import sqlgrey` takes it over.
///
/// `connect` holds who waits: sender, source, recipient. A row that passed becomes one in `from_awl`, without its recipient; from
/// the second sender of a domain on (`group_domain_level`) those become one in `domain_awl`. So of what passed only the source
/// remains that Postern can go by: a source counts one message for each sender in `from_awl`, and is proven where a whole domain
/// is known from it. A source is an address, the first three parts of one, or the first four of an IPv6 address. Times are Unix
/// seconds.
public struct SqlgreyMemory: Sendable {
    /// sqlgrey's tables, with the columns that are wanted of each, in this order.
    public static let tables: [(name: String, columns: [String])] = [
        ("from_awl", ["sender_name", "sender_domain", "src", "first_seen", "last_seen"]),
        ("domain_awl", ["sender_domain", "src", "first_seen", "last_seen"]),
        ("connect", ["sender_name", "sender_domain", "src", "rcpt", "first_seen"]),
        ("optout_domain", ["domain"]), ("optout_email", ["email"]), ("optin_domain", ["domain"]), ("optin_email", ["email"]),
    ]

    private struct Source {
        var senders: UInt32 = 0
        var hasDomain = false
        var lastSeen: Int64 = 0
    }

    public private(set) var triplets: [Lessons.Triplet] = []
    /// Recipients that sqlgrey did not greylist.
    public private(set) var optOut: [String] = []
    /// The only ones that it did; the store has no place for that, the configuration does.
    public private(set) var optIn: [String] = []
    private var sources: [String: Source] = [:]

    public init() {}

    /// A row of a text dump: the table's name and its columns, with tabs between. `nil` where it was taken, else why not.
    public mutating func take(line: some StringProtocol) -> String? {
        let fields = String(line).split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
        guard fields.count > 1 else { return "there is no tab between the table's name and its columns" }
        return take(table: fields[0], Array(fields.dropFirst()))
    }

    /// A row of a table. `nil` where it was taken, else why not.
    public mutating func take(table: String, _ values: [String]) -> String? {
        guard let columns = Self.tables.first(where: { $0.name == table })?.columns else {
            return "'\(table.shortened)' is no table of sqlgrey's"
        }
        guard values.count == columns.count else { return "\(table) has \(columns.count) columns, and this row \(values.count)" }
        switch table {
        case "from_awl": return source(values[2], values[4]) { $0.senders &+= 1 }
        case "domain_awl": return source(values[1], values[3]) { $0.hasDomain = true }
        case "connect": return waiting(values)
        case "optout_domain", "optout_email": optOut.append(values[0])
        default: optIn.append(values[0])
        }
        return nil
    }

    /// Sources as clients. Where a whole domain is known from one, or at least `senders` senders are, it counts `provenAfter`
    /// messages, else one for each sender.
    public func clients(senders: UInt32, provenAfter: UInt32) -> [Lessons.Client] {
        sources.sorted { $0.key < $1.key }.map { address, source in
            let isProven = source.hasDomain || source.senders >= senders
            return Lessons.Client(
                address: address, passes: isProven ? max(provenAfter, source.senders, 1) : source.senders, lastSeen: source.lastSeen)
        }
    }

    private mutating func source(_ text: String, _ time: String, _ change: (inout Source) -> Void) -> String? {
        guard let address = Self.address(text) else { return "'\(text.shortened)' is not a source" }
        guard let seen = Self.time(time) else { return "'\(time.shortened)' is not a time in Unix seconds" }
        var source = sources[address] ?? Source()
        source.lastSeen = max(source.lastSeen, seen)
        change(&source)
        sources[address] = source
        return nil
    }

    private mutating func waiting(_ values: [String]) -> String? {
        guard let address = Self.address(values[2]) else { return "'\(values[2].shortened)' is not a source" }
        guard let first = Self.time(values[4]) else { return "'\(values[4].shortened)' is not a time in Unix seconds" }
        // `-undef-` stands for a part that was not there; both for the null sender, which is never greylisted by RCPT here.
        guard values[0] != Self.nothing, values[1] != Self.nothing else { return "it is of the null sender, or of no whole address" }
        triplets.append(
            Lessons.Triplet(
                address: address, sender: "\(values[0])@\(values[1])", recipient: values[3], firstSeen: first, lastSeen: first,
                passed: false))
        return nil
    }

    private static let nothing = "-undef-"

    /// The first address of what a source stands for.
    private static func address(_ text: String) -> String? {
        if let address = IPAddress(text) { return address.description }
        let dots = text.utf8.count { $0 == UInt8(ascii: ".") }
        let colons = text.utf8.count { $0 == UInt8(ascii: ":") }
        if dots == 2, colons == 0 { return IPAddress(text + ".0")?.description }
        return colons == 3 ? IPAddress(text + "::")?.description : nil
    }

    /// PostgreSQL may add a fraction.
    private static func time(_ text: String) -> Int64? {
        guard let time = Int64(text.prefix { $0 != "." }), time >= 0 else { return nil }
        return time
    }
}
