import PosternCore
import PosternEngine

// Reads `harvest:`.

extension ConfigurationLoader {
    func readHarvest(_ section: Mapping) {
        let span = WallTime.Span.milliseconds(1) ... .longestSetting
        var harvest = configuration.harvest
        if let mode = section.take("mode")?.mode() { harvest.mode = mode }
        if let lifetime = section.take("lifetime")?.duration(span) { harvest.lifetime = lifetime }
        if let quiet = section.take("quiet")?.duration(.zero ... .days(1)) { harvest.quiet = quiet }
        let settleValue = section.take("settle")
        if let settle = settleValue?.duration(.milliseconds(1) ... .days(1)) { harvest.settle = settle }
        let apartValue = section.take("apart")
        if let apart = apartValue?.duration(span) { harvest.apart = apart }
        let memoryValue = section.take("memory")
        if let memory = memoryValue?.duration(span) { harvest.memory = memory }
        if let keepOff = section.take("keep_off")?.duration(span) { harvest.keepOff = keepOff }
        if let number = section.take("foreign_domains")?.integer(2...FakeMXVisit.maximumDomains) { harvest.foreignDomains = number }
        if let number = section.take("white_after")?.integer(0...1_000_000) { harvest.whiteAfter = number }
        if let number = section.take("capacity")?.integer(1...10_000_000) { harvest.capacity = number }
        if let number = section.take("self_removals")?.integer(0...100_000) { harvest.selfRemovalsPerHour = number }
        section.finish()
        // Who tried the primary between two visits must not be forgotten.
        if harvest.memory < harvest.apart + harvest.settle {
            (memoryValue ?? apartValue ?? settleValue)?.conflict(
                "harvest.memory is \(harvest.memory), harvest.apart \(harvest.apart) and harvest.settle \(harvest.settle): the memory must last for both others together"
            )
        }
        configuration.harvest = harvest
    }
}

extension Configuration {
    /// The value of a key below `harvest`, as it is written.
    func harvestYAML(_ name: String) -> String? {
        switch name {
        case "mode": harvest.mode.rawValue
        case "lifetime": harvest.lifetime.description
        case "quiet": harvest.quiet.description
        case "settle": harvest.settle.description
        case "apart": harvest.apart.description
        case "memory": harvest.memory.description
        case "keep_off": harvest.keepOff.description
        case "foreign_domains": String(harvest.foreignDomains)
        case "white_after": String(harvest.whiteAfter)
        case "capacity": String(harvest.capacity)
        case "self_removals": String(harvest.selfRemovalsPerHour)
        default: nil
        }
    }
}

extension Parameter {
    static let harvest: [Parameter] = [
        .init(
            "harvest.mode", "on | shadow | off", "on",
            "Whether traps put clients on lists. `shadow` finds and shows entries, but neither publishes nor scores them."),
        .init("harvest.lifetime", "duration", "4d", "How long an entry stays after the last evidence for it."),
        .init(
            "harvest.quiet", "duration", "15m",
            "Nothing is harvested at a fake MX for so long after a start, or after the primary was out. At most 1d."),
        .init(
            "harvest.settle", "duration", "15m",
            "How long a client that came to a fake MX may still try the primary, and how near its visit the primary must have shown that it lives. At most 1d."
        ),
        .init("harvest.apart", "duration", "20h", "How far apart two visits must be to count as made on different days."),
        .init(
            "harvest.memory", "duration", "8d", "For how long at least it is remembered who tried the primary and who came to a fake MX."),
        .init("harvest.keep_off", "duration", "30d", "For how long an address that `postern block remove` took off does not come back."),
        .init(
            "harvest.foreign_domains", "number", "3",
            "Domains that are not in `domains`, of which a client must hang up on a fake MX before it is suspected. 2 to 8."),
        .init(
            "harvest.white_after", "number", "50",
            "Messages of an address that must have passed, and been taken, before it is published as white; 0 for never."),
        .init("harvest.capacity", "number", "250000", "Entries at most. 1 to 10000000."),
        .init("harvest.self_removals", "number", "60", "Self-removals an hour, of all together; 0 for none."),
    ]
}
