import Foundation
import GRDB
import PosternCore
import PosternEngine

// What traps have learnt: read at a start, written behind what is in memory.

extension SQLiteStore {
    public func harvest() async throws(StoreFailure) -> HarvestImage {
        let path = opening.path
        return try await onReader { db in
            var image = HarvestImage()
            image.entries = try Row.fetchAll(db, sql: "SELECT * FROM harvest_entries").map { row in
                guard let colour = ListColour(rawValue: row["colour"]) else { throw Self.unreadable(row, path) }
                return HarvestEntry(
                    prefix: try Self.prefix(row, path), colour: colour, reason: row["reason"], listeners: Self.names(row["listeners"]),
                    evidence: row["evidence"], added: WallTime(milliseconds: row["added"]), expires: WallTime(milliseconds: row["expires"]))
            }
            image.sightings = try Row.fetchAll(db, sql: "SELECT * FROM harvest_sightings").map { row in
                var sighting = HarvestSighting(
                    prefix: try Self.prefix(row, path), listeners: Self.names(row["listeners"]),
                    lastVisit: WallTime(milliseconds: row["last_visit"]), expires: WallTime(milliseconds: row["expires"]))
                sighting.domains = Self.names(row["domains"])
                sighting.visits = row["visits"]
                sighting.hangUps = row["hang_ups"]
                sighting.lastHangUp = (row["last_hang_up"] as Int64?).map(WallTime.init(milliseconds:))
                sighting.triedPrimary = row["tried_primary"]
                return sighting
            }
            image.removals = try Row.fetchAll(db, sql: "SELECT * FROM harvest_removals").map { row in
                HarvestRemoval(
                    prefix: try Self.prefix(row, path), keptOffUntil: (row["kept_off_until"] as Int64?).map(WallTime.init(milliseconds:)),
                    bySelf: row["by_self"], expires: WallTime(milliseconds: row["expires"]))
            }
            if let row = try Row.fetchOne(db, sql: "SELECT touches, is_complete FROM harvest_memory") {
                image.touches = (row["touches"] as Data?).map { Array($0) }
                image.isComplete = row["is_complete"]
            }
            return image
        }
    }

    public func keep(_ changes: HarvestChanges) async throws(StoreFailure) {
        try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { db in
                for (prefix, entry) in changes.entries {
                    try Self.put(
                        db, "harvest_entries", prefix,
                        entry.map { entry in
                            [
                                entry.colour.rawValue, entry.reason, entry.listeners.joined(separator: " "), entry.evidence,
                                entry.added.milliseconds, entry.expires.milliseconds,
                            ]
                        })
                }
                for (prefix, sighting) in changes.sightings {
                    try Self.put(
                        db, "harvest_sightings", prefix,
                        sighting.map { sighting in
                            [
                                sighting.listeners.joined(separator: " "), sighting.domains.joined(separator: " "), sighting.visits,
                                sighting.lastVisit.milliseconds, sighting.hangUps, sighting.lastHangUp?.milliseconds,
                                sighting.triedPrimary, sighting.expires.milliseconds,
                            ]
                        })
                }
                for (prefix, removal) in changes.removals {
                    try Self.put(
                        db, "harvest_removals", prefix,
                        removal.map { [$0.keptOffUntil?.milliseconds, $0.bySelf, $0.expires.milliseconds] })
                }
                if let touches = changes.touches {
                    try db.execute(sql: "UPDATE harvest_memory SET touches = ?", arguments: [Data(touches)])
                }
                if let isComplete = changes.isComplete {
                    try db.execute(sql: "UPDATE harvest_memory SET is_complete = ?", arguments: [isComplete])
                }
            }
        }
    }

    /// Writes the row of a prefix anew, with these columns behind it; without any it is taken out.
    private static func put(_ db: Database, _ table: String, _ prefix: Prefix, _ columns: [(any DatabaseValueConvertible)?]?) throws {
        guard let columns else {
            return try db.execute(sql: "DELETE FROM \(table) WHERE prefix = ?", arguments: [prefix.description])
        }
        let marks = String(repeating: ", ?", count: columns.count)
        try db.execute(
            sql: "REPLACE INTO \(table) VALUES (?\(marks))", arguments: StatementArguments([prefix.description] + columns))
    }

    private static func names(_ text: String) -> [String] { text.split(separator: " ").map(String.init) }

    private static func prefix(_ row: Row, _ path: String) throws -> Prefix {
        guard let prefix = Prefix(row["prefix"] as String) else { throw unreadable(row, path) }
        return prefix
    }

    private static func unreadable(_ row: Row, _ path: String) -> StoreFailure {
        StoreFailure(.corrupt, "the database \(path) holds a row of the harvest that cannot be read: \(row)")
    }
}
