import GRDB
import PosternCore
import PosternEngine

// The admin's entries, releases and the clock's anchor: few, and seldom touched.

extension SQLiteStore {
    public func entries() async throws(StoreFailure) -> [ListEntry] {
        let path = opening.path
        return try await onReader { db in
            let rows = try Row.fetchCursor(db, sql: "SELECT \(Self.entryColumns) FROM entries ORDER BY list, kind, pattern")
            var entries: [ListEntry] = []
            while let row = try rows.next() { entries.append(try Self.entry(row, path)) }
            return entries
        }
    }

    public func entries(like entries: [ListEntry]) async throws(StoreFailure) -> [ListEntry] {
        let path = opening.path
        return try await onReader { db in
            let statement = try db.cachedStatement(
                sql: "SELECT \(Self.entryColumns) FROM entries WHERE list = ? AND kind = ? AND form = ? AND pattern = ?")
            return try entries.compactMap { entry in
                try Row.fetchOne(
                    statement, arguments: [entry.list.rawValue, entry.kind.rawValue, entry.pattern.form, entry.pattern.description]
                ).map { try Self.entry($0, path) }
            }
        }
    }

    private static let entryColumns = "list, kind, form, pattern, expires, note, added"

    private static func entry(_ row: Row, _ path: String) throws -> ListEntry {
        guard let list = ListEntry.List(rawValue: row[0]), let kind = ListEntry.Kind(rawValue: row[1]),
            let pattern = Pattern(form: row[2], text: row[3])
        else { throw StoreFailure(.corrupt, "the database \(path) holds an entry that cannot be read: \(row)") }
        return ListEntry(
            list, kind, pattern, expires: (row[4] as Int64?).map(WallTime.init(milliseconds:)), note: row[5],
            added: WallTime(milliseconds: row[6]))
    }

    public func insert(_ entries: [ListEntry]) async throws(StoreFailure) {
        try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { db in
                let statement = try db.cachedStatement(sql: "REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)")
                for entry in entries {
                    try Self.removeUnicodeSpellings(of: entry.pattern, entry.list, entry.kind, db)
                    try statement.execute(
                        arguments: [
                            entry.list.rawValue, entry.kind.rawValue, entry.pattern.form, entry.pattern.description,
                            entry.expires?.milliseconds, entry.note, entry.added.milliseconds,
                        ])
                }
            }
        }
    }

    public func remove(_ list: ListEntry.List, _ kind: ListEntry.Kind, _ pattern: Pattern) async throws(StoreFailure) -> Bool {
        try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { db in
                try db.execute(
                    sql: "DELETE FROM entries WHERE list = ? AND kind = ? AND form = ? AND pattern = ?",
                    arguments: [list.rawValue, kind.rawValue, pattern.form, pattern.description])
                let isRemoved = db.changesCount > 0
                return try Self.removeUnicodeSpellings(of: pattern, list, kind, db) || isRemoved
            }
        }
    }

    /// An older program kept domains as they were written; when read they are those with A-labels, whatever the table says.
    @discardableResult
    private static func removeUnicodeSpellings(
        of pattern: Pattern, _ list: ListEntry.List, _ kind: ListEntry.Kind, _ db: Database
    ) throws -> Bool {
        guard pattern.description.contains("xn--") else { return false }
        let same = "list = ? AND kind = ? AND form = ? AND pattern"
        let key: StatementArguments = [list.rawValue, kind.rawValue, pattern.form]
        let others = try String.fetchAll(db, sql: "SELECT pattern FROM entries WHERE \(same) GLOB '*[^ -~]*'", arguments: key)
            .filter { Pattern(form: pattern.form, text: $0) == pattern }
        for text in others { try db.execute(sql: "DELETE FROM entries WHERE \(same) = ?", arguments: key + [text]) }
        return !others.isEmpty
    }

    public func releases() async throws(StoreFailure) -> [Release] {
        let path = opening.path
        return try await onReader { db in
            try Row.fetchAll(db, sql: "SELECT recipient, sender, client, expires FROM releases ORDER BY expires, recipient").map { row in
                let client: String? = row["client"]
                let prefix = client.flatMap { Prefix($0) }
                guard (client == nil) == (prefix == nil) else {
                    throw StoreFailure(.corrupt, "the database \(path) holds a release that cannot be read: \(row)")
                }
                return Release(
                    recipient: row["recipient"], sender: row["sender"], client: prefix, expires: WallTime(milliseconds: row["expires"]))
            }
        }
    }

    public func insert(_ release: Release) async throws(StoreFailure) {
        try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { db in
                let key: StatementArguments = [release.recipient, release.sender, release.client?.description]
                try db.execute(sql: "DELETE FROM releases WHERE recipient = ? AND sender IS ? AND client IS ?", arguments: key)
                try db.execute(
                    sql: "INSERT INTO releases(recipient, sender, client, expires) VALUES (?, ?, ?, ?)",
                    arguments: key + [release.expires.milliseconds])
            }
        }
    }

    public func anchor() async throws(StoreFailure) -> SteadyClock.Anchor? {
        try await onReader { db in
            try Row.fetchOne(db, sql: "SELECT wall, monotonic, steady, boot FROM clock").map { row in
                SteadyClock.Anchor(
                    wall: WallTime(milliseconds: row["wall"]), monotonic: .milliseconds(row["monotonic"]),
                    steady: WallTime(milliseconds: row["steady"]), boot: row["boot"])
            }
        }
    }

    public func keep(_ anchor: SteadyClock.Anchor) async throws(StoreFailure) {
        try await onWriter { hot throws(StoreFailure) in
            try hot.seldom { db in
                try db.execute(
                    sql: "REPLACE INTO clock VALUES (1, ?, ?, ?, ?)",
                    arguments: [anchor.wall.milliseconds, anchor.monotonic.milliseconds, anchor.steady.milliseconds, anchor.boot])
            }
        }
    }
}

extension Pattern {
    /// Which case it is: `text` alone would be read by the rules for what people type.
    var form: String {
        switch self {
        case .prefix: "prefix"
        case .domain: "domain"
        case .mailbox: "mailbox"
        case .localPart: "local-part"
        }
    }

    init?(form: String, text: String) {
        switch form {
        case "prefix":
            guard let prefix = Prefix(text) else { return nil }
            self = .prefix(prefix)
        case "domain":
            guard let name = DomainName(text) else { return nil }
            self = .domain(name)
        case "mailbox": self = .mailbox(text.foldedMailbox)
        case "local-part": self = .localPart(text)
        default: return nil
        }
    }
}
