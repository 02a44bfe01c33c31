import PosternCore
import PosternEngine
import PosternStorage
import Testing

/// What every store keeps of the harvest.
@Suite(.timeLimit(.minutes(10)))
struct HarvestConformanceTests {
    private func prefix(_ text: String) -> Prefix { Prefix(text)! }

    private func image(_ store: any Store) async throws -> HarvestImage {
        var image = try await store.harvest()
        image.entries.sort { $0.prefix.description < $1.prefix.description }
        image.sightings.sort { $0.prefix.description < $1.prefix.description }
        image.removals.sort { $0.prefix.description < $1.prefix.description }
        return image
    }

    /// Two of each, with all there is in them.
    private var full: HarvestImage {
        var image = HarvestImage()
        image.entries = [
            HarvestEntry(
                prefix: prefix("192.0.2.1"), colour: .black, reason: "a reason; it's \"so\"", listeners: ["mx", "spare.1"], evidence: 7,
                added: noon, expires: noon + .days(4)),
            HarvestEntry(prefix: prefix("2001:db8::/64"), colour: .white, reason: "", added: noon, expires: noon),
        ]
        var sighting = HarvestSighting(
            prefix: prefix("192.0.2.2"), listeners: ["spare", "mx", "spare"], lastVisit: noon, expires: noon + .days(8))
        sighting.domains = ["example.org", "example.net"]
        sighting.visits = 3
        sighting.hangUps = 2
        sighting.lastHangUp = noon - .hours(3)
        sighting.triedPrimary = true
        image.sightings = [sighting, HarvestSighting(prefix: prefix("2001:db8::/64"), lastVisit: noon, expires: noon)]
        image.removals = [
            HarvestRemoval(prefix: prefix("192.0.2.3"), keptOffUntil: noon + .days(30), bySelf: false, expires: noon + .days(31)),
            HarvestRemoval(prefix: prefix("2001:db8::/64"), keptOffUntil: nil, bySelf: true, expires: noon + .days(365)),
        ]
        image.touches = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 * 31) }
        image.isComplete = true
        return image
    }

    private func changes(to image: HarvestImage) -> HarvestChanges {
        var changes = HarvestChanges()
        for entry in image.entries { changes.entries[entry.prefix] = entry }
        for sighting in image.sightings { changes.sightings[sighting.prefix] = sighting }
        for removal in image.removals { changes.removals[removal.prefix] = removal }
        changes.touches = image.touches
        changes.isComplete = image.isComplete
        return changes
    }

    @Test(arguments: StoreKind.allCases)
    func `The harvest comes back as it was kept`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            #expect(try await store.harvest() == HarvestImage())
            try await store.keep(changes(to: full))
            #expect(try await image(store) == full)
            // Nothing changes nothing.
            try await store.keep(HarvestChanges())
            #expect(try await image(store) == full)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Rows of the harvest are replaced and removed by their prefix`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            try await store.keep(changes(to: full))
            var later = full
            later.entries[0].colour = .yellow
            later.entries[0].evidence = 8
            later.entries.remove(at: 1)
            later.sightings.remove(at: 0)
            later.removals = []
            var changes = HarvestChanges()
            changes.entries[prefix("192.0.2.1")] = later.entries[0]
            changes.entries[prefix("2001:db8::/64")] = .some(nil)
            changes.sightings[prefix("192.0.2.2")] = .some(nil)
            changes.sightings[prefix("192.0.2.99")] = .some(nil)
            changes.removals[prefix("192.0.2.3")] = .some(nil)
            changes.removals[prefix("2001:db8::/64")] = .some(nil)
            changes.isComplete = false
            later.isComplete = false
            try await store.keep(changes)
            #expect(try await image(store) == later)
        }
    }

    @Test(arguments: StoreKind.durable)
    func `The harvest outlives the process`(kind: StoreKind) async throws {
        let folder = try Folder()
        let store = try kind.open(in: folder)
        try await store.keep(changes(to: full))
        await store.close()
        let again = try kind.open(in: folder)
        #expect(try await image(again) == full)
        await again.close()
    }
}
