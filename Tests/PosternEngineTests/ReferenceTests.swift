import PosternCore
import PosternEngine
import Testing

@Suite("References")
struct ReferenceTests {
    @Test("read back what they print, in either case", arguments: [0, 1, 31, 32, 4095, 4096, 1 << 52, .max - 1, .max, -1, .min] as [Int64])
    func roundTrip(value: Int64) {
        let reference = Reference(value: value)
        #expect(Reference(reference.description) == reference)
        #expect(Reference(reference.description.lowercased()) == reference)
    }

    @Test("sort by time, then by counter")
    func order() {
        let now = WallTime(seconds: 1_800_000_000)
        #expect(Reference(time: now, counter: 1) < Reference(time: now, counter: 2))
        #expect(Reference(time: now, counter: 4095) < Reference(time: now + .milliseconds(1), counter: 0))
        // The counter has twelve bits, and never runs into the time.
        #expect(Reference(time: now, counter: 4096) == Reference(time: now, counter: 0))
        #expect(Reference(time: now, counter: .max) == Reference(time: now, counter: 4095))
        #expect(Reference(time: WallTime(seconds: -5), counter: 3) == Reference(value: 3))
        #expect(Reference(time: now, counter: 0).description.count == 11)
    }

    @Test("print nothing that is easily misread, and sort as text as they do as numbers")
    func text() {
        var last = ""
        for step in 0..<500 {
            let text = Reference(time: WallTime(milliseconds: 1_800_000_000_000 + Int64(step) * 7_919_113), counter: 77).description
            #expect(!text.contains { "ILOUilou".contains($0) })
            #expect(last < text)
            last = text
        }
    }

    @Test(
        "that are malformed are refused",
        arguments: [
            "", "I", "L", "O", "U", " ", "1K4X0M7Q0A!", "1K4X 0", "ZZZZZZZZZZZZZ", "GGGGGGGGGGGGG", "00000000000000", "é", "-1", "+1",
        ])
    func malformed(text: String) {
        #expect(Reference(text) == nil)
    }

    @Test("the largest that fits is read, the next is not")
    func largest() {
        #expect(Reference("FZZZZZZZZZZZZ")?.value == -1)
        #expect(Reference("7ZZZZZZZZZZZZ")?.value == .max)
        #expect(Reference("G000000000000") == nil)
    }
}
