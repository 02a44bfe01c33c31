import Yams

/// A place in the file: line and column from 1, the column in Unicode scalars.
struct Position {
    var line: Int
    var column: Int

    init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    init(_ mark: Mark) {
        self.init(line: mark.line, column: mark.column)
    }

    init?(_ mark: Mark?) {
        guard let mark else { return nil }
        self.init(mark)
    }
}

/// A text that is not YAML, or not such as can be a configuration.
struct Unreadable: Error {
    var mark: Position
    var message: String
    /// Of a mapping that has a key twice, the first time at `mark`.
    var repeatedKey: String?
}

/// Keys that are given again of which one file is told at most.
private let mostRepeated = 20

/// The tree of a YAML text; `nil` for an empty one.
///
/// - Parameter repeated: told of each key that is given again; the tree has what was given first.
func compose(_ text: String, repeated: (Unreadable) -> Void) throws(Unreadable) -> Node? {
    var text = text
    for _ in 0..<mostRepeated {
        do throws(Unreadable) {
            return try compose(text)
        } catch {
            guard let key = error.repeatedKey, let again = RepeatedKey(key, after: error.mark, in: text) else { throw error }
            repeated(Unreadable(mark: again.mark, message: Unreadable.givenTwice(key)))
            text = again.rest
        }
    }
    return try compose(text)
}

/// The tree of a YAML text; `nil` for an empty one. Duplicate keys are refused, as everything that is not YAML.
func compose(_ text: String) throws(Unreadable) -> Node? {
    do {
        return try Yams.compose(yaml: text)
    } catch let error as YamlError {
        throw Unreadable(error, text: text)
    } catch {
        throw Unreadable(mark: Position(line: 1, column: 1), message: "this cannot be read as YAML: \(error)")
    }
}

extension Unreadable {
    fileprivate static func givenTwice(_ key: String) -> String { "the key '\(key.shortened)' is given twice" }

    fileprivate init(_ error: YamlError, text: String) {
        switch error {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            // Such as dns_lists: [zone=127.0.0.[2..11]], where YAML takes the inner brackets for its own.
            let advice = context?.text.contains("parsing a flow") == true ? "; what holds brackets, braces or commas needs quotes" : ""
            self.init(mark: Position(mark), message: "this is not YAML: " + (context.map { "\($0.text), " } ?? "") + problem + advice)
        case .reader(let problem, let offset, _, _):
            self.init(mark: Self.mark(at: offset ?? 0, in: text), message: "this is not YAML: \(problem)")
        case .duplicatedKeysInMapping(let keys, let context):
            let names = keys.map { "'\($0.shortened)'" }.joined(separator: ", ")
            self.init(
                mark: Position(context.mark),
                message: keys.count == 1 ? Self.givenTwice(keys[0]) : "the keys \(names) are given twice", repeatedKey: keys.first)
        default:
            self.init(mark: Position(line: 1, column: 1), message: "this cannot be read as YAML: \(error)")
        }
    }

    /// Line and column of a character, counted from 0 over the whole text.
    private static func mark(at offset: Int, in text: String) -> Position {
        var line = 1
        var column = 1
        for character in text.prefix(offset) {
            if character.isNewline {
                line += 1
                column = 1
            } else {
                column += character.unicodeScalars.count
            }
        }
        return Position(line: line, column: column)
    }
}
