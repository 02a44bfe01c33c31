import PosternReplay

/// A log or a table of anybody's making: read the same in whatever pieces it comes, every line accounted for.
enum MailLogCheck {
    private final class Pieces: ByteSource {
        private var pieces: ArraySlice<[UInt8]>
        private(set) var consumed: Int64 = 0

        init(_ pieces: [[UInt8]]) { self.pieces = pieces[...] }

        func read(into buffer: inout [UInt8]) throws(InputFailure) -> Bool {
            guard let piece = pieces.popFirst() else { return false }
            buffer += piece
            consumed += Int64(piece.count)
            return true
        }
    }

    private struct Outcome: Equatable {
        var attempts: [String] = []
        var counts = LogCounts()
        var problems = InputProblems()
        var failure: InputFailure?
    }

    static func run(_ input: UnsafeRawBufferPointer) {
        guard let (octet, text) = input.settingsAndRest else { return }
        var options = ReadingOptions()
        options.form = [.auto, .log, .csv, .tsv][Int(octet & 3)]
        options.takesRefused = octet.has(2)
        options.year = octet.has(3) ? 2026 : nil
        var generator = Generator(input)
        let whole = read(text, .whole, options, &generator)
        let lines = text.count { $0 == UInt8(ascii: "\n") } + 1
        check(whole.counts.lines <= lines, "\(whole.counts.lines) lines of \(lines)")
        for cut in [Cut.bytes, .random] { checkEqual(read(text, cut, options, &generator), whole, "cut \(cut): \(shown(text))") }
    }

    private static func told(_ attempt: LoggedAttempt) -> String {
        "\(attempt.time) \(attempt.client) \(attempt.sender) \(attempt.recipient) \(attempt.message) \(attempt.bytes) "
            + "\(attempt.outcome) \(attempt.label.map { "\($0)" } ?? "-") \(attempt.account ?? "-") \(attempt.evidence)"
    }

    private static func read(
        _ text: UnsafeRawBufferPointer, _ cut: Cut, _ options: ReadingOptions, _ generator: inout Generator
    ) -> Outcome {
        var pieces: [[UInt8]] = []
        cut.forEach(text, &generator) { piece in
            pieces.append(Array(piece))
            return true
        }
        let source = pieces
        let file = InputFile(name: "input", size: Int64(text.count)) { () throws(InputFailure) in Pieces(source) }
        var outcome = Outcome()
        do throws(InputFailure) {
            let reader = try TrafficReader(files: [file], options: options)
            var steps = 0
            while reader.advance({ outcome.attempts.append(told($0)) }) {
                steps += 1
                check(steps <= pieces.count + 10, "it does not end")
            }
            outcome.counts = reader.counts
            outcome.problems = reader.problems
        } catch {
            outcome.failure = error
        }
        return outcome
    }
}
