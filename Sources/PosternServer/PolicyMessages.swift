import NIOCore
import PolicyProtocol
import PosternCore
import PosternEngine

/// What the policy service holds of messages, by `instance`.
struct Messages {
    var table = MessageTable(capacity: 16_384, octets: 32 << 20)
    var underWay = QuestionsUnderWay()
}

/// A question that waits for the one before it about the same message.
struct Turn: Sendable {
    let attempt: Attempt
    let listener: String
    let asker: PolicyAsker

    init(_ attempt: Attempt, at listener: String, _ asker: PolicyAsker) {
        self.attempt = attempt
        self.listener = listener
        self.asker = asker
    }
}

/// Questions about one message are decided one after another, whatever connections they come by and however many come at once: each
/// is to know what the one before has left behind, such as that the header has been given. There are no more of them than connections
/// and `PolicyServiceLimits.inFlight` let in.
struct QuestionsUnderWay {
    /// By `instance`, from the question that is being decided until the last behind it is.
    private var lines: [String: Line] = [:]

    private struct Line {
        private var turns: [Turn] = []
        private var next = 0

        mutating func append(_ turn: Turn) { turns.append(turn) }

        mutating func popFirst() -> Turn? {
            guard next < turns.count else { return nil }
            defer { next += 1 }
            return turns[next]
        }
    }

    /// Messages that are being asked about.
    var count: Int { lines.count }

    /// Whether a question may be decided at once; else its turn comes with `leave`. What names no message waits for nobody.
    mutating func enter(_ instance: String, _ turn: () -> Turn) -> Bool {
        guard !instance.isEmpty else { return true }
        guard lines[instance] != nil else {
            lines[instance] = Line()
            return true
        }
        lines[instance]?.append(turn())
        return false
    }

    /// A question has been decided; the next about its message, if there is one.
    mutating func leave(_ instance: String) -> Turn? {
        if let next = lines[instance]?.popFirst() { return next }
        lines[instance] = nil
        return nil
    }
}

/// What is remembered of messages under way, by `instance`; the oldest is forgotten first.
struct MessageTable {
    private var memories: [String: MessageMemory] = [:]
    private var order: CircularBuffer<String> = []
    /// Of what their recipients and fields take.
    private(set) var octets = 0
    private let capacity: Int
    private let mostOctets: Int

    /// - Parameters:
    ///   - capacity: messages at most.
    ///   - octets: of their recipients and fields, at most.
    init(capacity: Int, octets: Int) {
        self.capacity = capacity
        mostOctets = octets
    }

    var count: Int { memories.count }

    subscript(instance: String) -> MessageMemory? {
        get { memories.isEmpty || instance.isEmpty ? nil : memories[instance] }
        set {
            guard let newValue else { return }
            octets += newValue.octets
            if let old = memories.updateValue(newValue, forKey: instance) {
                octets -= old.octets
            } else {
                order.append(instance)
            }
            while order.count > capacity || octets > mostOctets, let oldest = order.popFirst() {
                if let forgotten = memories.removeValue(forKey: oldest) { octets -= forgotten.octets }
            }
        }
    }
}
