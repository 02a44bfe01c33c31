import Foundation
import IntegrationSupport
import Testing

/// What is for people at a terminal: completion, colour, the manual.
struct TerminalTests {
    private let place: Workplace

    init() throws {
        place = try Workplace()
    }

    private func shell(_ arguments: [String]) async throws -> (code: Int32, output: String) {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async { [place] in
                continuation.resume(
                    with: Result {
                        let process = Process()
                        process.executableURL = URL(filePath: "/usr/bin/env")
                        process.arguments = arguments
                        process.currentDirectoryURL = URL(filePath: place.folder)
                        let pipe = Pipe()
                        process.standardOutput = pipe
                        process.standardError = pipe
                        process.standardInput = FileHandle.nullDevice
                        try process.run()
                        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                        process.waitUntilExit()
                        return (process.terminationStatus, text)
                    })
            }
        }
    }

    // MARK: - Output

    @Test func whatCannotBePrintedIsAFailure() async throws {
        for words in ["config show", "config show --json", "block list --json"] {
            let (code, output) = try await shell(["bash", "-c", "'\(Workplace.executable.path)' \(words) >/dev/full"])
            #expect(code == 74 && output.hasPrefix("postern: cannot write to standard output: No space left"), "\(words): \(output)")
        }
        // A reader that went away has seen enough.
        let (_, output) = try await shell(["bash", "-c", "'\(Workplace.executable.path)' config show | head -n 1"])
        #expect(output.split(separator: "\n").count == 1, "\(output)")
    }

    // MARK: - Completion

    @Test func bashCompletes() async throws {
        let script = try place.write(try await place.run("--generate-completion-script", "bash").output, to: "postern.bash")
        #expect(try await shell(["bash", "-n", script]).code == 0)
        let registered = try await shell(["bash", "-c", ". \(script); complete -p postern"])
        #expect(registered.code == 0 && registered.output.contains("-F _postern postern"))
        // As readline asks.
        func complete(_ words: [String]) async throws -> Set<Substring> {
            let list = words.map { "'\($0)'" }.joined(separator: " ")
            let program = """
                . \(script); COMP_WORDS=(\(list)); COMP_CWORD=\(words.count - 1); COMP_LINE="\(words.joined(separator: " "))"
                COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; _postern postern "\(words.last ?? "")" "\(words.dropLast().last ?? "")"
                printf '%s\\n' "${COMPREPLY[@]}"
                """
            return Set(try await shell(["bash", "-c", program]).output.split(whereSeparator: \.isNewline))
        }
        #expect(try await complete(["postern", "gre"]).map { $0.trimmingPrefix(" ") } == ["greylist"])
        #expect(try await complete(["postern", "import", ""]).isSuperset(of: ["postgrey", "sqlgrey", "maillog"]))
        #expect(try await complete(["postern", "status", "--"]).isSuperset(of: ["--json", "--config"]))
    }

    @Test(.enabled(if: requireServer("shells"))) func zshAndFishComplete() async throws {
        let folder = try TemporaryFolder("shells")
        let root = try PrivateRoot("shells", folder: folder)
        let zsh = try folder.write(try await place.run("--generate-completion-script", "zsh").output, to: "completions/_postern")
        #expect(try await root.run(["/bin/zsh", "-n", zsh]).succeeded)
        let program =
            "fpath=(\(folder.file("completions")) $fpath); autoload -Uz compinit; compinit -u -D; print -r -- $_comps[postern]; autoload -Uz +X _postern && functions _postern >/dev/null && print loaded"
        let loaded = try await root.run(["/bin/zsh", "-f", "-c", program])
        #expect(loaded.output.split(whereSeparator: \.isNewline) == ["_postern", "loaded"], "\(loaded.output)")

        let fish = try folder.write(try await place.run("--generate-completion-script", "fish").output, to: "postern.fish")
        #expect(try await root.run(["/usr/bin/fish", "--no-execute", fish]).succeeded)
        func complete(_ line: String) async throws -> Set<Substring> {
            let result = try await root.run([
                "/usr/bin/fish", "--no-config", "-c", "source \(fish); complete -C '\(line)'",
            ])
            // A word, and after a tab what it is for.
            return Set(result.output.split(whereSeparator: \.isNewline).compactMap { $0.split(separator: "\t").first })
        }
        #expect(try await complete("postern gre") == ["greylist"])
        #expect(try await complete("postern import ").isSuperset(of: ["postgrey", "sqlgrey", "maillog"]))
        #expect(try await complete("postern status --").isSuperset(of: ["--json", "--config"]))
    }

    // MARK: - Colour

    /// Through util-linux's script(1), whose standard output is a terminal.
    private func onATerminal(_ arguments: String, _ environment: String) async throws -> String {
        try await shell(["script", "-qefc", "env \(environment) '\(Workplace.executable.path)' \(arguments)", "/dev/null"]).output
    }

    @Test func colourOnlyOnATerminal() async throws {
        let file = try place.write("dns: { resolvers: [] }\ngreylist: { delay: 1s }\n", to: "c.yaml")
        let explain = "explain --ip 192.0.2.7 --from a@example.org --to b@example.net --config \(file)"
        #expect(try await onATerminal(explain, "-u NO_COLOR TERM=xterm").contains("\u{1b}[33mdefer\u{1b}[0m"))
        #expect(try await onATerminal("config check \(file)", "-u NO_COLOR TERM=xterm").contains("\u{1b}[33mwarning:\u{1b}[0m"))
        for environment in ["NO_COLOR=1 TERM=xterm", "-u NO_COLOR TERM=dumb", "-u NO_COLOR -u TERM"] {
            #expect(!(try await onATerminal(explain, environment)).contains("\u{1b}"), "\(environment)")
        }
        let plain = try await place.run(explain.split(separator: " ").map(String.init), environment: ["TERM": "xterm"])
        #expect(plain.output.contains("defer") && !plain.output.contains("\u{1b}"))
    }

    @Test func longWorkShowsABarOnATerminal() async throws {
        let now = Int(Date().timeIntervalSince1970)
        let rows = (0..<40_000).map { "192.0.\($0 / 250).0/a\($0)@example.org/b@example.net\t\(now - 900),\(now)\n" }.joined()
        let file = try place.write(rows, to: "postgrey.txt")
        let shown = try await onATerminal("import postgrey --database \(file)", "TERM=xterm")
        #expect(shown.contains("[#") && shown.contains(" %, ") && shown.contains("taken: 40000 triplets"), "\(shown.suffix(500))")
        let plain = try await place.run("import", "postgrey", "--database", file)
        #expect(plain.output == "taken: 0 triplets and 0 clients; 40000 known already\n" && plain.errors.isEmpty, "\(plain)")
    }

    // MARK: - The manual

    private static let repository = URL(filePath: #filePath).deletingLastPathComponent().path + "/../.."

    @Test func everyVerbHasAPage() async throws {
        let made = try await shell(
            ["python3", "\(Self.repository)/scripts/manpages.py", Workplace.executable.path, place.path("man")])
        #expect(made.code == 0, "\(made.output)")
        // Every verb that the program knows, by its own account.
        let dump = try await place.run("--experimental-dump-help").object
        var verbs: [String] = []
        func walk(_ command: [String: Any]?, _ path: String) {
            guard let command, let name = command["commandName"] as? String, name != "help" else { return }
            verbs.append(path + name)
            for sub in command["subcommands"] as? [[String: Any]] ?? [] { walk(sub, path + name + "-") }
        }
        walk(dump["command"] as? [String: Any], "")
        #expect(verbs.count > 20)
        for verb in verbs {
            let page = place.read("man/\(verb).1")
            #expect(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "\(verb)")
            #expect(!page.contains("\n.PP\n.PP"), "\(verb)")
        }
        let explain = place.read("man/postern-explain.1")
        #expect(explain.contains("\\-\\-helo") && explain.contains(".SH EXAMPLES"))
        let reference = place.read("man/postern.yaml.5")
        #expect(reference.contains("\\fBproven_after\\fR"))
        // groff, where it is there, finds nothing to complain of.
        let pages = verbs.map { place.path("man/\($0).1") } + [place.path("man/postern.yaml.5")]
        let checked = try await shell(
            ["sh", "-c", "command -v groff >/dev/null || exit 0; groff -man -Tutf8 -ww -z \"$@\" 2>&1", "sh"] + pages)
        #expect(checked.code == 0 && checked.output.isEmpty, "\(checked.output.prefix(2000))")
    }
}
