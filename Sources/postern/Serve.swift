import ArgumentParser
import PosternConfiguration
import PosternServer

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the daemon.",
        discussion: """
            Listens as the configuration says and runs until SIGTERM or SIGINT, then lets every connection finish and exits with 0. \
            SIGHUP reads the configuration again; what needs a restart is named in the log. Once ready it prints its addresses and \
            the lines to paste into Postfix and Exim, with --json as one object. The log goes to standard error.

            EXAMPLES
              postern serve
              postern serve --config /etc/postern/postern.yaml
            """)

    @OptionGroup var options: CommonOptions

    func run() async throws {
        let file = options.file
        let configuration = try options.configuration()
        let positions = (try? file.load().listenerPositions) ?? [:]
        let daemon = Daemon(
            load: { try file.load().configuration }, configuration: configuration, file: file.path,
            review: { ((try? file.load()).map { file.review($0) } ?? []).map { "\($0.file):\($0.line):\($0.column): \($0.message)" } })
        do {
            try await daemon.run { Output.unheeded(options.json ? try Output.text(json: $0) : $0.text) }
        } catch let failure as StartFailure {
            let position = failure.listener.flatMap { positions[$0] }
            let index = configuration.listeners.firstIndex { $0.name == failure.listener }
            if let index, let key = failure.key, let diagnostic = file.error(ofListener: index, key, "\(failure)") {
                Output.error("\(diagnostic)")
            } else {
                Output.error(position.map { "\($0): \(failure)" } ?? "postern: \(failure)")
            }
            throw ExitCode(failure.code)
        }
    }
}
