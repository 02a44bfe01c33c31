import Foundation

/// A bar on standard error for work in steps of which the number is known; nothing where that is no terminal.
struct StepProgress {
    private let isShown = isatty(STDERR_FILENO) == 1
    private let total: Int
    private let words: String
    private var done = 0
    private var shown: ContinuousClock.Instant?

    private static let width = 30
    /// What is done before that needs no bar.
    private static let patience = Duration.milliseconds(200)
    private let start = ContinuousClock.now

    /// `words` say what is counted, such as `rows`.
    init(_ total: Int, _ words: String) {
        self.total = total
        self.words = words
    }

    mutating func advance(by count: Int = 1) {
        done += count
        guard isShown, total > 0 else { return }
        let now = ContinuousClock.now
        guard now - (shown ?? start) > Self.patience else { return }
        shown = now
        let share = min(Double(done) / Double(total), 1)
        let filled = Int(share * Double(Self.width))
        write(
            "\r[\(String(repeating: "#", count: filled))\(String(repeating: "-", count: Self.width - filled))] \(Int(share * 100)) %, "
                + "\(done) of \(total) \(words)\u{1b}[K")
    }

    func end() {
        if shown != nil { write("\r\u{1b}[K") }
    }

    private func write(_ text: String) { try? FileHandle.standardError.write(contentsOf: Data(text.utf8)) }
}
