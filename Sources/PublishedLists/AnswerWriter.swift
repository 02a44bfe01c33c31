/// Writes a response into room that the caller lends; what has no room is noticed and not written.
struct AnswerWriter {
    private let room: UnsafeMutableRawBufferPointer
    private(set) var count = 0
    private(set) var overflows = false

    /// Octets of an OPT record without options.
    static let extensionsSize = 11

    init(_ room: UnsafeMutableRawBufferPointer) {
        self.room = room
    }

    @inline(__always)
    mutating func uint8(_ value: UInt8) {
        guard count < room.count else { return overflows = true }
        room[count] = value
        count += 1
    }

    @inline(__always)
    mutating func uint16(_ value: UInt16) {
        guard room.count - count >= 2 else { return overflows = true }
        room[count] = UInt8(truncatingIfNeeded: value >> 8)
        room[count + 1] = UInt8(truncatingIfNeeded: value)
        count += 2
    }

    @inline(__always)
    mutating func uint32(_ value: UInt32) {
        uint16(UInt16(truncatingIfNeeded: value >> 16))
        uint16(UInt16(truncatingIfNeeded: value))
    }

    @inline(__always)
    mutating func octets(_ octets: UnsafeRawBufferPointer) {
        guard room.count - count >= octets.count else { return overflows = true }
        UnsafeMutableRawBufferPointer(rebasing: room[count..<count + octets.count]).copyMemory(from: octets)
        count += octets.count
    }

    mutating func octets(_ octets: [UInt8]) { octets.withUnsafeBytes { self.octets($0) } }

    mutating func patch(_ value: UInt16, at index: Int) {
        room[index] = UInt8(truncatingIfNeeded: value >> 8)
        room[index + 1] = UInt8(truncatingIfNeeded: value)
    }

    mutating func goBack(to count: Int) {
        self.count = count
        overflows = false
    }
}
