/// Cuts a stream of octets into lines.
struct LineBuffer {
    /// A longer line is not read: no log has one, and a file that is not a log must not fill the memory.
    static let maximumLine = 65_536

    enum Next: Equatable {
        /// Without its line feed, and without a carriage return before that.
        case line(Range<Int>)
        /// A line of more than `maximumLine` octets began here; the rest of it is passed over.
        case overlong
        /// More octets are needed; at the end of the input there are no more lines.
        case more
    }

    var bytes: [UInt8] = []
    private var start = 0
    /// No line feed stands between `start` and here.
    private var scanned = 0
    /// Whether the rest of an overlong line is being passed over.
    private var isSkipping = false

    /// Makes room for more; positions of earlier lines are void.
    mutating func compact() {
        bytes.removeFirst(start)
        scanned -= start
        start = 0
    }

    /// The next line. `atEnd` tells that no more octets will come, so that what is left is a line too.
    mutating func next(atEnd: Bool = false) -> Next {
        while true {
            guard let end = lineFeed() else {
                scanned = bytes.count
                if isSkipping || bytes.count - start > Self.maximumLine {
                    let began = !isSkipping
                    isSkipping = !atEnd
                    start = bytes.count
                    return began ? .overlong : .more
                }
                guard atEnd, start < bytes.count else { return .more }
                defer { start = bytes.count }
                return .line(trimmed(start..<bytes.count))
            }
            let line = start..<end
            start = end + 1
            scanned = start
            if isSkipping {
                isSkipping = false
                continue
            }
            return line.count > Self.maximumLine ? .overlong : .line(trimmed(line))
        }
    }

    private func trimmed(_ line: Range<Int>) -> Range<Int> {
        guard !line.isEmpty, bytes[line.upperBound - 1] == UInt8(ascii: "\r") else { return line }
        return line.lowerBound..<line.upperBound - 1
    }

    private func lineFeed() -> Int? { bytes.span.firstIndex(of: UInt8(ascii: "\n"), in: scanned..<bytes.count) }
}
