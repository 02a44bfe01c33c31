import DNSProtocol
import PosternCore
import PosternEngine

/// How a query was dealt with, for counters.
public enum AnswerKind: Int, CaseIterable, Sendable {
    case listed
    /// NXDOMAIN, or a name without records of that type.
    case notListed
    /// The zone's own records.
    case zone
    case refused
    /// FORMERR, NOTIMP, BADVERS.
    case rejected
    /// Not answered: no query at all.
    case ignored
}

/// The zones of one listener, and how questions to them are answered. Never changes: a newer one takes its place.
///
/// Answering allocates nothing, but for texts and for lists of domains.
public final class ListResponder: Sendable {
    /// The one with the longest name first.
    public let zones: [PublishedZone]

    /// Octets of a response over UDP, whatever the asker would take (DNS flag day 2020).
    public static let largestDatagram = Int(DNSMessage.commonPayloadSize)

    public init(zones: [PublishedZone]) {
        self.zones = zones.sorted { $0.wire.count > $1.wire.count }
    }

    /// What a query says and leads to.
    public struct Response: Equatable, Sendable {
        /// Octets written; 0 where nothing is to be sent.
        public var count: Int
        public var outcome: AnswerKind
    }

    /// Whether the asker may ask, and how.
    public enum Manner: Sendable {
        case datagram
        case stream
        /// Over UDP, and sends too much: what it gets is a request to come by TCP.
        case slip
        /// It is not among those who may ask.
        case stranger
    }

    /// Answers one query.
    ///
    /// - Parameters:
    ///   - room: at least `largestDatagram` octets; over a stream 4096 are enough for every answer.
    public func respond(
        to octets: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer, _ manner: Manner, _ time: ZoneTime
    ) -> Response {
        var query = ListQuery()
        let problem = ListQuery.read(octets, into: &query)
        if problem == .unanswerable { return Response(count: 0, outcome: .ignored) }
        // The limit of the asker and ours; the question always has room.
        let limit = manner == .stream ? room.count : min(query.payloadSize, Self.largestDatagram, room.count)
        let reserve = query.hasExtensions ? AnswerWriter.extensionsSize : 0
        var writer = AnswerWriter(UnsafeMutableRawBufferPointer(rebasing: room[..<(limit - reserve)]))
        var answer = AnswerInMaking(id: octets.uint16(0), flags: octets[2] & AnswerInMaking.copiedFlags, query: query)
        let outcome: AnswerKind
        if let problem {
            answer.code =
                switch problem {
                case .notImplemented: ResponseCode.notImplemented.rawValue
                case .badVersion: ResponseCode.badVersion.rawValue
                default: ResponseCode.formatError.rawValue
                }
            answer.begin(&writer, question: nil)
            outcome = .rejected
        } else {
            let question = UnsafeRawBufferPointer(rebasing: octets[ListQuery.headerSize..<query.questionEnd])
            answer.begin(&writer, question: question)
            switch manner {
            case .slip:
                answer.isTruncated = true
                outcome = .notListed
            case .stranger:
                answer.code = ResponseCode.refused.rawValue
                outcome = .refused
            case .datagram, .stream: outcome = fill(&answer, &writer, octets, query, time)
            }
        }
        if writer.overflows {
            // RFC 2181 §9: a part of an answer is none.
            writer.goBack(to: answer.questionEnd)
            answer.isTruncated = true
            (answer.answers, answer.authorities) = (0, 0)
        }
        var count = writer.count
        if query.hasExtensions {
            var behind = AnswerWriter(UnsafeMutableRawBufferPointer(rebasing: room[count..<count + reserve]))
            behind.uint8(0)
            behind.uint16(RecordType.opt.rawValue)
            behind.uint16(UInt16(Self.largestDatagram))
            behind.uint8(UInt8(truncatingIfNeeded: answer.code >> 4))
            behind.uint8(0)
            // RFC 3225 §3: the bit is copied.
            behind.uint16(query.dnssecOK ? 0x8000 : 0)
            behind.uint16(0)
            count += behind.count
        }
        answer.finish(room)
        return Response(count: count, outcome: outcome)
    }

    // MARK: - What the name is

