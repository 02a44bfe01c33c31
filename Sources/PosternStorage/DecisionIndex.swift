import NIOConcurrencyHelpers
import PosternCore
import PosternEngine
import Synchronization

/// What the decisions on disk may hold, in memory: so that a search reads only those that may match.
///
/// Decisions lie in the order of their references. Each block of some hundred neighbours has a set of bits: four octets in
/// a row of a text set one of them. A search for a text of four octets or more leaves out every block that lacks one of the
/// text's bits. A block takes 8 KiB, sixteen octets a decision.
///
/// Blocks are made beside the writer, from rows that are committed (`SQLiteStore.indexStep`). What has no block is always read. A
/// decision that comes late, with a reference below what has a block, is noted by the writer before it is committed.
final class DecisionIndex: Sendable {
    /// Decisions of a block, while none comes late.
    static let blockRows = 512
    private static let blockBits = 65_536
    /// Octets that make a bit.
    static let gram = 4
    /// Late decisions that may come while blocks are made; with more of them that work is thrown away.
    static let maximumLate = 4096

    /// The fields that are searched, each with bits of its own.
    enum Field: UInt64 {
        case address = 1
        case sender
        case recipient
        case action
    }

    /// The bits of one block, or of one decision.
    struct Bits: Sendable {
        private var words = [UInt64](repeating: 0, count: DecisionIndex.blockBits / 64)

        mutating func insert(_ place: UInt16) { words[Int(place >> 6)] |= 1 << UInt64(place & 63) }
        func contains(_ place: UInt16) -> Bool { words[Int(place >> 6)] & 1 << UInt64(place & 63) != 0 }
    }

    struct Block: Sendable {
        /// References from `low` to `high`, both included.
        var low: Int64
        var high: Int64
        /// The newest decision's time.
        var newest = Int64.min
        var bits = Bits()

        init(low: Int64, high: Int64) {
            self.low = low
            self.high = high
        }
    }

    /// A decision that came late.
    private struct Late {
        var reference: Int64
        var time: Int64
        var places: [UInt16]
    }

    private struct State {
        /// By reference, without gaps from `bottom` to `top`.
        var blocks: [Block] = []
        /// The highest reference that has a block; `nil` while there is none.
        var top: Int64?
        /// The lowest.
        var bottom: Int64 = .max
        /// Whether nothing lies below.
        var isComplete = false
        var isBuilding = false
        var late: [Late] = []
        var hasTooManyLate = false
        /// Changes when all is thrown away, so that blocks of before are not taken in.
        var generation = 0
    }

    private let state = NIOLockedValueBox(State())
    /// Up to here decisions may be among those that blocks are made of.
    private let claimed = Synchronization.Atomic<Int64>(.min)

    // MARK: - Places of bits

    static func places(_ text: UnsafeRawBufferPointer, _ field: Field, _ insert: (UInt16) -> Void) {
        guard text.count >= gram else { return }
        var window: UInt64 = 0
        for (index, octet) in text.enumerated() {
            let folded = octet >= UInt8(ascii: "A") && octet <= UInt8(ascii: "Z") ? octet | 0x20 : octet
            window = (window << 8 | UInt64(folded)) & 0xffff_ffff
            if index >= gram - 1 { insert(place(window, field)) }
        }
    }

    /// Whole words that are compared as a whole.
    static func place(ofWord word: some Sequence<UInt8>, _ field: Field) -> UInt16 {
        place(word.reduce(0) { ($0 << 5) ^ ($0 >> 3) ^ UInt64($1) }, field)
    }

    private static func place(_ value: UInt64, _ field: Field) -> UInt16 {
        var hash = (value | field.rawValue << 32) &* 0x9e37_79b9_7f4a_7c15
        hash ^= hash >> 29
        return UInt16(truncatingIfNeeded: (hash &* 0xbf58_476d_1ce4_e5b9) >> 48)
    }

    // MARK: - Called by the writer

    /// Notes a decision that is about to be written, where it comes late. Costs a comparison where it does not.
    func willWrite(_ reference: Int64, _ record: DecisionRecord) {
        guard reference <= claimed.load(ordering: .relaxed) else { return }
        var places: [UInt16] = []
        for (column, field) in [(StoredDecision.Column.address, Field.address), (.sender, .sender), (.recipient, .recipient)] {
            var octets: [UInt8] = []
            record.append(column, to: &octets)
            octets.withUnsafeBytes { text in Self.places(text, field) { places.append($0) } }
        }
        places.append(Self.place(ofWord: record.verdict.action.name.utf8, .action))
        let late = Late(reference: reference, time: record.time.milliseconds, places: places)
        state.withLockedValue { state in
            Self.note(late, in: &state.blocks)
            guard state.isBuilding else { return }
            if state.late.count < Self.maximumLate { state.late.append(late) } else { state.hasTooManyLate = true }
        }
    }

