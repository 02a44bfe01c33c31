import NIOConcurrencyHelpers
import NIOCore
import PolicyProtocol
import PosternCore
import PosternEngine

/// What the policy service holds of messages, by `instance`: in parts that have each their own lock, since the threads that ask and the
/// one that decides come by for every question.
struct Messages: Sendable {
    private struct Part {
        var table = MessageTable(capacity: Messages.capacity / Messages.count, octets: Messages.octets / Messages.count)
        var underWay = QuestionsUnderWay()
    }

    private let parts: [NIOLockedValueBox<Part>]

    private static let count = 16
    /// What is remembered at most, of all of them: messages, and octets of their recipients and fields.
    private static let capacity = 16_384
    private static let octets = 32 << 20

    init() {
        parts = (0..<Self.count).map { _ in NIOLockedValueBox(Part()) }
    }

    private func part(of instance: String) -> NIOLockedValueBox<Part> {
        var instance = instance
        let sum = instance.withUTF8 { octets in
            var sum: UInt = 0
            for octet in octets { sum = sum &* 31 &+ UInt(octet) }
            return sum
        }
        return parts[Int(sum % UInt(Self.count))]
    }

    /// Messages that are being asked about.
    var underWay: Int { parts.reduce(0) { $0 + $1.withLockedValue { $0.underWay.count } } }

    /// What is remembered of a message, where a question about it may be decided at once; `nil` where it must wait its turn. What names no
    /// message waits for nobody.
    func enter(_ instance: String) -> MessageMemory? {
        guard !instance.isEmpty else { return MessageMemory() }
        return part(of: instance).withLockedValue { part in
            part.underWay.enter(instance) ? part.table[instance] ?? MessageMemory() : nil
        }
    }

    /// Whether a question now waits behind those about the same message, and its turn comes with `leave`; `false` where the last of them has
    /// left, and it may enter.
    func append(_ turn: Turn, to instance: String) -> Bool {
        part(of: instance).withLockedValue { $0.underWay.append(turn, to: instance) }
    }

    /// What is remembered of a message, for a question whose turn has come.
    func memory(of instance: String) -> MessageMemory {
        part(of: instance).withLockedValue { $0.table[instance] } ?? MessageMemory()
    }

    /// A question has been decided, and has left this behind; returns the next about its message, if there is one.
    func leave(_ instance: String, _ now: MessageMemory, insteadOf before: MessageMemory) -> Turn? {
        guard !instance.isEmpty else { return nil }
        return part(of: instance).withLockedValue { part in
            if now != before { part.table[instance] = now }
            return part.underWay.leave(instance)
        }
    }
}

/// A question that waits for the one before it about the same message.
struct Turn: Sendable {
    let attempt: Attempt
    let listener: String
    let asker: PolicyAsker

    init(_ attempt: consuming Attempt, at listener: String, _ asker: PolicyAsker) {
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

    /// Whether a question may be decided at once; else it is to be appended.
    mutating func enter(_ instance: String) -> Bool {
        guard lines[instance] == nil else { return false }
        lines[instance] = Line()
        return true
    }

    /// Whether a question now waits behind others about the same message: there must be one.
    mutating func append(_ turn: Turn, to instance: String) -> Bool { lines[instance]?.append(turn) != nil }

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
