import Foundation

/// A child process in a process group of its own, with its output in a file. It cannot outlive this process: a socket
/// whose other end only this process holds is its lifeline.
///
/// Reference type for its lifetime: the process is killed when the last reference goes.
// Guarded by its lock.
public final class RunningProcess: @unchecked Sendable {
    /// How a process ended.
    public enum Exit: Equatable, Sendable, CustomStringConvertible {
        case status(Int32)
        case signal(Int32)

        /// As a shell tells it: 128 and the signal's number for a signal.
        public var code: Int32 {
            switch self {
            case .status(let status): status
            case .signal(let signal): 128 + signal
            }
        }

        public var description: String {
            switch self {
            case .status(let status): "exit status \(status)"
            case .signal(let signal): "signal \(signal)"
            }
        }
    }

    /// Who listens at the other end of the lifeline.
    enum Control {
        /// Nobody: for commands that end by themselves.
        case none
        /// A shell beside the program kills it when the lifeline breaks.
        case guarded
        /// `servers.sh run --control 3`, which also takes the names of signals to hand on.
        case script
    }

    public let pid: pid_t
    /// The file with standard output and standard error.
    public let logPath: String
    private let name: String
    private let control: Control
    private let lock = NSLock()
    private var lifeline: Int32
    private var exit: Exit?

    /// Starts a program of ours.
    ///
    /// - Parameters:
    ///   - executable: an absolute path.
    ///   - environment: added to this process's own.
    ///   - log: the file that standard output and standard error are appended to.
    ///   - input: a file for standard input; /dev/null otherwise.
    public convenience init(
        executable: String, _ arguments: [String] = [], environment: [String: String] = [:], log: String, input: String? = nil,
        workingFolder: String? = nil
    ) throws {
        try self.init(
            executable, arguments, environment: environment, log: log, input: input, workingFolder: workingFolder, control: .guarded)
    }

