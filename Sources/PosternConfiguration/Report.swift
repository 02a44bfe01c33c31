import Yams

/// Collects what is wrong while a configuration is read, and which keys were asked for.
final class Report {
    private let file: String
    private var found: [Diagnostic] = []
    /// Every key that the loader knows, as it asked for them: what the table of parameters is compared with.
    private(set) var askedPaths: Set<String> = []

    /// More than anybody reads; the rest is counted.
    static let maximumDiagnostics = 200
    private var omitted = 0

    init(file: String) {
        self.file = file
    }

    func error(_ mark: Position, _ message: String) { add(.error, mark, message) }

    func warning(_ mark: Position, _ message: String) { add(.warning, mark, message) }

    func asked(_ path: String) { askedPaths.insert(path) }

    private func add(_ severity: Diagnostic.Severity, _ mark: Position, _ message: String) {
        guard found.count < Self.maximumDiagnostics else {
            omitted += severity == .error ? 1 : 0
            return
        }
        found.append(Diagnostic(severity, file: file, line: mark.line, column: mark.column, message))
    }

    /// In the order of the file.
    var diagnostics: [Diagnostic] {
        var sorted = found.enumerated().sorted {
            ($0.element.line, $0.element.column, $0.offset) < ($1.element.line, $1.element.column, $1.offset)
        }
        .map(\.element)
        if omitted > 0, let last = sorted.last {
            sorted.append(Diagnostic(.error, file: file, line: last.line, column: last.column, "and \(omitted) more errors"))
        }
        return sorted
    }
}

/// A mapping being read: keys are taken out one by one, and what is left in the end is unknown.
final class Mapping {
    /// `greylist`, `listeners[]`; empty for the whole file.
    let path: String
    let mark: Position
    let report: Report
    private var left: [(key: String, mark: Position, value: Node)] = []
    private var known: [String] = []

    /// `nil` stands for an empty mapping, for a section that was left out.
    init(_ node: Node.Mapping?, path: String, mark: Position, report: Report) {
        self.path = path
        self.mark = mark
        self.report = report
        for (key, value) in node ?? [:] {
            guard case .scalar(let scalar) = key else {
                report.error(Position(key.mark) ?? mark, "a key must be a single word")
                continue
            }
            left.append((scalar.string, Position(scalar.mark) ?? mark, value))
        }
    }

    func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// The value of a key, or `nil` where it was left out.
    func take(_ key: String) -> Value? {
        report.asked(path(of: key))
        return remove(key)
    }

    /// The value of a key that the parameters do not list: a part of a listed one, or one of a later version.
    func takePart(_ key: String) -> Value? { remove(key) }

    /// The mapping under a key; empty where it was left out or is something else, which is reported.
    func section(_ key: String) -> Mapping {
        let value = remove(key)
        let path = path(of: key)
        switch value?.node {
        case .mapping(let mapping)?: return Mapping(mapping, path: path, mark: value?.mark ?? mark, report: report)
        case nil: break
        default: value?.wants("a mapping of keys to values")
        }
        return Mapping(nil, path: path, mark: mark, report: report)
    }

    private func remove(_ key: String) -> Value? {
        known.append(key)
        guard let index = left.firstIndex(where: { $0.key == key }) else { return nil }
        let entry = left.remove(at: index)
        return Value(node: entry.value, path: path(of: key), mark: Position(entry.value.mark) ?? entry.mark, report: report)
    }

    /// Whatever was not taken.
    func rest() -> [Value] {
        defer { left = [] }
        return left.map { Value(node: $0.value, path: path(of: $0.key), mark: $0.mark, report: report) }
    }

    /// Reports whatever was not taken. `otherwise` may know more about a key than that it is unknown.
    func finish(otherwise: (String) -> String? = { _ in nil }) {
        for entry in left {
            report.error(entry.mark, otherwise(entry.key) ?? "unknown key '\(path(of: entry.key))'" + suggestion(for: entry.key))
        }
        left = []
    }

    private func suggestion(for key: String) -> String {
        // A key in the wrong section is likelier than a slip that leads to another key.
        let elsewhere = Parameter.all.first { $0.name == key && $0.section != path && !$0.section.hasSuffix("[]") }
        return elsewhere.map { "; did you mean '\($0.path)'?" } ?? Suggestion.words(for: key, among: known)
    }
}
