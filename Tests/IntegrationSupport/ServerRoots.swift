import Foundation

/// The private roots that `scripts/servers.sh` makes, and whether they can be used here.
public enum ServerRoots {
    /// The project's own folder.
    public static let project: String = {
        // First of all the links: a package may reach its sources through one.
        var url = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        for _ in 0..<3 { url.deleteLastPathComponent() }
        return url.path
    }()

    /// `scripts/servers.sh`.
    public static let scriptPath = project + "/scripts/servers.sh"

    /// Where the private roots are.
    public static let folder = ProcessInfo.processInfo.environment["POSTERN_SERVERS"] ?? project + "/.build/servers"

    /// The command that fetches the servers named.
    public static func fetchCommand(_ names: [String]) -> String {
        "scripts/servers.sh fetch \(names.joined(separator: " "))"
    }

    /// What is missing before the servers named can be run here, nil when nothing is. Asked once per process and name.
    public static func missing(_ names: [String]) -> String? {
        for name in names {
            if let problem = known.value(for: name, { probe(name) }) { return problem }
        }
        return nil
    }

    private static let known = Memo()

    private static func probe(_ name: String) -> String? {
        do {
            let result = try script(["check", name])
            return result.status == 0 ? nil : result.output.trimmingCharacters(in: .whitespacesAndNewlines)
        } catch {
            return "\(error)"
        }
    }

    /// Runs the script to its end, which must be near: this blocks.
    static func script(_ arguments: [String]) throws -> (status: Int32, output: String) {
        let folder = try TemporaryFolder("script")
        defer { folder.remove() }
        let process = try RunningProcess("/bin/bash", [scriptPath] + arguments, log: folder.file("output"), control: .none)
        let status = process.waitBlocking()
        return (status.code, folder.read("output"))
    }
}

/// Whether a test that needs these servers runs: `@Test(.enabled(if: requireServer("postfix", "swaks")))`.
///
/// Without the environment variable `CI` such a test is skipped where a server is missing; with it, it runs, and fails as
/// soon as it starts the server, with the command that fetches it.
public func requireServer(_ names: String...) -> Bool {
    requireServer(names)
}

/// The same for a list.
public func requireServer(_ names: [String]) -> Bool {
    ProcessInfo.processInfo.environment["CI"] != nil || ServerRoots.missing(names) == nil
}

// Guarded by its lock.
private final class Memo: @unchecked Sendable {
    private let lock = NSLock()
    private var values: [String: String?] = [:]

    func value(for key: String, _ make: () -> String?) -> String? {
        lock.withLock {
            if let value = values[key] { return value }
            let value = make()
            values.updateValue(value, forKey: key)
            return value
        }
    }
}
