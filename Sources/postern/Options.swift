import ArgumentParser
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine

/// What every verb takes.
struct CommonOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "The configuration file. Default: $POSTERN_CONFIG, else \(ConfigurationFile.systemPath), else built-in defaults.",
            valueName: "file"))
    var config: String?

    @Flag(name: .long, help: "Print JSON; docs/json.md lists its fields.")
    var json = false

    var file: ConfigurationFile { ConfigurationFile(named: config) }

    /// The configuration; what is wrong with it goes to standard error, and the command ends with 78.
    func configuration() throws -> Configuration {
        do throws(ConfigurationFailure) {
            return try file.load().configuration
        } catch {
            throw refused(error)
        }
    }

    func refused(_ failure: ConfigurationFailure) -> ExitCode {
        for diagnostic in failure.diagnostics { Output.diagnostic(diagnostic) }
        return ExitCode(ControlFailure.Code.configuration.rawValue)
    }
}

extension WallTime.Span: ExpressibleByArgument {
    public init?(argument: String) {
        self.init(argument)
    }

    public var defaultValueDescription: String { description }
}

/// A time that something lasts is longer than nothing.
func checkLength(_ span: WallTime.Span?, _ option: String) throws {
    if let span, span <= .zero { throw ValidationError("\(option) is longer than nothing, such as 10m.") }
}

/// A text of the command line that has to be an address.
func checkAddress(_ text: String) throws {
    guard IPAddress(text) != nil else { throw ValidationError("'\(text.printable)' is not an address") }
}

extension ListEntry.Kind: ExpressibleByArgument {}

/// Which decisions or triplets a verb is about.
struct SearchOptions: ParsableArguments {
    @Option(name: .customLong("ip"), help: ArgumentHelp("The client's address or network, or a part of the address.", valueName: "address"))
    var address: String?

    @Option(name: .customLong("from"), help: ArgumentHelp("The sender, or a part of it; '<>' for the null sender.", valueName: "sender"))
    var sender: String?

    @Option(name: .customLong("to"), help: ArgumentHelp("The recipient, or a part of it.", valueName: "recipient"))
    var recipient: String?

    @Option(name: .long, help: ArgumentHelp("The reference that the reply and the log named.", valueName: "ref"))
    var reference: String?

    @Option(name: .long, help: ArgumentHelp("Not older than this, such as 2h.", valueName: "time"))
    var since: WallTime.Span?

    /// What would be refused later is a slip on the command line.
    func check(limit: Int = 1) throws {
        try checkLength(since, "--since")
        guard (1...10_000).contains(limit) else { throw ValidationError("--limit is 1 to 10000.") }
        if let address, Prefix(address) == nil, !Search.mayBePart(ofAddress: address) {
            throw ValidationError("'\(address.printable)' is no address, network or part of an address.")
        }
    }

    func search(limit: Int) -> Search {
        Search(reference: reference, address: address, sender: sender, recipient: recipient, age: since, limit: limit)
    }
}
