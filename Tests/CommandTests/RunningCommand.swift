import Foundation
import IntegrationSupport
import Testing

/// Runs the built `postern`, in a folder of its own.
final class Workplace: Sendable {
    let folder: String

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "postern-command-\(UUID().uuidString.prefix(8))").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    @discardableResult
    func write(_ text: String, to name: String) throws -> String {
        try Data(text.utf8).write(to: URL(filePath: path(name)))
        return path(name)
    }

    func read(_ name: String) -> String { (try? String(contentsOfFile: path(name), encoding: .utf8)) ?? "" }

    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path(name)) }

    /// The executable stands beside the test bundle.
    static let executable: URL = {
        if let named = ProcessInfo.processInfo.environment["POSTERN_EXECUTABLE"] { return URL(filePath: named) }
        return URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "postern")
    }()

    struct Outcome: Sendable {
        var code: Int32
        var output: String
        var errors: String

        var json: Any? { try? JSONSerialization.jsonObject(with: Data(output.utf8)) }
        var object: [String: Any] { json as? [String: Any] ?? [:] }
        var array: [[String: Any]] { json as? [[String: Any]] ?? [] }
    }

    private func process(_ arguments: [String], environment: [String: String], outputName: String) throws -> Process {
        let process = Process()
        process.executableURL = Self.executable
        process.arguments = arguments
        process.currentDirectoryURL = URL(filePath: folder)
        var variables = ProcessInfo.processInfo.environment
        for name in ["POSTERN_CONFIG", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"] { variables[name] = nil }
        process.environment = variables.merging(environment) { $1 }
        for (name, keyPath) in [("out", \Process.standardOutput), ("err", \Process.standardError)] {
            _ = FileManager.default.createFile(atPath: path("\(outputName).\(name)"), contents: nil)
            process[keyPath: keyPath] = FileHandle(forWritingAtPath: path("\(outputName).\(name)"))
        }
        return process
    }

    /// Runs a verb to its end, for a minute at most.
    func run(
        _ arguments: [String], environment: [String: String] = [:], input: String? = nil, through wrapper: [String] = []
    ) async throws -> Outcome {
        let name = "run-\(UUID().uuidString.prefix(8))"
        let process = try process(arguments, environment: environment, outputName: name)
        if let program = wrapper.first {
            process.executableURL = URL(filePath: program)
            process.arguments = wrapper.dropFirst() + [Self.executable.path] + arguments
        }
        process.standardInput = try FileHandle(
            forReadingFrom: URL(filePath: input == nil ? "/dev/null" : write(input ?? "", to: "\(name).in")))
        let code: Int32 = try await withCheckedThrowingContinuation { continuation in
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do {
                try process.run()
                let pid = process.processIdentifier
                DispatchQueue.global().asyncAfter(deadline: .now() + 60) { [weak process] in
                    if process?.isRunning == true { kill(pid, SIGKILL) }
                }
            } catch {
                process.terminationHandler = nil
                continuation.resume(throwing: error)
            }
        }
        return Outcome(code: code, output: read("\(name).out"), errors: read("\(name).err"))
    }

    func run(_ arguments: String...) async throws -> Outcome { try await run(arguments) }

    // MARK: - A daemon

    /// Runs `body` while a daemon runs, then ends that by SIGTERM; returns its exit code.
    @discardableResult
    func withDaemon(
        _ arguments: [String] = [], through wrapper: [String] = [], _ body: (Daemon) async throws -> Void
    ) async throws -> Int32 {
        let process = try process(["serve"] + arguments, environment: [:], outputName: "serve")
        if let program = wrapper.first {
            process.executableURL = URL(filePath: program)
            process.arguments = wrapper.dropFirst() + [Self.executable.path, "serve"] + arguments
        }
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let pid = process.processIdentifier
        do {
            let port = try await port(of: process)
            try await body(Daemon(pid: pid, port: port))
        } catch {
            kill(pid, SIGKILL)
            process.waitUntilExit()
            throw error
        }
        kill(pid, SIGTERM)
        for _ in 0..<3000 where process.isRunning { try await Task.sleep(for: .milliseconds(10)) }
        if process.isRunning { kill(pid, SIGKILL) }
        process.waitUntilExit()
        return process.terminationStatus
    }

    struct Daemon: Sendable {
        let pid: Int32
        let port: UInt16
    }

    /// Waits for the line that tells where the daemon listens.
    private func port(of process: Process) async throws -> UInt16 {
        for _ in 0..<6000 {
            if let match = read("serve.out").firstMatch(of: /127\.0\.0\.1:([0-9]+)/), let port = UInt16(match.1) { return port }
            guard process.isRunning else { break }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw NotReady(errors: read("serve.err"))
    }

    struct NotReady: Error {
        var errors: String
    }

    /// Asks the policy service as Postfix does at RCPT; returns the action.
    func policy(
        _ port: UInt16, sender: String, recipient: String, address: String = "192.0.2.7", name: String = "unknown",
        helo: String = "mail.example.org", account: String = ""
    )
        async throws
        -> String
    {
        let request =
            "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=\(address)\nclient_name=\(name)\n"
            + "helo_name=\(helo)\nsender=\(sender)\nrecipient=\(recipient)\nsasl_username=\(account)\ninstance=\(UUID().uuidString)\n\n"
        return try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(with: Result { try Self.exchange(port, request) }) }
        }
    }

    private static func exchange(_ port: UInt16, _ request: String) throws -> String {
        guard let descriptor = LoopbackConnection.connected(port: port, patience: 20) else { throw NotReady(errors: "cannot connect") }
        defer { close(descriptor) }
        _ = send(descriptor, request, request.utf8.count, Int32(MSG_NOSIGNAL))
        var answer = ""
        var chunk = [UInt8](repeating: 0, count: 4096)
        while !answer.hasSuffix("\n\n") {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { throw NotReady(errors: "no answer: \(answer)") }
            answer += String(decoding: chunk[..<count], as: UTF8.self)
        }
        return answer.trimmingCharacters(in: .newlines)
    }
}
