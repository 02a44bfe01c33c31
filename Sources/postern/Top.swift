import ArgumentParser
import Foundation
import PosternControl
import PosternCore
import PosternServer
import Synchronization

/// Set by signals: the window has another size, or we are to end.
private let windowChanged = Atomic<Bool>(false)
private let endIsWanted = Atomic<Bool>(false)

struct Top: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look on while the daemon works.",
        discussion: """
            In a terminal: a screen that is drawn anew; q ends it. Elsewhere: one line a sample. --json prints one object a line.

            EXAMPLES
              postern top
              postern top --interval 5s --count 12
              postern top --json | jq --unbuffered .deferred
            """)

    @OptionGroup var options: CommonOptions

    @Option(name: .long, help: ArgumentHelp("Between two samples, 250ms to 20s.", valueName: "time"))
    var interval = WallTime.Span.seconds(1)

    @Option(name: .long, help: ArgumentHelp("Samples to take; without it, until it is ended.", valueName: "number"))
    var count: Int?

    func validate() throws {
        guard (WallTime.Span.milliseconds(250)...WallTime.Span.seconds(20)).contains(interval) else {
            throw ValidationError("--interval is 250ms to 20s.")
        }
        if let count, count < 1 { throw ValidationError("--count is 1 or more.") }
    }

    func run() async throws {
        let isScreen = !options.json && isatty(STDOUT_FILENO) == 1 && isatty(STDIN_FILENO) == 1
        try await options.withStore(for: .daemonOnly) { access in
            let terminal = isScreen ? LiveTerminal() : nil
            defer { terminal?.restore() }
            try await look(access, terminal)
        }
    }

    private func look(_ access: StoreAccess, _ terminal: LiveTerminal?) async throws {
        var before: StatusReport?
        var lookedAt = SystemClocks.monotonic()
        var samples: [TopSample] = []
        var taken = 0
        while true {
            let status = try await status(access)
            let now = SystemClocks.monotonic()
            let seconds = Double((now - lookedAt).milliseconds) / 1000
            let sample = TopSample(status, before: before, seconds: before == nil ? 0 : seconds, time: SystemClocks.wall().description)
            lookedAt = now
            // The first look has nothing to compare with.
            if before != nil || terminal != nil {
                samples = Array((samples + [sample]).suffix(TopScreen.maximumSamples))
                try show(sample, status, samples, terminal, number: taken)
                if before != nil { taken += 1 }
            }
            before = status
            if let count, taken >= count { return }
            if try await pause(terminal, redraw: { try show(sample, status, samples, terminal, number: taken) }) { return }
        }
    }

    private func status(_ access: StoreAccess) async throws -> StatusReport {
        let reply = try await access.send(.status)
        guard case .status(let status) = reply else { throw unexpected(reply) }
        return status
    }

    private func show(
        _ sample: TopSample, _ status: StatusReport, _ samples: [TopSample], _ terminal: LiveTerminal?, number: Int
    ) throws {
        if let terminal {
            let hasColour = ProcessInfo.processInfo.environment["NO_COLOR", default: ""].isEmpty
            let (width, height) = terminal.size
            terminal.draw(TopScreen(status: status, samples: samples, hasColour: hasColour).lines(width: width, height: height))
        } else if options.json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            encoder.keyEncodingStrategy = .convertToSnakeCase
            Output.line(String(decoding: try encoder.encode(sample), as: UTF8.self))
        } else {
            if number % 20 == 0 {
                Output.line("time                 accepted  held  deferred  rejected  sessions  waiting  trapped  store")
            }
            func cell(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(width - text.count, 0)) + text }
            let rates = [(sample.accepted, 8), (sample.held, 6), (sample.deferred, 10), (sample.rejected, 10)]
            let numbers = [(sample.sessions + sample.connections, 10), (sample.waitingSessions, 9), (sample.trapped, 9)]
            Output.line(
                sample.time.shortTime + "  " + rates.map { cell(String(format: "%.1f", $0.0), $0.1) }.joined()
                    + numbers.map { cell(String($0.0), $0.1) }.joined() + "  "
                    + (sample.ailments.isEmpty ? "ok" : sample.ailments.joined(separator: "; ")))
        }
    }

    /// Waits for the next sample; `true` where somebody wants to end.
    private func pause(_ terminal: LiveTerminal?, redraw: () throws -> Void) async throws -> Bool {
        guard let terminal else {
            try await Task.sleep(for: .milliseconds(interval.milliseconds))
            return false
        }
        let until = SystemClocks.monotonic() + interval
        while true {
            if endIsWanted.load(ordering: .relaxed) { return true }
            if windowChanged.exchange(false, ordering: .relaxed) { try redraw() }
            let left = (until - SystemClocks.monotonic()).milliseconds
            guard left > 0 else { return false }
            // A signal ends the wait at once.
            if let key = terminal.key(within: left), key == UInt8(ascii: "q") || key == 3 || key == 4 { return true }
        }
    }
}

/// The terminal while `top` has it: another screen, no cursor, keys as they are pressed.
private final class LiveTerminal {
    private var before = termios()

    init() {
        tcgetattr(STDIN_FILENO, &before)
        var raw = before
        raw.c_lflag &= ~tcflag_t(ICANON | ECHO | ISIG)
        tcsetattr(STDIN_FILENO, TCSANOW, &raw)
        signal(SIGWINCH) { _ in windowChanged.store(true, ordering: .relaxed) }
        signal(SIGTERM) { _ in endIsWanted.store(true, ordering: .relaxed) }
        signal(SIGHUP) { _ in endIsWanted.store(true, ordering: .relaxed) }
        write("\u{1b}[?1049h\u{1b}[?25l")
    }

    func restore() {
        write("\u{1b}[?25h\u{1b}[?1049l")
        tcsetattr(STDIN_FILENO, TCSANOW, &before)
    }

    /// Columns and lines; 80 by 24 where it does not say.
    var size: (width: Int, height: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return (80, 24) }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    func draw(_ lines: [String]) {
        write("\u{1b}[H" + lines.map { $0 + "\u{1b}[K" }.joined(separator: "\r\n") + "\u{1b}[J")
    }

    /// The next key, or `nil` at the end of the time, or where a signal came.
    func key(within milliseconds: Int64) -> UInt8? {
        var wanted = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        guard poll(&wanted, 1, Int32(clamping: milliseconds)) > 0 else { return nil }
        var key: UInt8 = 0
        return read(STDIN_FILENO, &key, 1) == 1 ? key : 4
    }

    private func write(_ text: String) { try? FileHandle.standardOutput.write(contentsOf: Data(text.utf8)) }
}
