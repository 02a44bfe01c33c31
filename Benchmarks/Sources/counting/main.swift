import Counting
import Glibc
import PosternCore

// What counting costs: nanoseconds an attempt, and octets an address. Addresses stand 60 to a /24.

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
            table.counts(key, at: now) { column, count in if count + 1 > Double(columns[column].limit) { refused += 1 } }
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

measure("one unit and window", [CountColumn(.attempts, per: .hours(1), limit: 240)])
measure(
    "three windows",
    [
        CountColumn(.attempts, per: .minutes(1), limit: 60), CountColumn(.attempts, per: .hours(1), limit: 240),
        CountColumn(.attempts, per: .days(1), limit: 1000),
    ])
measure("near their limit, followed step by step", [CountColumn(.attempts, per: .hours(1), limit: 240)], hot: true)
