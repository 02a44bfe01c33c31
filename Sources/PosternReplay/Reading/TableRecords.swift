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

    init(columns: TableColumns) {
        delimiter = columns.delimiter
        self.columns = columns.count
        fields.reserveCapacity(columns.count + 1)
    }

    /// Takes the next line. A tab-separated table has quotes only where they enclose a whole field: elsewhere they are text.
    mutating func take(_ bytes: Span<UInt8>, _ line: Piece) -> Next {
        if !isQuoted {
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
        return quoted(bytes, line)
    }

    /// Forgets a record that was begun.
    mutating func reset() { isQuoted = false }

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
                guard index < line.upperBound else {
                    guard text.count <= LineBuffer.maximumLine else {
                        isQuoted = false
                        return .bad(.tooLong)
                    }
                    return .unfinished
                }
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
