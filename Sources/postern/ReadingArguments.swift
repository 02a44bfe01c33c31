import ArgumentParser
import Foundation
import LogFiles
import PosternControl
import PosternCore
import PosternReplay

/// How files are read, by `replay` and `import maillog`.
struct ReadingArguments: ParsableArguments {
    @Option(name: .long, help: "What the files are. Default: what their first line says.")
    var format = ReadingOptions.Form.auto

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The year of the first stamp in logs whose stamps have none. Default: told from when the file was last written.",
            valueName: "year"))
    var year: Int?

    @Flag(name: .long, help: "Count attempts, too, that the server refused by rules of its own.")
    var refused = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "A text by which the log's deferrals are known as a greylister's, besides the usual ones. May be repeated.", valueName: "text"))
    var greylistText: [String] = []

    func check() throws {
        if let year, !(1970...9999).contains(year) { throw ValidationError("--year is 1970 to 9999.") }
        if greylistText.contains(where: \.isEmpty) { throw ValidationError("--greylist-text must not be empty.") }
    }

    var options: ReadingOptions {
        var options = ReadingOptions()
        options.form = format
        options.year = year
        options.takesRefused = refused
        options.greylistTexts = greylistText
        return options
    }

    func inputs(_ files: [String]) throws(ControlFailure) -> [InputFile] {
        var inputs: [InputFile] = []
        for file in files { inputs.append(try read { () throws(InputFailure) in try LogFile.file(file) }) }
        return inputs
    }
}

extension ReadingOptions.Form: ExpressibleByArgument {}

/// Who comes back where the log does not show it.
struct RetryArguments: ParsableArguments {
    @Option(
        name: .customLong("retries"),
        help: ArgumentHelp(
            "How mailers retry that the log's server let in at once: typical, postfix, exim, pool, archives, none, or ages such as 5m,15m,1h.",
            valueName: "model"))
    var mailers = "typical"

    @Option(name: .long, help: ArgumentHelp("The share of labelled spam, 0 to 1, that retries like mailers do.", valueName: "share"))
    var spamRetries = 0.0

    @Option(name: .long, help: ArgumentHelp("The share of unlabelled messages, 0 to 1, that does.", valueName: "share"))
    var unlabelledRetries = 1.0

    func model() throws -> RetryModel {
        var model = RetryModel()
        switch mailers {
        case "typical": model.mailers = .typical
        case "postfix": model.mailers = .fixed(.postfix)
        case "exim": model.mailers = .fixed(.exim)
        case "pool": model.mailers = .fixed(.pool)
        case "archives": model.mailers = .archives
        case "none": model.mailers = .none
        default:
            let ages = mailers.split(separator: ",", omittingEmptySubsequences: false).map { WallTime.Span($0) }
            guard ages.allSatisfy({ $0.map { $0 > .zero } ?? false }) else {
                throw ValidationError("--retries is typical, postfix, exim, pool, archives, none, or ages such as 5m,15m,1h.")
            }
            model.mailers = .fixed(RetrySchedule(name: mailers, ages: ages.compactMap { $0 }))
        }
        guard (0...1).contains(spamRetries), (0...1).contains(unlabelledRetries) else { throw ValidationError("A share is 0 to 1.") }
        model.spamShare = spamRetries
        model.unlabelledShare = unlabelledRetries
        return model
    }
}

/// A bar on the terminal of whoever waits; nothing where nobody looks on.
struct ReadingProgress {
    private let isShown = isatty(STDERR_FILENO) == 1
    private let total: Int64?
    private let start = ContinuousClock.now
    private var shown: ContinuousClock.Instant?

    init(_ inputs: [InputFile]) {
        let sizes = inputs.map(\.size)
        total = sizes.contains(nil) ? nil : sizes.reduce(0) { $0 + ($1 ?? 0) }
    }

    mutating func show(_ reader: TrafficReader) {
        guard isShown else { return }
        let now = ContinuousClock.now
        guard shown.map({ now - $0 > .milliseconds(200) }) ?? true else { return }
        shown = now
        let seconds = max(Double((now - start).components.seconds) + Double((now - start).components.attoseconds) * 1e-18, 0.001)
        let lines = reader.counts.lines
        var text = "\(lines) lines, \(Int(Double(lines) / seconds)) a second"
        if let total, total > 0 {
            let share = min(Double(reader.consumed) / Double(total), 1)
            let filled = Int(share * 30)
            text = "[\(String(repeating: "#", count: filled))\(String(repeating: "-", count: 30 - filled))] \(Int(share * 100)) %, \(text)"
        }
        write("\r\(text)\u{1b}[K")
    }

    func end() {
        if shown != nil { write("\r\u{1b}[K") }
    }

    private func write(_ text: String) { try? FileHandle.standardError.write(contentsOf: Data(text.utf8)) }
}
