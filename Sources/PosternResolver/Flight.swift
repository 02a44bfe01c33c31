import DNSProtocol

/// A question under way, with all who wait for its answer. Touched by the resolver's thread only.
final class Flight {
    let question: Question
    /// Aliases followed to get here.
    let hops: Int
    /// Places in the `WaiterTable`; some may have given up since.
    var waiters: [Int32] = []
    /// Those who still wait.
    var liveWaiters = 0
    /// Whom it is with now.
    var upstream: Upstream?
    /// Bits of the servers that it was put to since the last round began.
    var asked: UInt64 = 0
    var attempts = 0
    /// What went wrong last.
    var failure = Answer.Failure.timeout
    var isDone = false

    init(question: Question, hops: Int) {
        self.question = question
        self.hops = hops
    }
}
