/// The parts of a question that the answer hangs on, read in place (RFC 1035 §4.1, RFC 6891 §6.1).
struct ListQuery {
    enum Problem: Error {
        /// Nothing can or should be answered: no header, or a reply (which would go round for ever).
        case unanswerable
        case malformed
        case notImplemented
        case badVersion
    }

    static let headerSize = 12
    /// Records behind the question that are looked at in search of the OPT record.
    static let mostRecords = 16

    /// Where the question's name ends, behind its last octet.
    var nameEnd = headerSize
    /// Where the question ends.
    var questionEnd: Int { nameEnd + 4 }
    var type: UInt16 = 0
    var recordClass: UInt16 = 0
    var hasExtensions = false
    /// Octets that the asker takes over UDP (RFC 6891 §6.2.5: never fewer than 512).
    var payloadSize = 512
    var dnssecOK = false

    /// With `nil` for what is wrong the question is whole. Whatever else, `nameEnd` and `hasExtensions` tell what was read.
    static func read(_ octets: UnsafeRawBufferPointer, into query: inout ListQuery) -> Problem? {
        guard octets.count >= headerSize, octets[2] & 0x80 == 0 else { return .unanswerable }
        guard octets[2] & 0x78 == 0 else {
            // RFC 6891 §6.1.1: who sends OPT gets it back, whatever the answer. Another operation may have other counts.
            if octets.uint16(4) == 1, octets.uint16(6) == 0, octets.uint16(8) == 0 { _ = query.readQuestion(octets) }
            return .notImplemented
        }
        // RFC 9619: a query has one question. Answers and authorities have no place in one.
        guard octets.uint16(4) == 1, octets.uint16(6) == 0, octets.uint16(8) == 0 else { return .malformed }
        return query.readQuestion(octets)
    }

    private mutating func readQuestion(_ octets: UnsafeRawBufferPointer) -> Problem? {
        var index = Self.headerSize
        while true {
            guard index < octets.count else { return .malformed }
            let length = Int(octets[index])
            // A pointer has nowhere to point to yet.
            guard length < 64 else { return .malformed }
            index += 1 + length
            if length == 0 { break }
            // 255 octets with the root's (RFC 1035 §2.3.4).
            guard index - Self.headerSize < 255 else { return .malformed }
        }
        guard octets.count - index >= 4 else { return .malformed }
        nameEnd = index
        type = octets.uint16(index)
        recordClass = octets.uint16(index + 2)
        let additionals = Int(octets.uint16(10))
        return additionals == 0 ? nil : readExtensions(octets, additionals)
    }

    private mutating func readExtensions(_ octets: UnsafeRawBufferPointer, _ count: Int) -> Problem? {
        guard count <= Self.mostRecords else { return .malformed }
        var index = questionEnd
        var badVersion = false
        for _ in 0..<count {
            let start = index
            while true {
                guard index < octets.count else { return .malformed }
                let length = Int(octets[index])
                if length >= 192 {
                    index += 2
                    break
                }
                guard length < 64 else { return .malformed }
                index += 1 + length
                if length == 0 { break }
            }
            guard octets.count - index >= 10 else { return .malformed }
            let size = Int(octets.uint16(index + 8))
            guard octets.count - index - 10 >= size else { return .malformed }
            if octets.uint16(index) == 41 {
                // RFC 6891 §6.1.1: one, of the root.
                guard !hasExtensions, index == start + 1 else { return .malformed }
                hasExtensions = true
                payloadSize = max(Int(octets.uint16(index + 2)), 512)
                badVersion = octets[index + 5] != 0
                dnssecOK = octets[index + 6] & 0x80 != 0
            }
            index += 10 + size
        }
        return badVersion ? .badVersion : nil
    }
}

extension UnsafeRawBufferPointer {
    @inline(__always)
    func uint16(_ index: Int) -> UInt16 { UInt16(self[index]) << 8 | UInt16(self[index + 1]) }
}
