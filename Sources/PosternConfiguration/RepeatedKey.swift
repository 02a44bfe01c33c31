/// Where a key stands for the second time in one mapping, and the text without it.
struct RepeatedKey {
    let mark: Position
    /// As many lines, with blanks where the second one stood, so that all other places stay what they are.
    let rest: String

    /// `first` is where the key stands for the first time. `nil` where the second is written in a way that is not looked for.
    init?(_ key: String, after first: Position, in text: String) {
        var lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).map { Array($0.unicodeScalars) }
        guard lines.indices.contains(first.line - 1) else { return nil }
        let found =
            Self.isInFlow(first, lines)
            ? Self.blankInFlow(key, from: first, &lines) : Self.blankInBlock(key, from: first, &lines)
        guard let found else { return nil }
        mark = found
        rest = lines.map { line in
            var text = String.UnicodeScalarView()
            text.append(contentsOf: line)
            return String(text)
        }.joined(separator: "\n")
    }

    private typealias Line = [Unicode.Scalar]

    /// Whether a key stands at a place, bare or quoted, with its colon.
    private static func stands(_ key: String, at index: Int, in line: Line) -> Bool {
        for quote in ["", "'", "\""] {
            let wanted = Line("\(quote)\(key)\(quote)".unicodeScalars)
            guard line[index...].starts(with: wanted) else { continue }
            let colon = line[(index + wanted.count)...].first { $0 != " " }
            if colon == ":" { return true }
        }
        return false
    }

    /// Whether a key belongs to a mapping in braces: then a brace or a comma stands before it.
    private static func isInFlow(_ key: Position, _ lines: [Line]) -> Bool {
        var before = lines[key.line - 1].prefix(key.column - 1)
        var index = key.line - 1
        while before.allSatisfy({ $0 == " " }), index > 0 {
            index -= 1
            before = lines[index][...]
        }
        let last = before.last { $0 != " " }
        return last == "{" || last == ","
    }

    private static func indentation(_ line: Line) -> Int { line.prefix { $0 == " " }.count }

    /// All keys of a block mapping stand in its own column.
    private static func blankInBlock(_ key: String, from first: Position, _ lines: inout [Line]) -> Position? {
        let column = first.column - 1
        for index in first.line..<lines.count {
            let line = lines[index]
            if endsBlock(line, column) { return nil }
            guard line.count > column, indentation(line) == column, stands(key, at: column, in: line) else { continue }
            lines[index] = []
            var next = index + 1
            while next < lines.count, isWithin(lines[next], column) {
                lines[next] = []
                next += 1
            }
            return Position(line: index + 1, column: column + 1)
        }
        return nil
    }

    /// Whether a line stands further out than a mapping's keys in `column`.
    private static func endsBlock(_ line: Line, _ column: Int) -> Bool {
        let indentation = indentation(line)
        return indentation < min(column, line.count) && line[indentation] != "#"
    }

    /// Whether a line belongs to the value of a key in `column`: it is further in, empty, or an element of a list.
    private static func isWithin(_ line: Line, _ column: Int) -> Bool {
        let indentation = indentation(line)
        return indentation == line.count || indentation > column || indentation == column && line[column] == "-"
    }

    /// In a flow mapping what stands at its own depth, behind `{` or a comma.
    private static func blankInFlow(_ key: String, from first: Position, _ lines: inout [Line]) -> Position? {
        var depth = 1
        var awaitsKey = false
        var quote: Unicode.Scalar?
        var found: (line: Int, column: Int)?
        for index in (first.line - 1)..<lines.count {
            var column = index == first.line - 1 ? first.column - 1 : 0
            while column < lines[index].count {
                let scalar = lines[index][column]
                if quote == nil, awaitsKey, scalar != " " {
                    awaitsKey = false
                    if stands(key, at: column, in: lines[index]) { found = (index, column) }
                }
                switch scalar {
                case let scalar where quote != nil: if scalar == quote { quote = nil }
                case "'", "\"": quote = scalar
                case "{", "[":
                    depth += 1
                case "}", "]":
                    depth -= 1
                    if depth == 0 { return found.map { Position(line: $0.line + 1, column: $0.column + 1) } }
                case "," where depth == 1:
                    awaitsKey = true
                    if let found {
                        lines[index][column] = " "
                        return Position(line: found.line + 1, column: found.column + 1)
                    }
                case "#" where column == 0 || lines[index][column - 1] == " ": column = lines[index].count
                default: break
                }
                if found != nil, column < lines[index].count { lines[index][column] = " " }
                column += 1
            }
        }
        return nil
    }
}
