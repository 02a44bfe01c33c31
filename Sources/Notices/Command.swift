import Foundation

/// A program of the admin's, run by its path with its arguments; no shell reads either.
public struct Command: Sendable {
    public enum Result: Equatable, Sendable, CustomStringConvertible {
        case ended(status: Int32)
        case killed(signal: Int32)
        case tookTooLong
        case notStarted(String)

        public var isSuccess: Bool { self == .ended(status: 0) }

        public var description: String {
            switch self {
            case .ended(let status): "it ended with \(status)"
            case .killed(let signal): "it was ended by signal \(signal)"
            case .tookTooLong: "it took longer than \(Command.patience)"
            case .notStarted(let reason): "it was not started: \(reason)"
            }
        }
    }

    public static let patience = Duration.seconds(30)

    private let words: [String]

    /// - Parameter words: the program's whole path and its arguments.
    public init(_ words: [String]) {
        self.words = words
    }

    /// Runs it with octets on its input; what it prints is thrown away. One that takes too long is ended.
    public func run(input: [UInt8]) async -> Result {
        guard let program = words.first else { return .notStarted("no program is named") }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = Array(words.dropFirst())
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        let pipe = Pipe()
        process.standardInput = pipe
        let (ended, end) = AsyncStream.makeStream(of: Void.self)
        process.terminationHandler = { _ in end.finish() }
        do {
            try process.run()
        } catch {
            return .notStarted(error.localizedDescription)
        }
        // Less than a pipe holds, so that this does not wait; who does not read it breaks the pipe, and SIGPIPE is ignored.
        try? pipe.fileHandleForWriting.write(contentsOf: Data(input))
        try? pipe.fileHandleForWriting.close()
        let isLate = await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                for await _ in ended {}
                return false
            }
            group.addTask { (try? await Task.sleep(for: Self.patience)) != nil }
            defer { group.cancelAll() }
            return await group.next() ?? false
        }
        if isLate, process.isRunning {
            kill(process.processIdentifier, SIGKILL)
            return .tookTooLong
        }
        process.waitUntilExit()
        return process.terminationReason == .exit ? .ended(status: process.terminationStatus) : .killed(signal: process.terminationStatus)
    }
}
