import Foundation

/// A server's private root seen with a folder of one test's own: what runs in it has the folder's `etc`, `var` and `run`.
///
/// Two commands in the same root and folder share files and sockets, not processes.
public struct PrivateRoot: Sendable {
    /// The server's name as `scripts/servers.sh` knows it.
    public let name: String
    public let folder: TemporaryFolder
    /// Further folders that are visible under the same path.
    public let binds: [String]

    /// - Throws: `TestFailure` with the command that fetches the server where it is missing.
    public init(_ name: String, folder: TemporaryFolder, binds: [String] = []) throws {
        if let problem = ServerRoots.missing([name]) { throw TestFailure(problem) }
        self.name = name
        self.folder = folder
        self.binds = binds
    }

    /// How a command ended, with standard output and standard error together.
    public struct Result: Sendable {
        public let exit: RunningProcess.Exit
        public let output: String

        public var succeeded: Bool { exit == .status(0) }
    }

    /// Starts a program of the root, as its root user.
    ///
    /// - Parameters:
    ///   - group: the number of a group of the root, for a program that would otherwise be set-group-ID.
    ///   - input: a file for standard input.
    public func start(_ command: [String], group: Int = 0, log: String = "output.log", input: String? = nil) throws -> RunningProcess {
        var arguments = [ServerRoots.scriptPath, "run", name, "--folder", folder.path, "--control", "3", "--group", "\(group)"]
        for bind in binds { arguments += ["--bind", bind] }
        return try RunningProcess(
            "/bin/bash", arguments + ["--"] + command, log: folder.file(log), input: input, control: .script)
    }

    /// Runs a program of the root to its end.
    ///
    /// - Parameter input: text for standard input.
    @discardableResult
    public func run(_ command: [String], group: Int = 0, input: String? = nil, within limit: Duration = .seconds(60)) async throws -> Result
    {
        let id = UUID().uuidString
        defer {
            for end in ["out", "in"] { unlink(folder.file("\(id).\(end)")) }
        }
        let inputFile = try input.map { try folder.write($0, to: "\(id).in") }
        let process = try start(command, group: group, log: "\(id).out", input: inputFile)
        defer { process.kill() }
        let exit = try await process.waitForExit(within: limit)
        return Result(exit: exit, output: process.log)
    }

    /// Makes what the servers wrote at `path`, below the folder, readable for every user.
    public func makeReadable(_ path: String) throws {
        let result = try ServerRoots.script(["readable", folder.path, path])
        guard result.status == 0 else { throw TestFailure(result.output) }
    }

    /// The host's process identifiers of everything that runs in this root and folder now, oldest first.
    public func processes() -> [pid_t] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { pid_t($0) }.sorted().filter { pid in
            // Its folder is mounted in their namespace and in no other.
            guard let table = FileManager.default.contents(atPath: "/proc/\(pid)/mountinfo") else { return false }
            return String(decoding: table, as: UTF8.self).contains(" \(folder.path)/.view ")
        }
    }
}