    private func fill(
        _ answer: inout AnswerInMaking, _ writer: inout AnswerWriter, _ octets: UnsafeRawBufferPointer, _ query: ListQuery, _ time: ZoneTime
    ) -> AnswerKind {
        guard query.recordClass == RecordClass.internet.rawValue || query.recordClass == RecordClass.any.rawValue,
            query.type != RecordType.axfr.rawValue, query.type != RecordType.ixfr.rawValue
        else {
            answer.code = ResponseCode.refused.rawValue
            return .refused
        }
        answer.hasZoneBelow = zones.count > 1 && hasZone(below: octets, query)
        var subject = SubjectInMaking()
        var index = ListQuery.headerSize
        while true {
            for zone in zones where zone.wire.count == query.nameEnd - index && octets.hasName(zone.wire[...], at: index) {
                answer.isAuthoritative = true
                answer.zonePlace = UInt16(index)
                return zone.fill(&answer, &writer, octets, query, subject, time)
            }
            let length = Int(octets[index])
            guard length > 0 else { break }
            subject.add(UnsafeRawBufferPointer(rebasing: octets[index + 1..<index + 1 + length]))
            index += 1 + length
        }
        answer.code = ResponseCode.refused.rawValue
        return .refused
    }

    /// Whether the name of a zone lies below the question's.
    private func hasZone(below octets: UnsafeRawBufferPointer, _ query: ListQuery) -> Bool {
        let length = query.nameEnd - ListQuery.headerSize
        return zones.contains { zone in
            guard zone.wire.count > length else { return false }
            // A name's end is a name where a label begins there.
            var start = 0
            while zone.wire.count - start > length { start += 1 + Int(zone.wire[start]) }
            return zone.wire.count - start == length && octets.hasName(zone.wire[start...], at: ListQuery.headerSize)
        }
    }
}

/// What the labels in front of a zone come to, as an address read from its end.
struct SubjectInMaking {
    var labels = 0
    /// As long as all labels are decimal octets (RFC 5782 §2.1), and at most four.
    var isV4 = true
    var v4: UInt32 = 0
    /// As long as all labels are nibbles (RFC 5782 §2.4), and at most 32.
    var isV6 = true
    var high: UInt64 = 0
    var low: UInt64 = 0

    mutating func add(_ label: UnsafeRawBufferPointer) {
        if isV4 {
            if labels < 4, let octet = label.decimalOctet { v4 |= octet << UInt32(8 * labels) } else { isV4 = false }
        }
        if isV6 {
            if labels < 32, label.count == 1, let nibble = label[0].hexDigitValue {
                if labels < 16 { low |= UInt64(nibble) << UInt64(4 * labels) } else { high |= UInt64(nibble) << UInt64(4 * (labels - 16)) }
            } else {
                isV6 = false
            }
        }
        labels += 1
    }

    /// With the last label uppermost: whole for four labels.
    var v4Bits: UInt32 { labels == 0 ? 0 : v4 << UInt32(32 - 8 * labels) }

    /// The same for up to 32 nibbles.
    var v6Halves: (high: UInt64, low: UInt64) {
        let shift = UInt64(128 - 4 * labels)
        return switch shift {
        case 0: (high, low)
        case 1..<64: (high << shift | low >> (64 - shift), low << shift)
        case 64: (low, 0)
        default: (low << (shift - 64), 0)
        }
    }
}

extension UnsafeRawBufferPointer {
    /// `0` to `255` without leading zeros.
    @inline(__always)
    fileprivate var decimalOctet: UInt32? {
        guard count >= 1, count <= 3, count == 1 || self[0] != UInt8(ascii: "0") else { return nil }
        var value: UInt32 = 0
        for octet in self {
            guard octet >= UInt8(ascii: "0"), octet <= UInt8(ascii: "9") else { return nil }
            value = value * 10 + UInt32(octet - UInt8(ascii: "0"))
        }
        return value <= 255 ? value : nil
    }

    /// Whether these octets stand there, but for the case of letters (RFC 4343).
    @inline(__always)
    fileprivate func hasName(_ wire: ArraySlice<UInt8>, at start: Int) -> Bool {
        let shift = start - wire.startIndex
        for index in wire.indices where self[index + shift].lowercasedASCII != wire[index] { return false }
        return true
    }
}

