import NIOConcurrencyHelpers
import NIOCore

/// Tells a session that there are too many and that it must go.
struct ShedEvent: Sendable {}

/// The sessions of a gateway: how many there are, and which of them are held, in the order in which that began.
final class SessionTable: Sendable {
    enum Admission {
        case admitted
        case refused
    }

    private struct State {
        var open = 0
        var held: [ObjectIdentifier: Hold] = [:]
        var order: [(id: ObjectIdentifier, number: UInt64)] = []
        var first = 0
        var number: UInt64 = 0

        struct Hold {
            let number: UInt64
            let channel: any Channel
        }

        mutating func longestHeld() -> (any Channel)? {
            while first < order.count {
                let (id, number) = order[first]
                first += 1
                if let hold = held[id], hold.number == number {
                    held[id] = nil
                    return hold.channel
                }
            }
            return nil
        }

        /// Those that are held no more leave gaps; the order never has more than twice what is held, and some.
        mutating func tidy() {
            guard order.count > 2 * held.count + 64 else { return }
            order = order[first...].filter { held[$0.id]?.number == $0.number }
            first = 0
        }
    }

    private let state = NIOLockedValueBox(State())
    private let counters: GatewayCounters

    init(counters: GatewayCounters) {
        self.counters = counters
    }

    var open: Int { state.withLockedValue { $0.open } }
    var held: Int { state.withLockedValue { $0.held.count } }

    /// Lets a session in. At the limit the one that was held longest makes room.
    func admit(limit: Int) -> Admission {
        let (admission, shed) = state.withLockedValue { state -> (Admission, (any Channel)?) in
            if state.open < limit {
                state.open += 1
                return (.admitted, nil)
            }
            // Those let go take a moment to leave: a burst may pass the limit by as many as are held.
            guard let channel = state.longestHeld() else { return (.refused, nil) }
            state.tidy()
            state.open += 1
            return (.admitted, channel)
        }
        counters.count {
            if admission == .refused {
                $0.sessionsRefused += 1
            } else {
                $0.sessions += 1
                $0.sessionsTotal += 1
            }
            if shed != nil { $0.sessionsShed += 1 }
        }
        shed?.pipeline.fireUserInboundEventTriggered(ShedEvent())
        return admission
    }

    func departed(_ id: ObjectIdentifier) {
        state.withLockedValue {
            $0.open -= 1
            $0.held[id] = nil
            $0.tidy()
        }
        counters.count { $0.sessions -= 1 }
    }

    /// A session is being made to wait.
    func hold(_ id: ObjectIdentifier, _ channel: any Channel) {
        state.withLockedValue { state in
            guard state.held[id] == nil else { return }
            state.number += 1
            state.held[id] = State.Hold(number: state.number, channel: channel)
            state.order.append((id, state.number))
        }
    }

    func release(_ id: ObjectIdentifier) {
        state.withLockedValue {
            $0.held[id] = nil
            $0.tidy()
        }
    }
}
