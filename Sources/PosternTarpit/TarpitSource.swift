import PosternCore

/// Where clients come from: a listener, or a gateway that hands them over.
final class TarpitSource {
    let name: String
    /// -1 where nothing is listened on, or no more.
    var listener: Int32
    var settings: TarpitSettings
    var script: TarpitScript
    var pace: UInt32
    var greetingPace: UInt32
    var hold: UInt32
    /// The tick until which nothing is accepted, since there were no descriptors.
    var pausedUntil: UInt32?
    /// Called when the last client has gone.
    var whenEmpty: (@Sendable () -> Void)?

    // The clients it holds, in the order of coming.
    var oldest = TarpitTable.none
    var youngest = TarpitTable.none
    var count = 0

    /// The ticks at which those that are held came, added up: how long all of them have been held is known without a look
    /// at each.
    private var arrivals: UInt64 = 0
    private var ticksHeld: UInt64 = 0
    private var counted = TarpitTotals()

    init(name: String, listener: Int32?, settings: TarpitSettings, script: TarpitScript) {
        self.name = name
        self.listener = listener ?? -1
        self.settings = settings
        self.script = script
        pace = 1
        greetingPace = 1
        hold = 1
        adopt(settings)
    }

    func adopt(_ settings: TarpitSettings) {
        self.settings = settings
        pace = TarpitClock.ticks(settings.pace)
        greetingPace = TarpitClock.ticks(settings.greetingPace)
        hold = TarpitClock.ticks(settings.hold)
    }

    // MARK: - Counting

    /// `tick` is not wound, so that sums of it are right for as long as the process runs.
    func arrived(at tick: UInt64) {
        count += 1
        counted.heldEver += 1
        arrivals &+= tick
    }

    func departed(after ticks: UInt64, at tick: UInt64) {
        count -= 1
        arrivals &-= tick &- ticks
        ticksHeld += ticks
    }

    func sentOctets(_ number: Int) { counted.octetsSent += UInt64(number) }
    func shedOne() { counted.shed += 1 }
    func letOneGo() { counted.letGo += 1 }
    func ranOutOfDescriptors() { counted.outOfDescriptors += 1 }

    func totals(at tick: UInt64) -> TarpitTotals {
        var totals = counted
        totals.heldNow = count
        totals.millisecondsHeld = (ticksHeld + (UInt64(count) &* tick &- arrivals)) * UInt64(TarpitClock.tickMilliseconds)
        return totals
    }
}

// MARK: - The order of coming

extension TarpitTable {
    /// The youngest of its source.
    mutating func enlist(_ index: Int32, in source: TarpitSource) {
        self[index].older = source.youngest
        self[index].younger = Self.none
        if source.youngest == Self.none { source.oldest = index } else { self[source.youngest].younger = index }
        source.youngest = index
    }

    mutating func delist(_ index: Int32, from source: TarpitSource) {
        let (older, younger) = (self[index].older, self[index].younger)
        if older == Self.none { source.oldest = younger } else { self[older].younger = younger }
        if younger == Self.none { source.youngest = older } else { self[younger].older = older }
    }
}
