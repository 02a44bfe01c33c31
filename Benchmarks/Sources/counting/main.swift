import Counting
import Glibc
import PosternCore
import PosternEngine

// What counting costs: nanoseconds an attempt, and octets an address. Addresses stand 60 to a /24, and attempts come from
// any of them, so that hardly one finds its row in a cache.

let blocks = 17_000
let perBlock = 60
let attempts = 10_000_000

func address(_ index: Int) -> IPAddress {
    IPAddress(v4: 0x0a00_0000 &+ UInt32(truncatingIfNeeded: index / perBlock) << 8 | UInt32(truncatingIfNeeded: index % perBlock * 4))
}

/// xorshift64*.
struct Random {
    var state: UInt64 = 0x9e37_79b9_7f4a_7c15
    mutating func below(_ bound: Int) -> Int {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return Int(truncatingIfNeeded: (state &* 0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

func resident() -> Int {
    var pages = 0
    if let file = fopen("/proc/self/statm", "r") {
        var size = 0
        _ = withUnsafeMutablePointer(to: &size) { a in
            withUnsafeMutablePointer(to: &pages) { b in withVaList([a, b]) { vfscanf(file, "%ld %ld", $0) } }
        }
        fclose(file)
    }
    return pages * 4096
}

func measure(_ name: String, _ columns: [CountColumn], hot: Bool = false) {
    var settings = CountTable.Settings(seed: 0x5eed)
    settings.maximumBytes = 1 << 30
    let before = resident()
    var table = CountTable(columns: columns, settings: settings)
    var random = Random()
    let start = WallTime(seconds: 1_795_132_800)
    let addresses = hot ? 1000 : blocks * perBlock
    for index in 0..<addresses { table.charge(CountKey(address(index)), .attempts, at: start) }
    let memory = resident() - before
    let clock = ContinuousClock()
    var refused = 0
    let took = clock.measure {
        for attempt in 0..<attempts {
            // An hour in all.
            let now = start + .milliseconds(Int64(attempt) * 3_600_000 / Int64(attempts))
            let key = CountKey(address(random.below(addresses)))
            var values = CountValues()
            table.counts(key, at: now, into: &values)
            if values[0] + 1 > Double(columns[0].limit) { refused += 1 }
            table.charge(key, .attempts, at: now)
        }
    }
    let nanoseconds = Double(took.components.seconds) * 1e9 + Double(took.components.attoseconds) / 1e9
    func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }
    print(
        "\(name): \(rounded(nanoseconds / Double(attempts))) ns an attempt (looked at and charged), \(addresses) addresses, "
            + "\(rounded(Double(table.bytes) / Double(addresses))) octets an address (resident \(rounded(Double(memory) / Double(addresses)))), "
            + "\(table.followed) followed, \(refused) over a limit")
}

/// As the gateway asks: what all default limits mean for a stranger's recipient, then the charge for it. The clock goes on by so
/// much for each attempt, so that strangers are `perHour` or less.
func measureLimits(_ name: String, blocks: Int, hours: Double) {
    var settings = ThrottleSettings()
    settings.mode = .on
    settings.memory = 1 << 30
    var limits = LimitCounts(throttle: settings, accounts: AccountSettings(), seed: (5, 6))
    var random = Random()
    let start = WallTime(seconds: 1_795_132_800)
    let addresses = blocks * perBlock
    for index in 0..<addresses { _ = limits.attempted(LimitSubject(address: address(index)), recipientDomain: "example.org", at: start) }
    let request = LimitRequest()
    let clock = ContinuousClock()
    var past = 0
    let took = clock.measure {
        for attempt in 0..<attempts {
            let now = start + .milliseconds(Int64(Double(attempt) * hours * 3_600_000 / Double(attempts)))
            let subject = LimitSubject(address: address(random.below(addresses)))
            if limits.assess(subject, request, at: now) != nil { past += 1 }
            _ = limits.attempted(subject, recipientDomain: "example.org", at: now)
        }
    }
    let nanoseconds = Double(took.components.seconds) * 1e9 + Double(took.components.attoseconds) / 1e9
    func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }
    let (rows, _, bytes) = limits.statistics
    print(
        "\(name): \(rounded(nanoseconds / Double(attempts))) ns an attempt (asked about and charged), \(addresses) addresses in \(rows) rows, "
            + "\(rounded(Double(bytes) / Double(addresses))) octets an address, \(past) past a limit")
}

measure("one unit and window", [CountColumn(.attempts, per: .hours(1), limit: 240)])
measure(
    "three windows",
    [
        CountColumn(.attempts, per: .minutes(1), limit: 60), CountColumn(.attempts, per: .hours(1), limit: 240),
        CountColumn(.attempts, per: .days(1), limit: 1000),
    ])
measure("near their limit, followed step by step", [CountColumn(.attempts, per: .hours(1), limit: 240)], hot: true)
measureLimits("all default limits", blocks: blocks, hours: 24)
measureLimits("all default limits, a busy hour's strangers", blocks: 500, hours: 240)
