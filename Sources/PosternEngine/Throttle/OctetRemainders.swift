import Counting

/// What is left of messages' octets when they are counted in kibibytes, carried over to their sender's next message: so that who sends
/// small ones is not charged for large ones, nor for nothing.
///
/// Of a bounded size: senders share places, and who comes first to one finds a random remainder there, so that all of them together
/// are counted right, too.
struct OctetRemainders: Sendable {
    private static let placeBits = 12
    /// Octets, fewer than 1024.
    private var octets: [UInt16]

    init(seed: UInt64) {
        var state = seed
        octets = (0..<1 << Self.placeBits).map { _ in
            // Knuth's MMIX, of which the upper bits are good.
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt16(state >> 54)
        }
    }

    /// The kibibytes that a message of so many octets completes. They are whatever a client claims: there may be no more than that of
    /// them.
    mutating func kibibytes(_ size: Int, from sender: CountKey) -> Int {
        let size = max(size, 0)
        // Fibonacci hashing.
        let mixed = (sender.block &+ UInt64(sender.member)) &* 0x9e37_79b9_7f4a_7c15
        let place = Int(mixed >> UInt64(64 - Self.placeBits))
        let rest = Int(octets[place]) + size % 1024
        octets[place] = UInt16(rest % 1024)
        return size / 1024 + rest / 1024
    }
}