    private static func note(_ late: Late, in blocks: inout [Block]) {
        let index = blocks.firstIndex(from: late.reference, by: \.high)
        guard index < blocks.count, blocks[index].low <= late.reference else { return }
        blocks[index].newest = max(blocks[index].newest, late.time)
        for place in late.places { blocks[index].bits.insert(place) }
    }

    /// Forgets everything: another process has written.
    func clear() {
        state.withLockedValue { state in
            let generation = state.generation
            state = State()
            state.generation = generation + 1
        }
    }

    // MARK: - Making blocks

    /// Where the next blocks are to be made.
    struct Work: Sendable {
        fileprivate var generation: Int
        /// Decisions above it, up to `through`, the lowest first.
        var above: Int64?
        var through: Int64
        /// Decisions below it, the highest first; `nil` where all of them have blocks.
        var below: Int64?
    }

    /// Begins to make blocks; on the writer's thread, between two transactions, with the highest reference that is committed.
    /// `nil` where somebody else is at it.
    func begin(highest: Int64) -> Work? {
        state.withLockedValue { state in
            guard !state.isBuilding, highest > .min, highest < .max else { return nil }
            state.isBuilding = true
            state.late = []
            state.hasTooManyLate = false
            claimed.store(max(claimed.load(ordering: .relaxed), highest), ordering: .relaxed)
            let bottom = state.top == nil ? highest + 1 : state.bottom
            return Work(
                generation: state.generation, above: state.top, through: highest, below: state.isComplete ? nil : bottom)
        }
    }

    /// Takes in what was made. `risen` continues upwards, `sunk` downwards (the highest first); `isComplete` where nothing lies
    /// below. `lowest` is the lowest reference that there is: blocks of what was thrown away go.
    func finish(_ work: Work, risen: [Block], sunk: [Block], isComplete: Bool, lowest: Int64?) {
        state.withLockedValue { state in
            state.isBuilding = false
            let late = state.late
            state.late = []
            guard state.generation == work.generation, !state.hasTooManyLate else { return }
            var risen = risen
            var sunk = Array(sunk.reversed())
            for late in late {
                Self.note(late, in: &risen)
                Self.note(late, in: &sunk)
            }
            state.blocks = sunk + state.blocks + risen
            if let last = state.blocks.last { state.top = last.high }
            if let first = state.blocks.first { state.bottom = first.low }
            if isComplete { state.isComplete = true }
            defer {
                // The lowest block stands for all that may still come below it.
                if state.isComplete, !state.blocks.isEmpty {
                    state.blocks[0].low = .min
                    state.bottom = .min
                }
            }
            guard let lowest else { return }
            let gone = state.blocks.prefix { $0.high < lowest }.count
            // The last stays, so that it is known how far blocks reach.
            if gone > 0, gone < state.blocks.count {
                state.blocks.removeFirst(gone)
                state.isComplete = true
            }
        }
    }

    func abandon() { state.withLockedValue { $0.isBuilding = false } }

    // MARK: - Searching

    /// References that may match, the highest first.
    func ranges(_ match: DecisionMatch, action: String?) -> [ClosedRange<Int64>] {
        var places: [UInt16] = []
        match.address?.places(.address) { places.append($0) }
        match.sender?.places(.sender) { places.append($0) }
        match.recipient?.places(.recipient) { places.append($0) }
        if let action { places.append(Self.place(ofWord: action.utf8, .action)) }
        let highest = match.before.map { $0 == .min ? $0 : $0 - 1 } ?? .max
        return state.withLockedValue { state in
            guard let top = state.top, !places.isEmpty || match.since > .min else { return [.min...highest] }
            var ranges: [ClosedRange<Int64>] = []
            func add(_ low: Int64, _ high: Int64) {
                let high = min(high, highest)
                guard low <= high else { return }
                if let last = ranges.last, last.lowerBound == high + 1 {
                    ranges[ranges.count - 1] = low...last.upperBound
                } else {
                    ranges.append(low...high)
                }
            }
            if top < .max { add(top + 1, .max) }
            for block in state.blocks.reversed() where block.newest >= match.since {
                if places.allSatisfy(block.bits.contains) { add(block.low, block.high) }
            }
            if !state.isComplete, state.bottom > .min { add(.min, state.bottom - 1) }
            return ranges
        }
    }

    /// Blocks, and whether all decisions but the newest have one.
    var progress: (blocks: Int, isComplete: Bool) { state.withLockedValue { ($0.blocks.count, $0.isComplete) } }
}

extension TextMatch {
    /// The places of the text's bits; none for one that is too short.
    func places(_ field: DecisionIndex.Field, _ insert: (UInt16) -> Void) {
        octets.withUnsafeBytes { DecisionIndex.places($0, field, insert) }
    }
}
