import Foundation
import LogFiles
import PosternControl
import PosternReplay

/// A line of a file that is taken over.
enum ReadLine: Equatable {
    case text(String)
    /// Why it has no text.
    case unreadable(String)
}

/// Octets of a line; nothing that is taken over has longer ones.
let longestReadLine = 65_536

/// Calls `body` with the number and the text of each line of a file, a pipe, or standard input for `-`: plain, or compressed as logs
/// are. A line ends with a line feed, a carriage return, or both. A byte order mark at the start is passed over.
func readLines(of file: String, _ body: (Int, ReadLine) -> Void) throws(ControlFailure) {
    let source = try read { () throws(InputFailure) in try LogFile.file(file).open() }
    var cutter = LineCutter()
    while try read({ () throws(InputFailure) in try source.read(into: &cutter.buffer) }) { cutter.cut(body) }
    cutter.finish(body)
}

/// Cuts what is read into lines, whatever its pieces.
struct LineCutter {
    var buffer: [UInt8] = []
    /// Octets at the start of the buffer that hold no end of a line.
    private var searched = 0
    private var number = 0
    private var isOverlong = false

    /// Hands over the lines that are complete.
    mutating func cut(_ body: (Int, ReadLine) -> Void) {
        var start = 0
        while let end = lineEnd(from: max(start, searched)) {
            take(start..<end.lowerBound, body)
            start = end.upperBound
        }
        buffer.removeFirst(start)
        // What comes next tells whether a line feed belongs to it.
        guard buffer.last != UInt8(ascii: "\r") || buffer.count > longestReadLine else {
            searched = buffer.count - 1
            return
        }
        if buffer.count > longestReadLine {
            isOverlong = true
            buffer.removeAll(keepingCapacity: true)
        }
        searched = buffer.count
    }

    /// The last line need not end.
    mutating func finish(_ body: (Int, ReadLine) -> Void) {
        if buffer.last == UInt8(ascii: "\r") { buffer.removeLast() }
        if !buffer.isEmpty || isOverlong { take(0..<buffer.count, body) }
    }

    /// Where the next end of a line stands; a carriage return that nothing follows yet is none.
    private func lineEnd(from start: Int) -> Range<Int>? {
        buffer.withUnsafeBytes { octets in
            for index in min(start, octets.count)..<octets.count {
                if octets[index] == UInt8(ascii: "\n") { return index..<index + 1 }
                guard octets[index] == UInt8(ascii: "\r"), index + 1 < octets.count else { continue }
                return index..<index + (octets[index + 1] == UInt8(ascii: "\n") ? 2 : 1)
            }
            return nil
        }
    }

    private mutating func take(_ range: Range<Int>, _ body: (Int, ReadLine) -> Void) {
        number += 1
        guard !isOverlong, range.count <= longestReadLine else {
            isOverlong = false
            return body(number, .unreadable("the line is longer than \(longestReadLine) octets"))
        }
        var line = buffer[range]
        // A byte order mark, as spreadsheets and some editors write it.
        if number == 1, line.starts(with: [0xef, 0xbb, 0xbf]) { line = line.dropFirst(3) }
        body(number, String(validating: line, as: UTF8.self).map(ReadLine.text) ?? .unreadable("the line is not UTF-8"))
    }
}
