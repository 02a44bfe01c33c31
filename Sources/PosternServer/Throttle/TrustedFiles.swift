import Logging
import Foundation
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// Files with addresses, networks and domains that are trusted, one a line; `#` begins a comment. Read again when they change.
public final class TrustedFiles: Sendable {
    /// Octets of a file.
    static let maximumSize = 64 << 20

    private struct State {
        var paths: [String]
        var marks: [String: Date] = [:]
        var read: [String: Trusted] = [:]
        /// Those that could not be read when they were looked at last.
        var unreadable: Set<String> = []
    }

    private let state: NIOLockedValueBox<State>
    private let logger: Logger

    public init(_ paths: [String], logger: Logger) {
        state = NIOLockedValueBox(State(paths: paths))
        self.logger = logger
    }

    public func update(_ paths: [String]) {
        state.withLockedValue { state in
            state.paths = paths
            state.marks = state.marks.filter { paths.contains($0.key) }
            state.read = state.read.filter { paths.contains($0.key) }
            state.unreadable.formIntersection(paths)
        }
    }

    /// What all files say together.
    public var trusted: Trusted {
        state.withLockedValue { state in
            var all = Trusted()
            for trusted in state.read.values { all.formUnion(trusted) }
            return all
        }
    }

    /// Reads what has changed. A file that cannot be read, or in which no line is understood, keeps what it said.
    ///
    /// - Returns: whether anything did.
    public func refresh() -> Bool {
        var hasChanged = false
        for path in state.withLockedValue({ $0.paths }) {
            let attributes = try? FileManager.default.attributesOfItem(atPath: path)
            let mark = attributes?[.modificationDate] as? Date
            guard mark == nil || state.withLockedValue({ $0.marks[path] != mark || $0.unreadable.contains(path) }) else { continue }
            guard let mark, (attributes?[.size] as? Int ?? .max) <= Self.maximumSize,
                let text = try? String(contentsOfFile: path, encoding: .utf8)
            else {
                let (isNew, isKnown) = state.withLockedValue { ($0.unreadable.insert(path).inserted, $0.read[path] != nil) }
                if isNew {
                    let what = isKnown ? "cannot be read any more; what it said stays in force" : "cannot be read"
                    logger.warning("a file of trusted senders \(what)", metadata: ["file": "\(path)"])
                }
                continue
            }
            let (trusted, wrong) = Self.parse(text)
            if let wrong {
                logger.warning("a line of a file of trusted senders is not understood", metadata: ["file": "\(path)", "line": "\(wrong)"])
            }
            state.withLockedValue { state in
                state.marks[path] = mark
                state.unreadable.remove(path)
                if wrong == nil || trusted != Trusted() { state.read[path] = trusted }
            }
            hasChanged = true
        }
        return hasChanged
    }

    /// - Returns: what the lines say, and the number of the first that says nothing.
    static func parse(_ text: String) -> (Trusted, wrong: Int?) {
        var prefixes: [Prefix] = []
        var domains: Set<DomainName> = []
        var wrong: Int?
        // A byte order mark, as some editors write it.
        let text = text.unicodeScalars.first == "\u{feff}" ? String(text.unicodeScalars.dropFirst()) : text
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let word = line.prefix { $0 != "#" && $0 != ";" }.trimmingCharacters(in: .whitespaces)
            guard !word.isEmpty else { continue }
            switch Pattern(word) {
            case .prefix(let prefix)?: prefixes.append(prefix)
            case .domain(let name)?: domains.insert(name)
            default: wrong = wrong ?? index + 1
            }
        }
        return (Trusted(addresses: PrefixSet(prefixes), domains: domains), wrong)
    }
}
