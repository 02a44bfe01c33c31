import PosternCore

/// All that is kept of a client that is held: 64 octets.
struct TarpitEntry {
    /// How far the conversation is. It never gets beyond the reply to HELO.
    enum Stage: UInt8 {
        /// The greeting is being sent.
        case greeting
        /// It was greeted, and has not sent a whole line.
        case awaiting
        /// It is being sent a reply that has no end.
        case busy
        /// It was told to go, and is given a moment to do so.
        case leaving
    }

    /// What its first line was. The line itself is forgotten.
    enum Heard: UInt8 {
        case nothing
        case hello
        case quit
        case other
    }

    // The address, IPv4 as IPv4-mapped IPv6: 16 octets instead of the 24 of an `IPAddress`.
    private var high: UInt64
    private var low: UInt64
    var descriptor: Int32
    /// The tick at which it came.
    let connected: UInt32
    /// The tick at which it is looked at next.
    var due: UInt32
    /// The tick at which an unlisted client is let go.
    var heldUntil: UInt32
    /// Neighbours among those that are due at the same tick, and in a list of free places.
    var next: Int32
    var previous: Int32
    /// Neighbours in the order of coming.
    var older: Int32
    var younger: Int32
    /// The first octets of its first line.
    var verb: UInt32 = 0
    /// The next octet of the script to send.
    var position: UInt16 = 0
    /// Octets of its first line so far.
    var lineLength: UInt16 = 0
    var source: UInt16
    /// Tells this tenant of the place from the one before.
    var generation: UInt16
    var stage = Stage.greeting
    var heard = Heard.nothing
    /// Whether octets of it wait in the kernel.
    var hasInput = false

    init(_ address: IPAddress, descriptor: Int32, source: UInt16, generation: UInt16, connected: UInt32, heldUntil: UInt32) {
        (high, low) = address.mappedHalves
        self.descriptor = descriptor
        self.source = source
        self.generation = generation
        self.connected = connected
        self.heldUntil = heldUntil
        due = connected
        next = TarpitTable.none
        previous = TarpitTable.none
        older = TarpitTable.none
        younger = TarpitTable.none
    }

    var address: IPAddress { IPAddress(v6High: high, low: low) }

    /// Whether anybody lives here.
    var isTaken: Bool { descriptor >= 0 }

    mutating func vacate() {
        // What is left behind names nobody.
        high = 0
        low = 0
        verb = 0
        descriptor = -1
    }
}

extension UInt32 {
    /// Ticks from `earlier` to here. A tick is a point on a circle of 2.7 years, so this is right for spans below half of that.
    func ticks(since earlier: UInt32) -> Int32 { Int32(bitPattern: self &- earlier) }
}
