import PosternControl

extension ReloadReport.Change {
    /// `greylist.delay: 3m → 5m`, and whether that waits for a restart.
    var words: String { "\(key): \(old ?? "nothing") → \(new ?? "nothing")\(needsRestart ? " (from the next start)" : "")".printable }
}

extension StatusReport.ConfigurationState {
    /// For `status`, below each other.
    var items: [(String, String)] {
        var items = [("configuration", "\(file ?? "built-in defaults"), read \(loadedAt.shortTime) UTC")]
        for change in changed.prefix(Self.mostChanges) { items.append(("", "then changed: \(change.words)")) }
        if changed.count > Self.mostChanges { items.append(("", "and \(changed.count - Self.mostChanges) more; see the log")) }
        if !needsRestart.isEmpty { items.append(("", "waits for a restart: \(needsRestart.joined(separator: ", "))")) }
        if let failure, let failedAt {
            items.append(("", "could NOT be read again at \(failedAt.shortTime) UTC: \(failure.split(separator: "\n").first ?? "")"))
        }
        return items
    }

    private static let mostChanges = 10
}
