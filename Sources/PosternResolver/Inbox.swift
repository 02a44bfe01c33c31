import CCares
import DNSProtocol
import Glibc
import NIOConcurrencyHelpers

/// A question that waits.
struct Request: Sendable {
    var question: Question
    var deadline: Deadline
    /// Whether what is known already will not do.
    var isFresh: Bool
    var completion: @Sendable (Answer) -> Void
}

/// What other threads tell the resolver's, and the descriptor that wakes it.
final class Inbox: Sendable {
    struct Letters: Sendable {
        var requests: [Request] = []
        var settings: ResolverSettings?
        var isClosed = false
        /// Whether the thread has been woken, or needs no waking.
        var isAwake = true
    }

    private let letters = NIOLockedValueBox(Letters())
    /// Readable while there is something.
    let descriptor: Int32

    /// `nil` where the process has no descriptor left.
    init?() {
        descriptor = ccares_eventfd()
        guard descriptor >= 0 else { return nil }
    }

    deinit { close(descriptor) }

    /// `false` once it is closed.
    func put(_ request: Request) -> Bool {
        post {
            guard !$0.isClosed else { return false }
            $0.requests.append(request)
            return true
        }
    }

    func put(_ settings: ResolverSettings) {
        _ = post {
            $0.settings = settings
            return true
        }
    }

    func closeForGood() {
        _ = post {
            $0.isClosed = true
            return true
        }
    }

    private func post(_ change: (inout Letters) -> Bool) -> Bool {
        let (taken, wake) = letters.withLockedValue { letters in
            guard change(&letters) else { return (false, false) }
            defer { letters.isAwake = true }
            return (true, !letters.isAwake)
        }
        if wake {
            var one: UInt64 = 1
            _ = write(descriptor, &one, 8)
        }
        return taken
    }

    /// All there is. With `sleeping` the next letter will wake the thread, unless there is something now.
    func take(sleeping: Bool) -> Letters {
        letters.withLockedValue { letters in
            let taken = letters
            letters.requests = []
            letters.settings = nil
            letters.isAwake = !(sleeping && taken.requests.isEmpty && taken.settings == nil && !taken.isClosed)
            return taken
        }
    }

    /// Makes the descriptor unreadable again.
    func drain() {
        var count: UInt64 = 0
        _ = read(descriptor, &count, 8)
    }
}