    init(
        _ executable: String, _ arguments: [String], environment: [String: String] = [:], log: String, input: String? = nil,
        workingFolder: String? = nil, control: Control
    ) throws {
        let guardScript = """
            ( parent=$$; while read -r line <&3; do [ "$line" = done ] && exit 0; done
              kill -KILL -- "-$parent" ) </dev/null >/dev/null 2>&1 &
            exec 3<&-; cd "$1" && shift && exec "$@"
            """
        let command =
            switch control {
            case .none, .script: [executable] + arguments
            case .guarded: ["/bin/sh", "-c", guardScript, "guard", workingFolder ?? ".", executable] + arguments
            }
        var ends: [Int32] = [-1, -1]
        // Sockets rather than a pipe: writing to one whose reader is gone can be kept from raising SIGPIPE.
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw TestFailure("socketpair: \(String(cString: strerror(errno)))") }
        defer { close(ends[0]) }
        do {
            pid = try Self.spawn(
                command, environment: environment, log: log, input: input ?? "/dev/null", lifeline: ends[0])
        } catch {
            close(ends[1])
            throw error
        }
        name = executable
        logPath = log
        lifeline = ends[1]
        self.control = control
    }

    deinit {
        kill()
    }

    private static func spawn(
        _ command: [String], environment: [String: String], log: String, input: String, lifeline: Int32
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        if lifeline == 3 {
            // Duplicating a descriptor onto itself would leave it to be closed on exec.
            posix_spawn_file_actions_adddup2(&actions, 3, 4)
            posix_spawn_file_actions_adddup2(&actions, 4, 3)
            posix_spawn_file_actions_addclose(&actions, 4)
        } else {
            posix_spawn_file_actions_adddup2(&actions, lifeline, 3)
        }
        // What other code of this process opened without close-on-exec; one that is closed meanwhile does no harm.
        for name in try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
            if let descriptor = Int32(name), descriptor > 3 { posix_spawn_file_actions_addclose(&actions, descriptor) }
        }

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // The test process may ignore or block signals that a server relies on.
        var none = sigset_t()
        sigemptyset(&none)
        var every = sigset_t()
        sigfillset(&every)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &every)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

        let merged = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = merged.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer {
            for pointer in arguments + variables { free(pointer) }
        }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, command[0], &actions, &attributes, &arguments, &variables)
        guard result == 0 else { throw TestFailure("starting \(command[0]): \(String(cString: strerror(result)))") }
        return pid
    }

    // MARK: - Ending

    /// How it ended, nil while it runs.
    public var exitIfEnded: Exit? {
        lock.withLock { reap(flags: WNOHANG) }
    }

    public var isRunning: Bool { exitIfEnded == nil }

    private func reap(flags: Int32) -> Exit? {
        if let exit { return exit }
        var status: Int32 = 0
        var result: pid_t
        repeat { result = waitpid(pid, &status, flags) } while result < 0 && errno == EINTR
        guard result != 0 else { return nil }
        // WIFEXITED and WTERMSIG, which are macros.
        let signal = status & 0x7f
        exit = result < 0 ? .status(-1) : signal == 0 ? .status((status >> 8) & 0xff) : .signal(signal)
        if control == .guarded { write("done\n") }
        closeLifeline()
        return exit
    }

    /// Blocks this thread; only for commands that end by themselves.
    func waitBlocking() -> Exit {
        lock.withLock { reap(flags: 0) ?? .status(-1) }
    }

    /// Waits for the end.
    @discardableResult
    public func waitForExit(within limit: Duration = .seconds(60)) async throws -> Exit {
        var found: Exit?
        try await waitUntil("the end of \(name)\n\(logTail)", within: limit, every: .milliseconds(5)) {
            found = exitIfEnded
            return found != nil
        }
        return found ?? .status(-1)
    }

    /// Sends a signal (`SIGTERM`, `SIGHUP`, ...); a server in a private root receives it as the program started there.
    public func signal(_ number: Int32) {
        lock.withLock {
            guard exit == nil else { return }
            if control == .script {
                write("\(number)\n")
            } else {
                Foundation.kill(pid, number)
            }
        }
    }

    /// Kills it and all it started (`SIGKILL`), and waits until it is gone.
    public func kill() {
        lock.withLock {
            guard exit == nil else { return }
            if control == .script {
                // Its namespace's first process kills all of the others, and ends.
                closeLifeline()
                for _ in 0..<400 where reap(flags: WNOHANG) == nil { usleep(5000) }
            }
            if exit == nil { Foundation.kill(-pid, SIGKILL) }
            _ = reap(flags: 0)
        }
    }

    /// Asks it to end (`SIGTERM`) and waits; kills it when it has not ended within `limit`.
    @discardableResult
    public func stop(within limit: Duration = .seconds(10)) async throws -> Exit {
        signal(SIGTERM)
        do {
            return try await waitForExit(within: limit)
        } catch {
            kill()
            throw error
        }
    }

    private func write(_ line: String) {
        guard lifeline >= 0 else { return }
        _ = line.withCString { send(lifeline, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
    }

    private func closeLifeline() {
        guard lifeline >= 0 else { return }
        close(lifeline)
        lifeline = -1
    }

    // MARK: - Output

    /// All output so far.
    public var log: String {
        guard let data = FileManager.default.contents(atPath: logPath) else { return "" }
        return String(decoding: data, as: UTF8.self)
    }

    /// The last lines of the output, for a failure's text.
    public var logTail: String {
        log.split(separator: "\n").suffix(20).joined(separator: "\n")
    }

    /// Waits until `condition` holds; fails at once when the process ends before that.
    public func waitUntilReady(
        _ what: String, within limit: Duration = .seconds(60), _ condition: () async throws -> Bool
    ) async throws {
        try await waitUntil("\(name): \(what)\n\(logTail)", within: limit) {
            if try await condition() { return true }
            if let exit = exitIfEnded { throw TestFailure("\(name) ended (\(exit)) before \(what)\n\(logTail)") }
            return false
        }
    }
}