/// The header's fields while a response is made.
struct AnswerInMaking {
    let id: UInt16
    /// The bits that are copied from the query (RFC 1035 §4.1.1): OPCODE and RD.
    static let copiedFlags: UInt8 = 0x79
    let flags: UInt8
    let query: ListQuery
    var code: UInt16 = 0
    var isAuthoritative = false
    var isTruncated = false
    /// Another zone lies below the name that is asked for, which so exists (RFC 8020 §2).
    var hasZoneBelow = false
    var hasQuestion = false
    var answers: UInt16 = 0
    var authorities: UInt16 = 0
    /// Where the zone's name stands, to point to.
    var zonePlace: UInt16 = 0

    init(id: UInt16, flags: UInt8, query: ListQuery) {
        self.id = id
        self.flags = flags
        self.query = query
    }

    var questionEnd: Int { hasQuestion ? query.questionEnd : ListQuery.headerSize }

    mutating func begin(_ writer: inout AnswerWriter, question: UnsafeRawBufferPointer?) {
        writer.uint16(id)
        for _ in 0..<5 { writer.uint16(0) }
        guard let question else { return }
        hasQuestion = true
        writer.octets(question)
    }

    func finish(_ room: UnsafeMutableRawBufferPointer) {
        room[2] = 0x80 | flags | (isAuthoritative ? 0x04 : 0) | (isTruncated ? 0x02 : 0)
        room[3] = UInt8(truncatingIfNeeded: code & 0xf)
        room[5] = hasQuestion ? 1 : 0
        room[6] = UInt8(answers >> 8)
        room[7] = UInt8(truncatingIfNeeded: answers)
        room[9] = UInt8(truncatingIfNeeded: authorities)
        room[11] = query.hasExtensions ? 1 : 0
    }
}

extension PublishedZone {
    private static let pointerToQuestion: UInt16 = 0xc000 | UInt16(ListQuery.headerSize)

    fileprivate func fill(
        _ answer: inout AnswerInMaking, _ writer: inout AnswerWriter, _ octets: UnsafeRawBufferPointer, _ query: ListQuery,
        _ subject: SubjectInMaking, _ time: ZoneTime
    ) -> AnswerKind {
        let type = RecordType(rawValue: query.type)
        guard subject.labels > 0 else { return fillApex(&answer, &writer, type) }
        switch settings.kind {
        case .domain:
            guard let name = octets.name(from: ListQuery.headerSize, to: Int(answer.zonePlace)) else {
                return fillNegative(&answer, &writer, exists: false)
            }
            if let (colour, end) = colour(of: name, at: time.now) {
                return fill(&answer, &writer, type, colour, end, time) {
                    self.answer(for: name, at: time.now).map { self.text(of: $0, for: "\(name)", time) }
                }
            }
            return fillNegative(&answer, &writer, exists: hasNames(below: name))
        case .address:
            if subject.isV4, subject.labels == 4 {
                if let (colour, end) = colour(v4: subject.v4Bits, at: time.now) {
                    return fill(&answer, &writer, type, colour, end, time) {
                        self.text(of: IPAddress(v4: subject.v4Bits), time)
                    }
                }
            } else if subject.isV6, subject.labels == 32 {
                let halves = subject.v6Halves
                // RFC 5782 §5 has ::FFFF:7F00:2 in lists of IPv6: a mapped address is the IPv4 address.
                if halves.high == 0, halves.low >> 32 == 0xffff {
                    let mapped = UInt32(truncatingIfNeeded: halves.low)
                    if let (colour, end) = colour(v4: mapped, at: time.now) {
                        return fill(&answer, &writer, type, colour, end, time) { self.text(of: IPAddress(v4: mapped), time) }
                    }
                } else if let (colour, end) = colour(v6High: halves.high, low: halves.low, at: time.now) {
                    return fill(&answer, &writer, type, colour, end, time) {
                        self.text(of: IPAddress(v6High: halves.high, low: halves.low), time)
                    }
                }
            }
            return fillNegative(&answer, &writer, exists: hasNames(below: subject))
        }
    }

