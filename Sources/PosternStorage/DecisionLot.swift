import PosternCore
import PosternEngine

/// Decisions as the database keeps them: some neighbours in one value, the highest reference first, so that a commit writes
/// few rows however many it decides.
///
/// A decision is its length without these four octets; its reference, its time and when it passes (`noTime` where that is not
/// known), eight octets each; its texts in the order of `StoredDecision.Column`, each led by its length, seven bits an octet,
/// the lowest first, the eighth bit set where more follow; and its triplets' keys, as `TripletGroups` reads them. Numbers are
/// little-endian.
struct DecisionLot {
    /// Up to here a lot takes more than one decision, in octets: two of them fill a page of the database.
    static let octets = 1950
    /// Past it a lot that late decisions have come to is cut in two.
    static let maximumOctets = 4 * octets
    static let noTime = Int64.min

    /// The lots with what lies between two references, both included, the highest first: those at the ends may hold more.
    static let selection = """
        SELECT decisions FROM decision_lots WHERE highest >= ?1
            AND highest <= coalesce((SELECT min(highest) FROM decision_lots WHERE highest >= ?2), ?2) ORDER BY highest DESC
        """

    private let octets: UnsafeRawBufferPointer
    private var position = 0
    /// Whether what comes next cannot be read.
    private(set) var isDamaged = false

    init(_ octets: UnsafeRawBufferPointer) {
        self.octets = octets
    }

    mutating func next() -> PackedDecision? {
        guard position < octets.count else { return nil }
        let left = octets.count - position - PackedDecision.lengthOctets
        let length = left < 0 ? 0 : Int(UInt32(littleEndian: octets.loadUnaligned(fromByteOffset: position, as: UInt32.self)))
        guard length >= PackedDecision.textsStart - PackedDecision.lengthOctets, length <= left else {
            isDamaged = true
            position = octets.count
            return nil
        }
        let end = position + PackedDecision.lengthOctets + length
        defer { position = end }
        return PackedDecision(octets: UnsafeRawBufferPointer(rebasing: octets[position..<end]))
    }
}

/// One decision of a lot; valid as long as the lot's octets.
struct PackedDecision {
    /// Its length included.
    let octets: UnsafeRawBufferPointer

    static let lengthOctets = 4
    static let textsStart = lengthOctets + 3 * 8

    private func number(_ offset: Int) -> Int64 { Int64(littleEndian: octets.loadUnaligned(fromByteOffset: offset, as: Int64.self)) }

    var reference: Int64 { number(4) }
    var time: Int64 { number(12) }
    var passesAt: WallTime? {
        let milliseconds = number(20)
        return milliseconds == DecisionLot.noTime ? nil : WallTime(milliseconds: milliseconds)
    }

    var texts: Texts { Texts(octets: octets) }

    /// The texts, one after the other, then the keys.
    struct Texts {
        private let octets: UnsafeRawBufferPointer
        private var position = PackedDecision.textsStart
        /// Whether a text ended where the decision did not; it is empty then, and so is all that follows.
        private(set) var isDamaged = false

        fileprivate init(octets: UnsafeRawBufferPointer) {
            self.octets = octets
        }

        mutating func next() -> UnsafeRawBufferPointer {
            var length = 0
            var shift = 0
            while position < octets.count, shift < 35 {
                let octet = octets[position]
                position += 1
                length |= Int(octet & 0x7f) << shift
                if octet & 0x80 == 0 {
                    guard length <= octets.count - position else { break }
                    defer { position += length }
                    return UnsafeRawBufferPointer(rebasing: octets[position..<position + length])
                }
                shift += 7
            }
            isDamaged = true
            position = octets.count
            return UnsafeRawBufferPointer(rebasing: octets[position...])
        }

        mutating func text() -> String { String(decoding: next(), as: UTF8.self) }

        /// To be asked for after all texts.
        var groups: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: octets[position...]) }
    }
}

extension StoredDecision {
    /// In words, with the keys of its triplets; `nil` where it cannot be read.
    static func read(_ packed: PackedDecision) -> (StoredDecision, groups: [[Int64]])? {
        var texts = packed.texts
        let (action, address, sender, recipient) = (texts.text(), texts.text(), texts.text(), texts.text())
        let (name, helo, account, listener) = (texts.text(), texts.text(), texts.text(), texts.text())
        let (stage, reason) = (texts.text(), texts.text())
        guard !texts.isDamaged else { return nil }
        return (
            StoredDecision(
                reference: Reference(value: packed.reference), time: WallTime(milliseconds: packed.time), listener: listener, stage: stage,
                address: address, name: name, helo: helo, sender: sender, recipient: recipient, account: account, action: action,
                reason: reason, passesAt: packed.passesAt), groups: TripletGroups.decode(texts.groups)
        )
    }
}

// MARK: - Packing

extension OctetWriter {
    /// Appends a decision as a lot holds it. `key` tells the key of the triplet at a place among the record's.
    mutating func pack(_ record: borrowing DecisionRecord, key: (Int) -> Int64) {
        let start = beginDecision(record.reference.value, time: record.time.milliseconds, passesAt: record.verdict.passesAt?.milliseconds)
        for column in StoredDecision.Column.allCases {
            let place = beginText()
            record.append(column, to: &self)
            endText(place)
        }
        record.appendTripletGroups(to: &self, key: key)
        endPart(start)
    }

    /// Appends what comes before a decision's texts; returns where it began, for `endPart`.
    mutating func beginDecision(_ reference: Int64, time: Int64, passesAt: Int64?) -> Int {
        let start = beginPart()
        append(number: reference)
        append(number: time)
        append(number: passesAt ?? DecisionLot.noTime)
        return start
    }

    mutating func pack(text: UnsafeRawBufferPointer) {
        let place = beginText()
        append(octets: text)
        endText(place)
    }
}
