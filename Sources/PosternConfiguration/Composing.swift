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
}

/// The tree of a YAML text; `nil` for an empty one.
///
/// - Parameter repeated: told of each key that is given again; the tree has what was given first. So many are told at most.
func compose(_ text: String, repeated: (Unreadable) -> Void) throws(Unreadable) -> Node? {
    var text = text
    for _ in 0..<20 {
        do {
            return try Yams.compose(yaml: text)
        } catch YamlError.duplicatedKeysInMapping(let keys, let context) {
            guard let key = keys.first, let again = RepeatedKey(key, after: Position(context.mark), in: text) else {
                throw Unreadable(.duplicatedKeysInMapping(duplicates: keys, context: context), text: text)
            }
            repeated(Unreadable(mark: again.mark, message: "the key '\(key.shortened)' is given twice"))
            text = again.rest
        } catch let error as YamlError {
            throw Unreadable(error, text: text)
        } catch {
            throw Unreadable(mark: Position(line: 1, column: 1), message: "this cannot be read as YAML: \(error)")
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
    fileprivate init(_ error: YamlError, text: String) {
        switch error {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            self.init(mark: Position(mark), message: "this is not YAML: " + (context.map { "\($0.text), " } ?? "") + problem)
        case .reader(let problem, let offset, _, _):
            self.init(mark: Self.mark(at: offset ?? 0, in: text), message: "this is not YAML: \(problem)")
        case .duplicatedKeysInMapping(let keys, let context):
            let names = keys.map { "'\($0.shortened)'" }.joined(separator: ", ")
            self.init(
                mark: Position(context.mark),
                message: keys.count == 1 ? "the key \(names) is given twice" : "the keys \(names) are given twice")
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
