import ArgumentParser
import Foundation
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PosternServer

struct Export: AsyncParsableCommand {
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case rbldnsd
        case nftables
        case text
        case csv
    }

    static let configuration = CommandConfiguration(
        abstract: "Write our lists in other programs' formats.",
        discussion: """
            rbldnsd: a zone of type `combined`. nftables: sets with timeouts in the table `inet postern`, for `nft -f`; with --country \
            and --as the networks that the files in geo.databases have for them. text: one address, network or domain a line. csv: \
            entry,list,expires,reason,source; with --source own alone all that `allow list` and `block list` have of your own, mailboxes \
            too, and `as` says what each is, so that `postern import csv` makes the same of it elsewhere.

            With --output the file appears whole, in place of what was there; a pipe or a device is written to. `exports:` in the \
            configuration writes files by itself.

            With --zone what that zone of a DNS service shows is exported: its colours, of its sources, addresses or domains. Where a narrower entry is not \
            exported, since it is allowed or of another colour, the wider one is written without it.

            EXAMPLES
              postern export rbldnsd --output /var/lib/rbldns/bl.zone
              postern export nftables --colour black --colour brown | nft -f -
              postern export nftables --country XX --as 64500
              postern export csv --colour white --source own
            """)

    @OptionGroup var options: CommonOptions

    @Argument(help: "rbldnsd, nftables, text or csv.")
    var format: Format

    @Option(name: .long, help: ArgumentHelp("Write to this file, not to standard output.", valueName: "file"))
    var output: String?

    @Option(
        name: .customLong("colour"),
        help: ArgumentHelp("white, black, yellow or brown; may be repeated. Default: black, or those of --zone.", valueName: "colour"))
    var colours: [ListColour] = []

    @Option(
        name: .customLong("source"),
        help: ArgumentHelp("own, harvest or a subscription; may be repeated. Default: all, or those of --zone.", valueName: "name"))
    var sources: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp("A zone of a DNS service. Default for rbldnsd: the first that shows the colours.", valueName: "name"))
    var zone: String?

    @Option(
        name: .customLong("country"),
        help: ArgumentHelp("nftables: the networks of a country, ISO 3166-1; may be repeated.", valueName: "code"))
    var countries: [String] = []

    @Option(
        name: .customLong("as"), help: ArgumentHelp("nftables: the networks of an autonomous system; may be repeated.", valueName: "number")
    )
    var systems: [String] = []

    func validate() throws {
        guard countries.isEmpty && systems.isEmpty || format == .nftables else {
            throw ValidationError("--country and --as are for nftables.")
        }
        for code in countries where code.utf8.count != 2 || !code.utf8.allSatisfy({ (0x41...0x5a).contains($0 & 0xdf) }) {
            throw ValidationError("'\(code)' is not a country's code, such as DE.")
        }
        for text in systems where Self.system(text) == nil {
            throw ValidationError("'\(text)' is not the number of a network, such as 64500.")
        }
    }

    private static func system(_ text: String) -> UInt32? {
        UInt32(text.uppercased().hasPrefix("AS") ? text.dropFirst(2) : text[...])
    }

    func run() async throws {
        if !countries.isEmpty || !systems.isEmpty {
            let databases = try options.configuration().geography.databases
            do throws(ControlFailure) {
                try deliver(
                    try OfflineExport.writeNetworks(
                        databases: databases, countries: countries.map { $0.uppercased() }, systems: systems.compactMap(Self.system),
                        warn: { Output.error("\($0); the other files have what is asked for") }))
            } catch {
                throw Output.exit(error)
            }
            return
        }
        let draft = ExportDraft(
            format: format.rawValue, colours: colours, sources: sources.isEmpty ? nil : sources, zone: zone)
        try await options.withStore(for: .reading) { access in
            let reply = try await access.send(.export(draft))
            guard case .exported(let report) = reply else { throw unexpected(reply) }
            try deliver(report)
        }
    }

    /// The fields of `--json` without `--output`.
    private struct Printed: Encodable {
        var format: String
        var entries: Int
        /// All that is printed without `--json`.
        var content: String
    }

    /// Hands over what was written, and removes it.
    private func deliver(_ report: ExportReport) throws(ControlFailure) {
        defer { unlink(report.path) }
        guard let source = FileHandle(forReadingAtPath: report.path) else {
            throw ControlFailure(.noPermission, "cannot read \(report.path): use the daemon's account or root")
        }
        defer { try? source.close() }
        guard let output else {
            guard options.json else { return try Self.copy(source, to: .standardOutput) }
            do {
                let content = String(decoding: try source.readToEnd() ?? Data(), as: UTF8.self)
                return try Output.json(Printed(format: report.format, entries: report.entries, content: content))
            } catch {
                throw ControlFailure(.inputOutput, "\(error)")
            }
        }
        let path = URL(filePath: output).standardizedFileURL.path
        if AtomicFile.isOccupied(path) {
            // A pipe or a device is written to, never replaced.
            guard let target = FileHandle(forWritingAtPath: path) else {
                throw ControlFailure(.cannotCreate, "cannot write \(path): \(String(cString: strerror(errno)))")
            }
            defer { try? target.close() }
            try Self.copy(source, to: target)
        } else {
            do throws(AtomicFile.Failure) {
                let target = try AtomicFile(path)
                while let piece = try? source.read(upToCount: 1 << 18), !piece.isEmpty { try target.write([UInt8](piece)[...]) }
                try target.finish()
            } catch {
                throw ControlFailure(.cannotCreate, error.description)
            }
        }
        var shown = report
        shown.path = path
        do {
            if options.json { try Output.json(shown) } else { Output.line("written: \(path), \(report.entries) entries") }
        } catch {
            throw ControlFailure(.inputOutput, "\(error)")
        }
    }

    private static func copy(_ source: FileHandle, to target: FileHandle) throws(ControlFailure) {
        while let piece = try? source.read(upToCount: 1 << 18), !piece.isEmpty {
            do {
                try target.write(contentsOf: piece)
            } catch {
                throw ControlFailure(.inputOutput, "cannot write: \(error.localizedDescription)")
            }
        }
    }
}

extension ListColour: ExpressibleByArgument {}
