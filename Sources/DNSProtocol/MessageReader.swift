extension DNSMessage {
    /// Reads a message. Octets behind its last record are ignored, as every resolver does.
    ///
    /// The work is bounded: a record takes at least 11 octets of at most 65,535, and a name at most 255 octets.
    public init(parsing octets: borrowing Span<UInt8>) throws(DNSFormatError) {
        var cursor = MessageCursor()
        let id = try cursor.uint16(octets)
        let flags = try cursor.uint16(octets)
        self.init(id: id)
        isResponse = flags & 0x8000 != 0
        opcode = UInt8(flags >> 11 & 0xf)
        isAuthoritative = flags & 0x0400 != 0
        isTruncated = flags & 0x0200 != 0
        recursionDesired = flags & 0x0100 != 0
        recursionAvailable = flags & 0x0080 != 0
        code = ResponseCode(rawValue: flags & 0xf)
        let counts = (
            try cursor.uint16(octets), try cursor.uint16(octets), try cursor.uint16(octets), try cursor.uint16(octets)
        )
        for _ in 0..<counts.0 {
            let name = try cursor.name(octets)
            let type = RecordType(rawValue: try cursor.uint16(octets))
            questions.append(Question(name, type, recordClass: RecordClass(rawValue: try cursor.uint16(octets))))
        }
        for _ in 0..<counts.1 { answers.append(try readRecord(&cursor, octets)) }
        for _ in 0..<counts.2 { authorities.append(try readRecord(&cursor, octets)) }
        for _ in 0..<counts.3 {
            let record = try readRecord(&cursor, octets)
            guard record.type == .opt else {
                additionals.append(record)
                continue
            }
            guard extensions == nil, record.name.isRoot, case .other(let options) = record.data else { throw .badExtensions }
            // RFC 6891 §6.1.3: the time to live holds the upper bits of the code, the version and the flags.
            let rest = cursor.lastTimeToLive
            code = ResponseCode(rawValue: code.rawValue | UInt16(truncatingIfNeeded: rest >> 24) << 4)
            extensions = Extensions(
                payloadSize: record.recordClass.rawValue, version: UInt8(truncatingIfNeeded: rest >> 16),
                dnssecOK: rest & 0x8000 != 0, options: options)
        }
    }

    private func readRecord(_ cursor: inout MessageCursor, _ octets: borrowing Span<UInt8>) throws(DNSFormatError) -> ResourceRecord {
        let name = try cursor.name(octets)
        let type = RecordType(rawValue: try cursor.uint16(octets))
        let recordClass = RecordClass(rawValue: try cursor.uint16(octets))
        let timeToLive = try cursor.uint32(octets)
        cursor.lastTimeToLive = timeToLive
        let length = Int(try cursor.uint16(octets))
        guard octets.count - cursor.index >= length else { throw .tooShort }
        let end = cursor.index + length
        let data: RecordData
        if recordClass == .internet {
            data = try cursor.data(type, octets, end: end)
        } else {
            data = .other(try cursor.octets(octets, count: length))
        }
        guard cursor.index == end else { throw .badData }
        // RFC 2181 §8: with the uppermost bit set it counts as zero.
        return ResourceRecord(
            name, data, timeToLive: timeToLive & 0x8000_0000 == 0 ? timeToLive : 0, type: type, recordClass: recordClass)
    }
}

/// A place in a message.
struct MessageCursor {
    var index = 0
    /// That of the record read last, untouched: in an OPT record it holds something else.
    var lastTimeToLive: UInt32 = 0

    mutating func uint8(_ octets: borrowing Span<UInt8>) throws(DNSFormatError) -> UInt8 {
        guard index < octets.count else { throw .tooShort }
        defer { index += 1 }
        return octets[index]
    }

    mutating func uint16(_ octets: borrowing Span<UInt8>) throws(DNSFormatError) -> UInt16 {
        guard octets.count - index >= 2 else { throw .tooShort }
        defer { index += 2 }
        return UInt16(octets[index]) << 8 | UInt16(octets[index + 1])
    }

    mutating func uint32(_ octets: borrowing Span<UInt8>) throws(DNSFormatError) -> UInt32 {
        UInt32(try uint16(octets)) << 16 | UInt32(try uint16(octets))
    }

    mutating func uint64(_ octets: borrowing Span<UInt8>) throws(DNSFormatError) -> UInt64 {
        UInt64(try uint32(octets)) << 32 | UInt64(try uint32(octets))
    }

    mutating func octets(_ octets: borrowing Span<UInt8>, count: Int) throws(DNSFormatError) -> [UInt8] {
        guard octets.count - index >= count else { throw .tooShort }
        var copy: [UInt8] = []
        copy.reserveCapacity(count)
        for offset in index..<index + count { copy.append(octets[offset]) }
        index += count
        return copy
    }

    /// RFC 1035 §4.1.4. Each pointer has to lead to a place before the one it was reached from, so there is no loop.
    mutating func name(_ octets: borrowing Span<UInt8>) throws(DNSFormatError) -> DNSName {
        var wire: [UInt8] = []
        wire.reserveCapacity(32)
        var place = index
        var earliest = index
        var jumped = false
        while true {
            guard place < octets.count else { throw .tooShort }
            let length = Int(octets[place])
            switch length >> 6 {
            case 0:
                guard octets.count - place > length else { throw .tooShort }
                guard wire.count + 1 + length <= DNSName.longestName else { throw .badName }
                wire.append(UInt8(length))
                place += 1
                if length == 0 {
                    if !jumped { index = place }
                    return DNSName(trusted: wire)
                }
                for offset in place..<place + length { wire.append(octets[offset].lowercasedASCII) }
                place += length
                // Room for the root's label.
                guard wire.count < DNSName.longestName else { throw .badName }
            case 3:
                guard octets.count - place >= 2 else { throw .tooShort }
                let target = (length & 0x3f) << 8 | Int(octets[place + 1])
                if !jumped { index = place + 2 }
                jumped = true
                guard target < earliest else { throw .badPointer }
                earliest = target
                place = target
            // RFC 6891 §5: the other kinds of label are not to be used.
            default: throw .badName
            }
        }
    }

    mutating func data(_ type: RecordType, _ octets: borrowing Span<UInt8>, end: Int) throws(DNSFormatError) -> RecordData {
        // A name inside the data may point out of it; what follows the name has to end where the data does.
        let length = end - index
        switch type {
        case .a:
            guard length == 4 else { throw .badData }
            return .a(try uint32(octets))
        case .aaaa:
            guard length == 16 else { throw .badData }
            return .aaaa(high: try uint64(octets), low: try uint64(octets))
        case .ns: return .ns(try name(octets))
        case .cname: return .cname(try name(octets))
        case .ptr: return .ptr(try name(octets))
        case .mx: return .mx(preference: try uint16(octets), exchange: try name(octets))
        case .soa:
            return .soa(
                StartOfAuthority(
                    primary: try name(octets), contact: try name(octets), serial: try uint32(octets), refresh: try uint32(octets),
                    retry: try uint32(octets), expire: try uint32(octets), minimum: try uint32(octets)))
        case .txt:
            var strings: [[UInt8]] = []
            while index < end {
                let count = Int(try uint8(octets))
                guard end - index >= count else { throw .badData }
                strings.append(try self.octets(octets, count: count))
            }
            // RFC 1035 §3.3.14: one or more. One without any says nothing, and spoils nothing of the records beside it.
            return strings.isEmpty ? .other([]) : .txt(strings)
        default:
            return .other(try self.octets(octets, count: length))
        }
    }
}
