import AddressTables
import PosternCore
import PosternEngine

/// Reads a whole list, piece by piece, into tables: a subscription's file, however it comes.
public struct ListReader {
    public enum Format: String, CaseIterable, Sendable {
        /// One entry a line.
        case text
        /// `entry,list,expires,reason`.
        case csv
    }

    /// What was read.
    public struct Outcome: Sendable {
        public var table: AddressTable
        public var domains: [DomainName: AddressListing]
        public var statements: [PublishedStatement]
        /// Entries that count; those of the same prefix once.
        public var entries: Int
        public var expired: Int
        /// Lines that are no entry.
        public var bad: Int
        /// The first of them: number and reason.
        public var firstBad: (line: Int, reason: String)?
    }

    /// Octets of a line; a longer one is bad.
    public static let longestLine = 4096

    private let format: Format
    private let colour: ListColour
    private let reason: String
    private let time: ZoneTime
    private let writtenAt: UInt32
    private let plain: UInt16
    private var csv = ListTable()
    private var rest: [UInt8] = []
    private var isTooLong = false
    private var line = 0
    private var builder = AddressTableBuilder()
    private var domains: [DomainName: AddressListing] = [:]
    private var statements = StatementTable()
    private var expired = 0
    private var bad = 0
    private var firstBad: (line: Int, reason: String)?

    /// - Parameters:
    ///   - colour: of lines that name none.
    ///   - reason: of lines that name none.
    ///   - writtenAt: the second that spans in it count from; `nil` for now.
    public init(_ format: Format, colour: ListColour, reason: String, time: ZoneTime, writtenAt: UInt32? = nil) {
        self.writtenAt = min(writtenAt ?? time.now, time.now)
        self.format = format
        self.colour = colour
        self.reason = reason
        self.time = time
        plain = statements.mark(PublishedStatement(colour, reason: reason))
    }

    public mutating func feed(_ octets: UnsafeRawBufferPointer) {
        var start = 0
        while start < octets.count {
            var end = start
            while end < octets.count, octets[end] != UInt8(ascii: "\n") { end += 1 }
            let piece = UnsafeRawBufferPointer(rebasing: octets[start..<end])
            if end == octets.count {
                if rest.count + piece.count <= Self.longestLine { rest += piece } else { isTooLong = true }
                return
            }
            if isTooLong || rest.count + piece.count > Self.longestLine {
                line += 1
                refuse("the line is longer than \(Self.longestLine) octets")
            } else if rest.isEmpty {
                take(piece)
            } else {
                rest += piece
                let whole = rest
                whole.withUnsafeBytes { take($0) }
            }
            rest.removeAll(keepingCapacity: true)
            isTooLong = false
            start = end + 1
        }
    }

    public consuming func finish() -> Outcome {
        if isTooLong || !rest.isEmpty {
            let whole = rest
            if isTooLong {
                line += 1
                refuse("the line is longer than \(Self.longestLine) octets")
            } else {
                whole.withUnsafeBytes { take($0) }
            }
        }
        let table = builder.table()
        return Outcome(
            table: table, domains: domains, statements: statements.statements, entries: table.count + domains.count, expired: expired,
            bad: bad, firstBad: firstBad)
    }

    private mutating func refuse(_ reason: String) {
        bad += 1
        if firstBad == nil { firstBad = (line, reason) }
    }

    private mutating func take(_ octets: UnsafeRawBufferPointer) {
        line += 1
        // A byte order mark, as spreadsheets write it.
        let start = line == 1 && octets.starts(with: [0xef, 0xbb, 0xbf]) ? 3 : 0
        var count = octets.count
        while count > start, octets[count - 1] <= 0x20 { count -= 1 }
        guard count > start else { return }
        let octets = UnsafeRawBufferPointer(rebasing: octets[start..<count])
        // Most lines of most lists are an IPv4 address and nothing else.
        if let address = octets.dottedAddress, format == .text || line > 1 {
            builder.add(v4: address, mark: plain)
            return
        }
        guard let text = String(validating: octets, as: UTF8.self) else { return refuse("the line is not UTF-8") }
        switch format {
        case .text:
            guard let row = ListRow.text(text[...]) else { return }
            add(row)
        case .csv:
            switch csv.read(text[...]) {
            case .nothing: break
            case .row(let row): add(row)
            case .bad(let reason): refuse(reason)
            }
        }
    }

    private mutating func add(_ row: ListRow) {
        var colour = colour
        if !row.list.isEmpty {
            guard let named = ListRow.colour(row.list) else {
                return refuse("'\(row.list.prefix(40))' is not one of block, allow, black, white, yellow, brown")
            }
            colour = named
        }
        var expires: UInt32 = 0
        switch row.end {
        case .never: break
        case .at(let wall):
            let seconds = wall.milliseconds / 1000 - time.toWall
            guard seconds > Int64(time.now) else {
                expired += 1
                return
            }
            expires = UInt32(clamping: seconds)
        case .after(let span):
            expires = UInt32(clamping: Int64(writtenAt) + max(1, span.milliseconds / 1000))
            guard expires > time.now else {
                expired += 1
                return
            }
        }
        let mark =
            row.reason.isEmpty && colour == self.colour
            ? plain : statements.mark(PublishedStatement(colour, reason: row.reason.isEmpty ? reason : row.reason))
        switch Pattern(row.entry) {
        case .prefix(let prefix)?: builder.add(prefix, mark: mark, expires: expires)
        case .domain(let name)?: domains[name] = AddressListing(mark: mark, length: 0, expires: expires)
        case .mailbox?, .localPart?: refuse("'\(row.entry.prefix(40))' is a mailbox; a list has addresses, networks and domains")
        case nil: refuse("'\(row.entry.prefix(40))' is not an address, network or domain")
        }
    }
}

extension UnsafeRawBufferPointer {
    /// The IPv4 address that these octets are, and nothing else.
    fileprivate var dottedAddress: UInt32? {
        guard count >= 7, count <= 15 else { return nil }
        var address: UInt32 = 0
        var octet: UInt32 = 0
        var digits = 0
        var dots = 0
        for character in self {
            switch character {
            case UInt8(ascii: "."):
                guard digits > 0, dots < 3 else { return nil }
                address = address << 8 | octet
                octet = 0
                digits = 0
                dots += 1
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                // As everywhere: a leading zero may be meant as octal.
                guard digits == 0 || octet != 0 else { return nil }
                octet = octet * 10 + UInt32(character - UInt8(ascii: "0"))
                digits += 1
                guard octet <= 255 else { return nil }
            default: return nil
            }
        }
        return dots == 3 && digits > 0 ? address << 8 | octet : nil
    }
}
