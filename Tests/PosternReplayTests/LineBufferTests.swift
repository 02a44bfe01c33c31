import Testing

@testable import PosternReplay

struct LineBufferTests {
    private func lines(_ text: String, pieces: Int) -> [String] {
        var buffer = LineBuffer()
        var result: [String] = []
        var rest = Array(text.utf8)[...]
        func take(atEnd: Bool) {
            while true {
                switch buffer.next(atEnd: atEnd) {
                case .line(let line): result.append(String(decoding: buffer.bytes[line], as: UTF8.self))
                case .overlong: result.append("(overlong)")
                case .more: return
                }
            }
        }
        while !rest.isEmpty {
            buffer.compact()
            buffer.bytes += rest.prefix(pieces)
            rest = rest.dropFirst(pieces)
            take(atEnd: false)
        }
        take(atEnd: true)
        return result
    }

    @Test(arguments: [1, 2, 5, 100_000, 1_000_000]) func cutsAtLineFeeds(pieces: Int) {
        let long = String(repeating: "x", count: LineBuffer.maximumLine)
        #expect(lines("", pieces: pieces) == [])
        #expect(lines("a", pieces: pieces) == ["a"])
        #expect(lines("a\r\n\nb\n", pieces: pieces) == ["a", "", "b"])
        #expect(lines("\r\n\r", pieces: pieces) == ["", ""])
        if pieces > 5 {
            #expect(lines("a\n\(long)\nb", pieces: pieces) == ["a", long, "b"])
            #expect(lines("a\n\(long)y\nb\n", pieces: pieces) == ["a", "(overlong)", "b"])
            #expect(lines("a\n\(long)\(long)\(long)", pieces: pieces) == ["a", "(overlong)"])
        }
    }
}
