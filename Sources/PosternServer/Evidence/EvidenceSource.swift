import PosternCore
import PosternEngine

/// Finds out what look-ups can tell of an attempt.
public protocol EvidenceSource: Sendable {
    /// All of it, where all is known already.
    func known(_ attempt: Attempt) -> Findings?

    /// Asks everything at once, under one deadline, and calls `completion` once, on any thread: with all of it, or with what
    /// there is when the rest can no longer change the verdict, or at the deadline.
    func gather(_ attempt: Attempt, for settings: EngineSettings, completion: @escaping @Sendable (Findings) -> Void)

    /// As `gather`, for someone who wants to see it all: with what there is at the deadline, whatever it changes.
    func gatherAll(_ attempt: Attempt, for settings: EngineSettings, completion: @escaping @Sendable (Findings) -> Void)

    /// Where an address is registered, where that can be told at once.
    func country(of address: IPAddress) -> String?
}

extension EvidenceSource {
    public func gatherAll(_ attempt: Attempt, for settings: EngineSettings, completion: @escaping @Sendable (Findings) -> Void) {
        gather(attempt, for: settings, completion: completion)
    }

    public func country(of address: IPAddress) -> String? { nil }
}
