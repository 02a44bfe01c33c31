/// Cuts a table into records: RFC 4180, with a tab or a semicolon in place of the comma where the heading has one.
struct TableRecords {
    enum Next: Equatable {
        /// Read the fields.
        case record
        /// A quoted field goes on in the next line.
        case unfinished
        case bad(Reason)
    }

    enum Reason: String, CaseIterable {
        case quote = "a quote within a field that is not quoted"
        case afterQuote = "text behind a closing quote"
        case tooLong = "a record of more than 65536 octets: a quote is not closed"
        case open = "a quote is not closed"
        case count = "another number of fields than the heading has"
    }

    private let delimiter: UInt8
    private let columns: Int
    /// The octets of the last record's fields, without quotes where it had any.
    private(set) var text: [UInt8] = []
    private(set) var fields: [Piece] = []
    /// Whether `fields` are positions in `text`; else they are positions in the line.
    private(set) var isCopied = false
    private var isQuoted = false
    private var fieldStart = 0
    /// The lines of a record that is not finished, and their octets.
    private var held: [UInt8] = []
    private var heldLines: [Piece] = []

    /// A line that is kept.
    struct Line {
        var octets: [UInt8]
        /// As the file counts it.
        var number: Int
    }

    init(columns: TableColumns) {
        delimiter = columns.delimiter
        self.columns = columns.count
        fields.reserveCapacity(columns.count + 1)
    }

    /// Lines that the last record has had so far, but for the one that was taken last. They are kept until the next record begins.
    var linesBefore: Int { heldLines.count }

    /// Gives up a record that has come to nothing: the lines that it was made of, the last of them `number`. So a quote that is not closed
    /// costs the line that it stands in, and no other.
    mutating func giveUp(_ bytes: Span<UInt8>, _ line: Piece, number: Int) -> [Line] {
        var lines = heldLines
        let start = held.count
        for index in line { held.append(bytes[index]) }
        lines.append(start..<held.count)
        let first = number - lines.count + 1
        defer { forget() }
        return lines.enumerated().map { Line(octets: Array(held[$1]), number: first + $0) }
    }

    /// The same at the end of the file, which has `number` lines.
    mutating func giveUp(number: Int) -> [Line] {
        let first = number - heldLines.count + 1
        defer { forget() }
        return heldLines.enumerated().map { Line(octets: Array(held[$1]), number: first + $0) }
    }

    private mutating func forget() {
        isQuoted = false
        held.removeAll(keepingCapacity: true)
        heldLines.removeAll(keepingCapacity: true)
    }

    /// Takes the next line. A tab-separated table has quotes only where they enclose a whole field: elsewhere they are text.
    mutating func take(_ bytes: Span<UInt8>, _ line: Piece) -> Next {
        if !isQuoted {
            if !heldLines.isEmpty { forget() }
            fields.removeAll(keepingCapacity: true)
            guard bytes.firstIndex(of: UInt8(ascii: "\""), in: line) != nil else {
                isCopied = false
                return plain(bytes, line)
            }
            text.removeAll(keepingCapacity: true)
            isCopied = true
            fieldStart = 0
        } else {
            text.append(UInt8(ascii: "\n"))
        }
        let next = quoted(bytes, line)
        guard next == .unfinished else { return next }
        guard held.count + heldLines.count + line.count < LineBuffer.maximumLine else {
            isQuoted = false
            return .bad(.tooLong)
        }
        let start = held.count
        for index in line { held.append(bytes[index]) }
        heldLines.append(start..<held.count)
        return .unfinished
    }

    var isUnfinished: Bool { isQuoted }

    private mutating func plain(_ bytes: Span<UInt8>, _ line: Piece) -> Next {
        var start = line.lowerBound
        while let end = bytes.firstIndex(of: delimiter, in: start..<line.upperBound) {
            fields.append(start..<end)
            start = end + 1
        }
        fields.append(start..<line.upperBound)
        return fields.count == columns ? .record : .bad(.count)
    }

    private mutating func quoted(_ bytes: Span<UInt8>, _ line: Piece) -> Next {
        var index = line.lowerBound
        var isAtStart = !isQuoted
        while true {
            if isQuoted {
                guard index < line.upperBound else { return .unfinished }
                if bytes[index] != UInt8(ascii: "\"") {
                    text.append(bytes[index])
                } else if index + 1 < line.upperBound, bytes[index + 1] == UInt8(ascii: "\"") {
                    text.append(bytes[index])
                    index += 1
                } else {
                    isQuoted = false
                    isAtStart = false
                    if index + 1 < line.upperBound, bytes[index + 1] != delimiter { return .bad(.afterQuote) }
                }
                index += 1
                continue
            }
            if index == line.upperBound || bytes[index] == delimiter {
                fields.append(fieldStart..<text.count)
                fieldStart = text.count
                isAtStart = true
                guard index < line.upperBound else { return fields.count == columns ? .record : .bad(.count) }
                index += 1
            } else if bytes[index] == UInt8(ascii: "\""), delimiter != UInt8(ascii: "\t") || isAtStart && encloses(bytes, index, line) {
                guard isAtStart else { return .bad(.quote) }
                isQuoted = true
                index += 1
            } else {
                text.append(bytes[index])
                isAtStart = false
                index += 1
            }
        }
    }

    /// Whether the quote at `start` has a fellow in this line that ends a field.
    private func encloses(_ bytes: Span<UInt8>, _ start: Int, _ line: Piece) -> Bool {
        var index = start + 1
        while let quote = bytes.firstIndex(of: UInt8(ascii: "\""), in: index..<line.upperBound) {
            if quote + 1 == line.upperBound || bytes[quote + 1] == delimiter { return true }
            guard bytes[quote + 1] == UInt8(ascii: "\"") else { return false }
            index = quote + 2
        }
        return false
    }
}
