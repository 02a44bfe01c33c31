import Foundation

/// Asks `condition` every `interval` until it holds.
///
/// - Throws: `TestFailure` naming `what` once `limit` has passed; whatever `condition` throws.
public func waitUntil(
    _ what: @autoclosure () -> String,
    within limit: Duration = .seconds(60),
    every interval: Duration = .milliseconds(20),
    _ condition: () async throws -> Bool
) async throws {
    let clock = ContinuousClock()
    let deadline = clock.now.advanced(by: limit)
    while try await !condition() {
        guard clock.now < deadline else { throw TestFailure("not within \(limit): \(what())") }
        try await Task.sleep(for: interval)
    }
}
