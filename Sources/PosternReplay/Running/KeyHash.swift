/// A 64-bit hash of texts, for tables that live no longer than one replay: two of ten million keys fall together with a
/// chance of 3 in a million. FNV-1a with a final mixing (that of SplitMix64).
struct KeyHash {
    private var state: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func add(_ text: String) {
        var state = state
        var text = text
        text.withUTF8 { for byte in $0 { state = (state ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 } }
        // Ends the text, so that "ab" and "c" are not "a" and "bc".
        self.state = (state ^ 0xff) &* 0x0000_0100_0000_01b3
    }

    mutating func add(_ value: UInt64) {
        state = (state ^ value) &* 0x9e37_79b9_7f4a_7c15
        state ^= state >> 32
    }

    var value: UInt64 {
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
