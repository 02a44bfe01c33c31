import Foundation

/// The process that a server runs as now: another one after each start.
// Guarded by its lock.
final class Current: @unchecked Sendable {
    private let lock = NSLock()
    private var process: RunningProcess?

    func set(_ process: RunningProcess) {
        lock.withLock { self.process = process }
    }

    func get() throws -> RunningProcess {
        guard let process = lock.withLock({ process }) else { throw TestFailure("the server was not started") }
        return process
    }
}
