import ArgumentParser
import Dispatch
import PosternServer

/// The command: one subcommand a verb.
@main
struct Postern: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "postern",
        abstract: "The guarded door in front of your mail server.",
        discussion: """
            Start with `postern serve` and paste the lines it prints into Postfix or Exim. Every verb has a --help with examples.

            Configuration: --config FILE, else $POSTERN_CONFIG, else /etc/postern/postern.yaml where it exists, else built-in \
            defaults: policy service on 127.0.0.1:10023, data in ./postern-data.

            Exit codes (sysexits): 0 done; 64 usage; 65 bad data; 66 no such input; 69 daemon or store unavailable; 71 too \
            few open files allowed; 73 cannot create; 74 input or output failed; 75 try again later; 76 daemon and command are of \
            different versions; 77 no permission; 78 configuration.
            """,
        version: PosternVersion.text,
        subcommands: [
            Serve.self, Config.self, Explain.self, Allow.self, Block.self, Trap.self, Greylist.self, ReleaseVerb.self, Decisions.self,
            Status.self,
            Top.self,
            Reload.self, BackupVerb.self, Import.self, Export.self, SPFVerb.self, MX.self, ReplayVerb.self, AccountVerb.self,
            ThrottleVerb.self,
            ReportVerb.self,
        ])

    /// The main thread waits. An asynchronous `main` would give it up, and glibc passes over a thread that is being given up where
    /// the process becomes another account (setuid(3)): it would stay root.
    static func main() {
        let arguments = readable(Array(CommandLine.arguments.dropFirst()))
        let isDone = DispatchSemaphore(value: 0)
        Task.detached {
            await main(arguments)
            isDone.signal()
        }
        isDone.wait()
    }

    /// Without what follows a verb that is none: a `--help` after it would be answered with ours, as if there were such a verb.
    private static func readable(_ arguments: [String]) -> [String] {
        var command: any ParsableCommand.Type = Self.self
        for (index, argument) in arguments.enumerated() where !command.configuration.subcommands.isEmpty {
            if argument.hasPrefix("-") || argument == "help" { break }
            guard let next = command.configuration.subcommands.first(where: { $0._commandName == argument }) else {
                return Array(arguments[...index])
            }
            command = next
        }
        return arguments
    }
}
