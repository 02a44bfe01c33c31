import Yams

/// Where things stand in a file, for those who look at a configuration as a whole.
struct Places {
    enum Step {
        case key(String)
        /// Of a list, from 0; what is not a list has itself as its only element.
        case element(Int)
    }

    let file: String
    private let root: Node?

    /// A text that is not YAML has no places: everything then stands at its first character.
    init(_ text: String, file: String) {
        self.file = file
        root = (try? compose(text)) ?? nil
    }

    /// The value that the steps lead to.
    func value(_ steps: [Step]) -> Node? {
        steps.reduce(root) { node, step in node.flatMap { Self.step(step, from: $0) } }
    }

    func isWritten(_ keys: String...) -> Bool { value(keys.map { .key($0) }) != nil }

    /// The place of what the steps lead to, or of the nearest thing around it that is written.
    func position(_ steps: [Step]) -> Position {
        for length in stride(from: steps.count, through: 0, by: -1) {
            if let position = value(Array(steps.prefix(length))).flatMap({ Position($0.mark) }) { return position }
        }
        return Position(line: 1, column: 1)
    }

    private static func step(_ step: Step, from node: Node) -> Node? {
        switch (step, node) {
        case (.key(let key), .mapping(let mapping)): return mapping.first { $0.key.scalar?.string == key }?.value
        case (.element(let index), .sequence(let sequence)): return sequence.indices.contains(index) ? sequence[index] : nil
        case (.element(0), _): return node
        default: return nil
        }
    }
}
