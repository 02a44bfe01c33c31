import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// What the decisions on disk may hold, in memory: so that a search reads only those that may match.
///
/// Decisions lie in the order of their references. Each block of some hundred neighbours has a set of bits: four octets in
/// a row of a text set one of them. A search for a text of four octets or more leaves out every block that lacks one of the
/// text's bits. A block takes 8 KiB, sixteen octets a decision.
///
/// The writer fills a block with what it is about to write; what was there before it began is read beside it, from the newest
/// to the oldest (`SQLiteStore.indexStep`). What has no block is always read. A decision that comes late, with a reference below
/// what has a block, is noted by the writer before it is committed. Bits of what is not committed in the end do no harm.
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

        mutating func insert(_ text: UnsafeRawBufferPointer, _ field: Field) {
            words.withUnsafeMutableBufferPointer { words in
                DecisionIndex.places(text, field) { words[Int($0 >> 6)] |= 1 &<< UInt64($0) }
            }
        }

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

        /// Sets the bits of a decision.
        mutating func insert(_ decision: PackedDecision) {
            newest = max(newest, decision.time)
            var texts = decision.texts
            bits.insert(DecisionIndex.place(ofWord: texts.next(), .action))
            bits.insert(texts.next(), .address)
            bits.insert(texts.next(), .sender)
            bits.insert(texts.next(), .recipient)
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

    // MARK: - Places of bits

    /// Inlined, since it is done for every octet of every decision.
    @inline(__always)
    static func places(_ text: UnsafeRawBufferPointer, _ field: Field, _ insert: (UInt16) -> Void) {
        guard text.count >= gram else { return }
        func folded(_ index: Int) -> UInt32 {
            let octet = text[index]
            return UInt32(octet &- UInt8(ascii: "A") < 26 ? octet | 0x20 : octet)
        }
        var window = folded(0) << 16 | folded(1) << 8 | folded(2)
        for index in (gram - 1)..<text.count {
            window = window << 8 | folded(index)
            insert(place(UInt64(window), field))
        }
    }

    /// Whole words that are compared as a whole.
    static func place(ofWord word: some Sequence<UInt8>, _ field: Field) -> UInt16 {
        place(word.reduce(0) { ($0 << 5) ^ ($0 >> 3) ^ UInt64($1) }, field)
    }

    /// The upper bits of a product with 2⁶⁴ divided by the golden ratio, which hang on all bits of the value.
    @inline(__always)
    private static func place(_ value: UInt64, _ field: Field) -> UInt16 {
        UInt16(truncatingIfNeeded: ((value | field.rawValue << 32) &* 0x9e37_79b9_7f4a_7c15) >> 48)
    }

    // MARK: - Called by the writer

    /// Forgets everything, at a start, and where another process has written; `highest` is the highest reference that is written, `.min`
    /// where there is none. Returns where the blocks of what is written from now on begin.
    func start(highest: Int64) -> Int64 {
        // Of the last reference that there can be nothing is above.
        let top = min(highest, .max - 1)
        state.withLockedValue { state in
            let generation = state.generation
            state = State()
            state.generation = generation + 1
            guard top > .min else {
                state.isComplete = true
                state.bottom = .min
                return
            }
            state.top = top
            state.bottom = top + 1
        }
        return top > .min ? top + 1 : .min
    }

    /// Takes in a block of what is written, which follows the last without a gap.
    func append(_ block: Block) {
        state.withLockedValue { state in
            state.blocks.append(block)
            state.top = block.high
        }
    }

    /// Notes a decision that is about to be written, and has a reference below what `append` will take in next.
    func note(late decision: PackedDecision) {
        var places: [UInt16] = []
        var texts = decision.texts
        places.append(Self.place(ofWord: texts.next(), .action))
        for field in [Field.address, .sender, .recipient] { Self.places(texts.next(), field) { places.append($0) } }
        let late = Late(reference: decision.reference, time: decision.time, places: places)
        state.withLockedValue { state in
            Self.note(late, in: &state.blocks)
            guard state.isBuilding else { return }
            if state.late.count < Self.maximumLate { state.late.append(late) } else { state.hasTooManyLate = true }
        }
    }

    /// Of what was written up to a reference all is thrown away.
    func pruned(through reference: Int64) {
        state.withLockedValue { state in
            guard state.isComplete, !state.isBuilding else { return }
            let gone = state.blocks.prefix { $0.high <= reference }.count
            // The last stays, so that it is known how far blocks reach.
            state.blocks.removeFirst(min(gone, max(state.blocks.count - 1, 0)))
            // The lowest stands for all that may still come below it.
            if !state.blocks.isEmpty { state.blocks[0].low = .min }
        }
    }

    private static func note(_ late: Late, in blocks: inout [Block]) {
        let index = blocks.firstIndex(from: late.reference, by: \.high)
        guard index < blocks.count, blocks[index].low <= late.reference else { return }
        blocks[index].newest = max(blocks[index].newest, late.time)
        for place in late.places { blocks[index].bits.insert(place) }
    }

    // MARK: - Making blocks of what was there

    /// Where the next blocks are to be made.
    struct Work: Sendable {
        fileprivate var generation: Int
        /// Of the decisions below it, the highest first.
        var below: Int64
    }

    /// Whether `begin` would find something to do.
    var isWanting: Bool { state.withLockedValue { !$0.isComplete && !$0.isBuilding } }

    /// Begins to make blocks; on the writer's thread, between two transactions, so that whatever comes later knows that it is late.
    /// `nil` where somebody else is at it, or nothing is left.
    func begin() -> Work? {
        state.withLockedValue { state in
            guard !state.isBuilding, !state.isComplete else { return nil }
            state.isBuilding = true
            state.late = []
            state.hasTooManyLate = false
            return Work(generation: state.generation, below: state.bottom)
        }
    }

    /// Takes in what was made, the highest first. `isComplete` where nothing lies below.
    func finish(_ work: Work, _ made: [Block], isComplete: Bool) {
        state.withLockedValue { state in
            // Whoever began after everything was forgotten is at it still.
            guard state.generation == work.generation else { return }
            state.isBuilding = false
            let late = state.late
            state.late = []
            guard !state.hasTooManyLate else { return }
            var made = Array(made.reversed())
            for late in late { Self.note(late, in: &made) }
            state.blocks.insert(contentsOf: made, at: 0)
            if let first = made.first { state.bottom = first.low }
            state.isComplete = isComplete
        }
    }

    func abandon(_ work: Work) {
        state.withLockedValue { if $0.generation == work.generation { $0.isBuilding = false } }
    }

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
