/// Octets that are put together piece by piece, in room that is kept. An array would ask at every piece whether it is shared.
struct OctetWriter: ~Copyable {
    private var start: UnsafeMutableRawPointer
    private var capacity: Int
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = max(capacity, 16)
        start = .allocate(byteCount: self.capacity, alignment: 8)
    }

    deinit { start.deallocate() }

    /// Valid until something is appended.
    var octets: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }

    /// What stands in a part of it; valid until something is appended.
    subscript(range: Range<Int>) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: octets[range]) }

    /// The room stays.
    mutating func removeAll() { count = 0 }

    private mutating func reserve(_ more: Int) {
        guard capacity - count < more else { return }
        let wider = max(capacity * 2, count + more)
        let moved = UnsafeMutableRawPointer.allocate(byteCount: wider, alignment: 8)
        moved.copyMemory(from: start, byteCount: count)
        start.deallocate()
        start = moved
        capacity = wider
    }

    mutating func append(octet: UInt8) {
        reserve(1)
        start.storeBytes(of: octet, toByteOffset: count, as: UInt8.self)
        count += 1
    }

    mutating func append(octets: UnsafeRawBufferPointer) {
        guard let first = octets.baseAddress else { return }
        reserve(octets.count)
        (start + count).copyMemory(from: first, byteCount: octets.count)
        count += octets.count
    }

    /// Eight octets, the lowest first.
    mutating func append(number: Int64) {
        reserve(8)
        start.storeBytes(of: number.littleEndian, toByteOffset: count, as: Int64.self)
        count += 8
    }

    mutating func append(text: String) {
        let isDone: Void? = text.utf8.withContiguousStorageIfAvailable { append(octets: UnsafeRawBufferPointer($0)) }
        if isDone == nil { for octet in text.utf8 { append(octet: octet) } }
    }

    // MARK: - What is known when what follows it is written

    /// Leaves room for the length of what follows, in four octets; returns where it began.
    mutating func beginPart() -> Int {
        reserve(4)
        count += 4
        return count - 4
    }

    mutating func endPart(_ place: Int) {
        let length = UInt32(truncatingIfNeeded: count - place - 4).littleEndian
        start.storeBytes(of: length, toByteOffset: place, as: UInt32.self)
    }

    /// Leaves room for the length of the text that follows, in one octet: few need more.
    mutating func beginText() -> Int {
        append(octet: 0)
        return count - 1
    }

    /// Seven bits an octet, the lowest first, the eighth bit set where more follow.
    mutating func endText(_ place: Int) {
        let length = count - place - 1
        var rest = length
        if length >= 0x80 {
            var more = 0
            while rest >> (7 * (more + 1)) > 0 { more += 1 }
            reserve(more)
            (start + place + 1 + more).copyMemory(from: start + place + 1, byteCount: length)
            count += more
        }
        var offset = place
        while rest >= 0x80 {
            start.storeBytes(of: UInt8(rest & 0x7f) | 0x80, toByteOffset: offset, as: UInt8.self)
            rest >>= 7
            offset += 1
        }
        start.storeBytes(of: UInt8(rest), toByteOffset: offset, as: UInt8.self)
    }
}
