/// Finds the word that somebody probably meant.
enum Suggestion {
    /// The candidate that the fewest slips of the pen lead to `word` from, when they are few enough for its length.
    static func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
        let folded = word.lowercased().replacing("-", with: "_")
        var best: (candidate: String, distance: Int)?
        for candidate in candidates.sorted() {
            let distance = distance(Array(folded.utf8), Array(candidate.replacing("-", with: "_").utf8))
            if distance < best?.distance ?? Int.max { best = (candidate, distance) }
        }
        guard let best, best.distance <= max(1, min(word.utf8.count, best.candidate.utf8.count) / 3) else { return nil }
        return best.candidate
    }

    /// The words for a message: `; did you mean 'greylist'?`, or nothing.
    static func words(for word: String, among candidates: some Sequence<String>) -> String {
        nearest(to: word, among: candidates).map { "; did you mean '\($0)'?" } ?? ""
    }

    /// Insertions, deletions, replacements and swaps of neighbours between two words (optimal string alignment).
    /// Words longer than `longest` are infinitely far apart.
    static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        guard a.count <= longest, b.count <= longest else { return Int.max }
        var beforeLast: [Int] = []
        var last = Array(0...b.count)
        for i in a.indices {
            var row = [i + 1]
            for j in b.indices {
                var cost = min(row[j] + 1, last[j + 1] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, beforeLast[j - 1] + 1) }
                row.append(cost)
            }
            beforeLast = last
            last = row
        }
        return last[b.count]
    }

    static let longest = 64
}
