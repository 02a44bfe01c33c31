import Foundation
import Glibc
import NIOConcurrencyHelpers
import PosternCore

/// Holds clients for as long as they will stay, on next to no memory and bandwidth.
///
/// One thread serves all listeners of a process. A client is greeted slowly, may say HELO or EHLO, and is then sent a reply
/// that never ends, an octet at a time. It never gets as far as naming a sender, so nothing of a message is ever seen;
/// what is known of it is its address, and when it came and went (`TarpitVisit`).
public final class Tarpit: Sendable {
    /// A listener, or somebody who hands connections over.
    public struct Source: Hashable, Sendable {
        fileprivate let number: Int
    }

    /// Sources of one tarpit.
    public static let mostSources = 1024

    private let inbox: TarpitInbox
    private let totals = TarpitTotalsBox()
    private let numbers = NIOLockedValueBox(0)

    /// - Parameters:
    ///   - standing: asked when a client comes, and each time that its hold is over. Called on the tarpit's thread; must not
    ///     block.
    ///   - departed: told of those who have gone, some at a time, on the tarpit's thread; must not block.
    ///   - isShort: told each time that the system has no room for whoever comes to a listener, with the error of accept(2); on the
    ///     tarpit's thread, must not block. The one held longest is let go for it then, or nobody is taken in for a second.
    /// - Returns: `nil` where the process has no descriptors left.
    public init?(
        standing: @escaping @Sendable (IPAddress) -> TarpitStanding, departed: @escaping @Sendable ([TarpitVisit]) -> Void,
        isShort: @escaping @Sendable (String, Int32) -> Void = { _, _ in }
    ) {
        guard let inbox = TarpitInbox() else { return nil }
        self.inbox = inbox
        let totals = totals
        let hasStarted = NIOLockedValueBox<Bool?>(nil)
        let started = NSCondition()
        let thread = Thread {
            // Made here, since nobody else may ever touch it.
            let loop = TarpitLoop(inbox: inbox, totals: totals, standing: standing, departed: departed, isShort: isShort)
            started.withLock {
                hasStarted.withLockedValue { $0 = loop != nil }
                started.signal()
            }
            loop?.run()
        }
        thread.name = "postern-tarpit"
        thread.start()
        let isRunning = started.withLock {
            while hasStarted.withLockedValue({ $0 }) == nil { started.wait() }
            return hasStarted.withLockedValue { $0 } == true
        }
        guard isRunning else { return nil }
    }

    /// Accepts on a listening, non-blocking descriptor, which the tarpit then owns. Without one it holds what is handed over.
    /// `nil` beyond `mostSources`.
    public func open(_ name: String, descriptor: Int32?, _ settings: TarpitSettings) -> Source? {
        let number = numbers.withLockedValue { number -> Int? in
            guard number < Self.mostSources else { return nil }
            defer { number += 1 }
            return number
        }
        guard let number, inbox.put(.open(source: number, name: name, descriptor: descriptor, settings: settings)) else { return nil }
        return Source(number: number)
    }

    /// Those who are held keep the time that they were to be held for; all else changes at once.
    public func update(_ source: Source, _ settings: TarpitSettings) {
        inbox.put(.update(source: source.number, settings: settings))
    }

    /// Holds a non-blocking connection that was accepted elsewhere and has not been greeted. `false` when it is not taken: the
    /// descriptor then stays the caller's.
    public func adopt(_ descriptor: Int32, from address: IPAddress, for source: Source) -> Bool {
        inbox.put(.adopt(source: source.number, descriptor: descriptor, address: address))
    }

    /// Accepts no more, tells everybody to go, and returns when they have gone, some seconds later at most.
    public func shut(_ source: Source) async {
        await withCheckedContinuation { continuation in
            if !inbox.put(.shut(source: source.number, whenEmpty: { continuation.resume() })) { continuation.resume() }
        }
    }

    /// Closes everything, and ends the thread.
    public func end() { inbox.put(.end) }

    /// Of one source, at most a tick old while it holds anybody.
    public func totals(of source: Source) -> TarpitTotals { totals.of(source.number) }

    /// Of all sources together.
    public var allTotals: TarpitTotals { totals.all }
}

/// What the thread tells of its sources.
final class TarpitTotalsBox: Sendable {
    private let values = NIOLockedValueBox<[Int: TarpitTotals]>([:])

    func keep(_ totals: TarpitTotals, of number: Int) { values.withLockedValue { $0[number] = totals } }
    func of(_ number: Int) -> TarpitTotals { values.withLockedValue { $0[number] ?? TarpitTotals() } }
    var all: TarpitTotals { values.withLockedValue { $0.values.reduce(TarpitTotals(), +) } }
}
