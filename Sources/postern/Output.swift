import ArgumentParser
import Foundation
import PosternConfiguration
import PosternControl

/// What the verbs print.
enum Output {
    static func line(_ text: String = "") {
        let text = text + "\n"
        // What cannot be printed must not pass for done. A reader that went away (`| head`) ends us by SIGPIPE, as it does everybody.
        guard let failure = write(text, to: STDOUT_FILENO), failure != EPIPE else { return }
        error("postern: cannot write to standard output: \(String(cString: strerror(failure)))")
        Foundation.exit(ControlFailure.Code.inputOutput.rawValue)
    }

    /// What nobody needs to read.
    static func unheeded(_ text: String) { _ = write(text + "\n", to: STDOUT_FILENO) }

    static func error(_ text: String) {
        _ = write(text + "\n", to: STDERR_FILENO)
    }

    /// For a person who looks on; scripts do not want it.
    static func note(_ text: String) {
        if isatty(STDERR_FILENO) == 1 { error("note: \(text)") }
    }

    /// As editors read it; on a terminal its place is bold, and its kind has a colour.
    static func diagnostic(_ diagnostic: Diagnostic) {
        let terminal = Terminal.errors
        guard terminal.hasColour else { return error("\(diagnostic)") }
        let place = terminal.styled("\(diagnostic.file):\(diagnostic.line):\(diagnostic.column):", .bold)
        let kind = terminal.styled("\(diagnostic.severity.rawValue):", diagnostic.severity == .error ? .red : .yellow)
        error("\(place) \(kind) \(diagnostic.message)")
    }

    /// The error that kept a text from being written.
    private static func write(_ text: String, to descriptor: Int32) -> Int32? {
        var text = text
        return text.withUTF8 { octets in
            var written = 0
            while written < octets.count {
                let count = Foundation.write(descriptor, octets.baseAddress.map { $0 + written }, octets.count - written)
                written += max(count, 0)
                guard count < 0 else { continue }
                // Where somebody has made it non-blocking.
                var room = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                let failure = errno
                guard failure == EINTR || failure == EAGAIN && poll(&room, 1, -1) >= 0 else { return failure }
            }
            return nil
        }
    }

    /// Sorted, indented, in snake case; one value.
    static func json(_ value: some Encodable) throws { line(try text(json: value)) }

    static func text(json value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    /// Ends the command as a failure says.
    static func exit(_ failure: ControlFailure) -> ExitCode {
        error("postern: \(failure.message)")
        return ExitCode(failure.code.rawValue)
    }

    /// Aligned columns under a heading; nothing at all for no rows.
    static func table(_ heading: [String], _ rows: [[String]]) -> String {
        guard !rows.isEmpty else { return "" }
        let cells = ([heading] + rows).map { $0.map { $0.printable } }
        let widths = heading.indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
        return cells.enumerated().map { index, row in
            var line = ""
            for (column, cell) in row.enumerated() {
                line += cell
                // The last column ends with its text.
                if column < row.count - 1 { line += String(repeating: " ", count: widths[column] - cell.count + 2) }
            }
            return index == 0 ? Terminal.output.styled(line, .bold) : line
        }.joined(separator: "\n")
    }

    /// Names and values below each other.
    static func list(_ items: [(String, String)]) -> String {
        let width = items.map(\.0.count).max() ?? 0
        return items.map { name, value in
            Terminal.output.styled(name, .bold) + String(repeating: " ", count: width - name.count + 2) + value.printable
        }.joined(separator: "\n")
    }
}

extension String {
    /// What a stranger wrote into a HELO or an address must not steer the terminal of whoever reads it.
    var printable: String {
        guard unicodeScalars.contains(where: { $0.isSteering }) else { return self }
        var out = ""
        for scalar in unicodeScalars {
            if scalar.isSteering { out += "\\u{\(String(scalar.value, radix: 16))}" } else { out.unicodeScalars.append(scalar) }
        }
        return out
    }

    /// `2026-11-20 08:15:30` of an RFC 3339 time: UTC, to the second.
    var shortTime: String { count >= 19 ? String(prefix(19).replacing("T", with: " ")) : self }
}

extension Unicode.Scalar {
    /// Control characters, and those that change the direction of what follows.
    fileprivate var isSteering: Bool {
        switch value {
        case 0..<0x20, 0x7f..<0xa0, 0x200e, 0x200f, 0x2028...0x202e, 0x2066...0x2069: true
        default: false
        }
    }
}
