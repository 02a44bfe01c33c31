import Foundation

/// The program under test, as `make` builds it: a daemon with a configuration and a folder of its own.
public final class PosternProcess: @unchecked Sendable {
    // Guarded by whoever tests: one test drives one daemon.
    private var process: RunningProcess?
    public let folder: TemporaryFolder
    public let port: UInt16
    private let configuration: String

    /// Beside the test bundle, where SwiftPM puts all products.
    public static let executable: String = {
        let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        for folder in [(bundle as NSString).deletingLastPathComponent, ServerRoots.project + "/.build/debug"] {
            if FileManager.default.isExecutableFile(atPath: folder + "/postern") { return folder + "/postern" }
        }
        return ServerRoots.project + "/.build/debug/postern"
    }()

    /// Starts with a policy listener on a free port and these further lines of configuration.
    public static func start(_ lines: String = "greylist: { delay: 2s }", wrapper: [String] = []) async throws -> PosternProcess {
        let postern = try PosternProcess(lines)
        try await postern.start(wrapper: wrapper)
        return postern
    }

    /// `further` are listeners beside the policy service, each as a mapping.
    public init(_ lines: String, listener: String? = nil, further: [String] = []) throws {
        folder = try TemporaryFolder()
        port = try FreePort.next()
        let address = listener ?? "address: \"127.0.0.1:\(port)\""
        let listeners = (["{ name: policy, role: policy, \(address) }"] + further).joined(separator: ", ")
        configuration = """
            hostname: mx.example.test
            data_directory: \(folder.path)/data
            listeners: [ \(listeners) ]
            \(lines.contains("dns:") ? "" : "dns: { resolvers: [] }")
            \(lines)

            """
        try folder.write(configuration, to: "postern.yaml")
    }

    public var configurationPath: String { folder.file("postern.yaml") }

    /// Starts, or starts again over the same data, and waits until it says that it is ready: its sockets are there before that, and
    /// verbs would take it for one that does not run. `wrapper` is a command that runs the program.
    public func start(wrapper: [String] = []) async throws {
        let command = wrapper + [Self.executable, "serve", "--config", configurationPath]
        let before = announcements
        let process = try RunningProcess(executable: command[0], Array(command.dropFirst()), log: folder.file("log"))
        self.process = process
        try await process.waitUntilReady("ready") { announcements > before }
    }

    /// How often it has told whoever started it that it is ready; no log level silences that.
    private var announcements: Int { log.components(separatedBy: "Stop it with Ctrl-C.").count }

    /// Ends it with SIGTERM and waits.
    @discardableResult
    public func stop() async throws -> RunningProcess.Exit {
        guard let process else { throw TestFailure("postern is not running") }
        self.process = nil
        process.signal(SIGTERM)
        return try await process.waitForExit()
    }

    /// `kill -9`, then waits for it to be gone.
    public func kill() async throws {
        guard let process else { throw TestFailure("postern is not running") }
        self.process = nil
        process.kill()
        _ = try await process.waitForExit()
    }

    public func signal(_ number: Int32) { process?.signal(number) }

    public var pid: pid_t? { process?.pid }

    public var log: String { folder.read("log") }

    public func client() throws -> PolicyClient { try PolicyClient(port: port) }

    /// Runs another verb of the program on the same configuration.
    public func verb(_ arguments: String...) async throws -> (status: Int32, output: String) {
        let name = "verb-\(UUID().uuidString)"
        let process = try RunningProcess(
            executable: Self.executable, arguments + ["--config", configurationPath], log: folder.file(name), workingFolder: folder.path)
        let exit = try await process.waitForExit()
        return (exit.code, folder.read(name))
    }
}
