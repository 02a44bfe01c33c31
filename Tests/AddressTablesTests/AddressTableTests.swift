import PosternCore
import Testing

@testable import AddressTables

/// Tables against a plain list of prefixes that is searched from front to back.
struct AddressTableTests {
    private struct Model {
        var entries: [(Prefix, UInt16, UInt32)] = []

        func listing(_ address: IPAddress, _ now: UInt32) -> AddressListing? {
            var latest: [Prefix: (UInt16, UInt32)] = [:]
            for (prefix, mark, end) in entries { latest[prefix] = (mark, end) }
            return latest.filter { $0.key.contains(address) && ($0.value.1 == 0 || now < $0.value.1) }
                .max { $0.key.length < $1.key.length }
                .map { AddressListing(mark: $0.value.0, length: UInt8($0.key.length), expires: $0.value.1) }
        }

        func touches(_ prefix: Prefix) -> Bool {
            entries.contains {
                $0.0.contains(prefix.address) && $0.0.length <= prefix.length
                    || prefix.contains($0.0.address) && $0.0.length >= prefix.length
            }
        }
    }

    /// Numbers that any run has again.
    private struct Generator {
        var state: UInt64
        mutating func next(_ bound: UInt64) -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return (state >> 33) % bound
        }
    }

    private func address(_ random: inout Generator, _ family: IPAddress.Family) -> IPAddress {
        // Close together, so that they meet.
        family == .v4
            ? IPAddress(v4: UInt32(0xc000_0000 + (random.next(3) << 16) + random.next(300)))
            : IPAddress(v6High: 0x2001_0db8_0000_0000 + random.next(6), low: random.next(40) << (random.next(2) * 60))
    }

    @Test(arguments: [UInt64(1), 2, 3, 4, 5, 6])
    func likeAPlainList(seed: UInt64) {
        var random = Generator(state: seed)
        var model = Model()
        var builder = AddressTableBuilder()
        for number in 0..<(seed == 1 ? 3 : 800) {
            let family: IPAddress.Family = random.next(3) == 0 ? .v6 : .v4
            let length = random.next(2) == 0 ? family.bits : Int(random.next(UInt64(family.bits + 1)))
            let prefix = Prefix(address(&random, family), length: length)
            let end = random.next(3) == 0 ? UInt32(random.next(20)) : 0
            model.entries.append((prefix, UInt16(number), end))
            builder.add(prefix, mark: UInt16(number), expires: end)
        }
        let table = builder.table()
        for _ in 0..<3000 {
            let address = address(&random, random.next(3) == 0 ? .v6 : .v4)
            let now = UInt32(1 + random.next(25))
            #expect(table.listing(of: address, at: now) == model.listing(address, now), "\(address)")
        }
        for length in stride(from: 0, through: 28, by: 4) {
            let prefix = Prefix(address(&random, .v4), length: length)
            #expect(table.touches(v4: UInt32(prefix.address.low), length: UInt8(length)) == model.touches(prefix), "\(prefix)")
        }
        for length in stride(from: 0, through: 124, by: 4) {
            let prefix = Prefix(address(&random, .v6), length: length)
            let halves = (prefix.address.high, prefix.address.low)
            #expect(table.touches(v6High: halves.0, low: halves.1, length: UInt8(length)) == model.touches(prefix), "\(prefix)")
        }
        var seen: Set<Prefix> = []
        table.forEach { prefix, _ in #expect(seen.insert(prefix).inserted) }
        #expect(seen == Set(model.entries.map(\.0)) && table.count == seen.count)
    }

    @Test func aMillionAddresses() {
        var random = Generator(state: 7)
        var builder = AddressTableBuilder()
        builder.reserve(1_000_000)
        var some: [UInt32] = []
        for number in 0..<1_000_000 {
            let address = UInt32(truncatingIfNeeded: random.next(1 << 31) * 2)
            builder.add(v4: address, mark: 0)
            if number % 1000 == 0 { some.append(address) }
        }
        let table = builder.table()
        for address in some {
            #expect(table.listing(v4: address, at: 1) == AddressListing(mark: 0, length: 32, expires: 0))
            #expect(table.listing(v4: address + 1, at: 1) == nil)
        }
    }

    @Test func theEndsOfTheRange() {
        var builder = AddressTableBuilder()
        builder.add(v4: 0, mark: 1)
        builder.add(v4: .max, mark: 2)
        builder.add(Prefix(IPAddress(v6High: .max, low: .max), length: 128), mark: 3)
        builder.add(Prefix(IPAddress(v6High: 0, low: 0), length: 0), mark: 4)
        let table = builder.table()
        #expect(table.listing(v4: 0, at: 1)?.mark == 1 && table.listing(v4: .max, at: 1)?.mark == 2)
        #expect(table.listing(v4: 1, at: 1) == nil && table.listing(v4: .max - 1, at: 1) == nil)
        #expect(table.listing(v6High: .max, low: .max, at: 1)?.mark == 3 && table.listing(v6High: 5, low: 5, at: 1)?.mark == 4)
        #expect(AddressTable.empty.listing(v4: 5, at: 1) == nil && !AddressTable.empty.touches(v4: 0, length: 0))
    }

    @Test func changesOverALargeTable() {
        var random = Generator(state: 9)
        var table = ChangingAddressTable()
        var model: [Prefix: UInt16] = [:]
        for number in 0..<5000 {
            let prefix = Prefix(address(&random, .v4), length: random.next(4) == 0 ? 24 : 32)
            if random.next(3) == 0 {
                table.set(prefix, nil)
                model[prefix] = nil
            } else {
                table.set(prefix, .init(mark: UInt16(number), expires: 0))
                model[prefix] = UInt16(number)
            }
        }
        let layers = table.layers
        for prefix in Set(model.keys) {
            let found = layers.lazy.compactMap { $0.entry(prefix) }.first
            #expect(found?.mark == model[prefix], "\(prefix)")
        }
        table.removeExpired(at: 100)
        #expect(table.layers.count == 1 && table.layers[0].count == model.count)
    }
}