    /// Whether a name that is not listed has names below it.
    private func hasNames(below subject: SubjectInMaking) -> Bool {
        if subject.isV4, subject.labels < 4, hasNames(v4: subject.v4Bits, length: UInt8(8 * subject.labels)) { return true }
        guard subject.isV6, subject.labels < 32 else { return false }
        let halves = subject.v6Halves
        return hasNames(v6High: halves.high, low: halves.low, length: UInt8(4 * subject.labels))
    }

    private func text(of address: IPAddress, _ time: ZoneTime) -> String? {
        answer(for: address, at: time.now).map { text(of: $0, for: "\(address)", time) }
    }

    /// A listing. RFC 8482 §4.1: of ANY, one set of records is enough.
    private func fill(
        _ answer: inout AnswerInMaking, _ writer: inout AnswerWriter, _ type: RecordType, _ colour: ListColour, _ end: UInt32,
        _ time: ZoneTime, text: () -> String?
    ) -> AnswerKind {
        // Nobody is told to keep it for longer than it counts: of the second that it is, nothing may be left.
        let timeToLive = end == 0 ? settings.timeToLive : min(settings.timeToLive, end - time.now - 1)
        switch type {
        case .a, .any:
            writer.uint16(Self.pointerToQuestion)
            writer.uint16(RecordType.a.rawValue)
            writer.uint16(RecordClass.internet.rawValue)
            writer.uint32(timeToLive)
            writer.uint16(4)
            writer.uint32(0x7f00_0000 | UInt32(colour.returnCode))
            answer.answers = 1
        case .txt:
            guard let text = text() else { return fillNegative(&answer, &writer, exists: true) }
            writer.uint16(Self.pointerToQuestion)
            writer.uint16(RecordType.txt.rawValue)
            writer.uint16(RecordClass.internet.rawValue)
            writer.uint32(timeToLive)
            let octets = text.utf8.prefix(Self.longestText)
            writer.uint16(UInt16(octets.count + 1))
            writer.uint8(UInt8(octets.count))
            for octet in octets { writer.uint8(octet) }
            answer.answers = 1
        default:
            return fillNegative(&answer, &writer, exists: true)
        }
        return .listed
    }

    private func fillApex(_ answer: inout AnswerInMaking, _ writer: inout AnswerWriter, _ type: RecordType) -> AnswerKind {
        switch type {
        case .soa, .any:
            write(&writer, Self.pointerToQuestion, .soa, settings.timeToLive, startOfAuthority)
            answer.answers = 1
        case .ns:
            for name in nameServers {
                write(&writer, Self.pointerToQuestion, .ns, settings.timeToLive, name)
                answer.answers += 1
            }
        default:
            return fillNegative(&answer, &writer, exists: true)
        }
        return .zone
    }

    /// RFC 2308 §2 and §5: with the zone's SOA, whose time to live says how long this may be kept.
    private func fillNegative(_ answer: inout AnswerInMaking, _ writer: inout AnswerWriter, exists: Bool) -> AnswerKind {
        if !exists, !answer.hasZoneBelow { answer.code = ResponseCode.noSuchDomain.rawValue }
        write(&writer, 0xc000 | answer.zonePlace, .soa, min(settings.negativeTimeToLive, settings.timeToLive), startOfAuthority)
        answer.authorities = 1
        return .notListed
    }

    private func write(_ writer: inout AnswerWriter, _ owner: UInt16, _ type: RecordType, _ timeToLive: UInt32, _ data: [UInt8]) {
        writer.uint16(owner)
        writer.uint16(type.rawValue)
        writer.uint16(RecordClass.internet.rawValue)
        writer.uint32(timeToLive)
        writer.uint16(UInt16(data.count))
        writer.octets(data)
    }
}

extension UnsafeRawBufferPointer {
    /// The labels of a question's name between two places.
    fileprivate func name(from start: Int, to end: Int) -> DNSName? {
        var labels: [[UInt8]] = []
        var index = start
        while index < end {
            let length = Int(self[index])
            labels.append(Array(self[index + 1..<index + 1 + length]))
            index += 1 + length
        }
        return DNSName(labels: labels)
    }
}
