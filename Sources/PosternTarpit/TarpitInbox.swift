import CEpoll
import Glibc
import NIOConcurrencyHelpers
import PosternCore

/// What other threads want of the tarpit's.
enum TarpitLetter: Sendable {
    /// Accept on this listening descriptor; without one, only what is handed over.
    case open(source: Int, name: String, descriptor: Int32?, settings: TarpitSettings)
    case update(source: Int, settings: TarpitSettings)
    /// Hold a connection that somebody else has accepted.
    case adopt(source: Int, descriptor: Int32, address: IPAddress)
    /// Accept no more, let everybody go, and call back when all are gone.
    case shut(source: Int, whenEmpty: @Sendable () -> Void)
    /// Close everything and end.
    case end
}

/// Letters, and the descriptor that wakes the thread.
final class TarpitInbox: Sendable {
    private struct State {
        var letters: [TarpitLetter] = []
        var isClosed = false
    }

    /// Connections handed over are refused while so many letters wait.
    static let bound = 4096

    private let state = NIOLockedValueBox(State())
    let descriptor: Int32

    /// `nil` where the process has no descriptor left.
    init?() {
        descriptor = cepoll_eventfd()
        guard descriptor >= 0 else { return nil }
    }

    deinit { close(descriptor) }

    /// `false` when it is not taken: the thread has ended, or the inbox is full.
    @discardableResult
    func put(_ letter: TarpitLetter) -> Bool {
        let isTaken = state.withLockedValue { state in
            guard !state.isClosed else { return false }
            if case .adopt = letter, state.letters.count >= Self.bound { return false }
            state.letters.append(letter)
            return true
        }
        if isTaken {
            var one: UInt64 = 1
            _ = write(descriptor, &one, 8)
        }
        return isTaken
    }

    func take() -> [TarpitLetter] {
        var count: UInt64 = 0
        _ = read(descriptor, &count, 8)
        return state.withLockedValue { state in
            defer { state.letters = [] }
            return state.letters
        }
    }

    /// From here on nothing is taken; what was is returned.
    func closeForGood() -> [TarpitLetter] {
        state.withLockedValue { state in
            state.isClosed = true
            defer { state.letters = [] }
            return state.letters
        }
    }
}
