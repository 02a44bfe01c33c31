import Foundation

/// What a stream can show. Colour only on a terminal, and not where `NO_COLOR` says otherwise (no-color.org) or the terminal is dumb.
struct Terminal {
    enum Style: String {
        case bold = "1"
        case red = "31"
        case green = "32"
        case yellow = "33"
    }

    let hasColour: Bool

    static let output = Terminal(STDOUT_FILENO)
    static let errors = Terminal(STDERR_FILENO)

    init(_ descriptor: Int32, environment: [String: String] = ProcessInfo.processInfo.environment) {
        let isWanted = environment["NO_COLOR", default: ""].isEmpty
        let isAble = !["", "dumb"].contains(environment["TERM", default: ""])
        hasColour = isWanted && isAble && isatty(descriptor) == 1
    }

    func styled(_ text: String, _ style: Style) -> String {
        hasColour ? "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m" : text
    }

    /// A verdict's own colour: what passes is green, what waits yellow, what is turned away red.
    func verdict(_ word: String) -> String {
        switch word {
        case "accept": styled(word, .green)
        case "hold", "defer", "tarpit": styled(word, .yellow)
        default: styled(word, .red)
        }
    }
}
