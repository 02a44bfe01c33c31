import PosternCore
import PosternEngine

/// A line of OpenBSD spamd's database, as spamdb(8) prints it.
public enum SpamdDump {
    public enum Line: Equatable, Sendable {
        case nothing
        /// Waits for its retry.
        case triplet(Lessons.Triplet)
        /// Passed there: known.
        case client(Lessons.Client)
        /// Wrote to a trap there, and is blocked for as long as it was; or a mailbox that is a trap.
        case entry(EntryDraft)
        /// What it was is over.
        case expired
        case unreadable(String)
    }

    /// - Parameters:
    ///   - now: Unix seconds.
    ///   - provenAfter: messages that make a client proven: what spamd lets pass is to pass here.
    public static func read(_ line: Substring, now: Int64, provenAfter: UInt32) -> Line {
        guard line.contains(where: { !$0.isWhitespace }), line.first != "#" else { return .nothing }
        let fields = line.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
        func time(_ index: Int) -> Int64? { index < fields.count ? Int64(fields[index]) : nil }
        switch fields[0] {
        case "WHITE":
            // WHITE|address|||first|pass|expire|block|pass
            guard fields.count >= 9, IPAddress(fields[1]) != nil, let first = time(4), let expires = time(6), let passes = time(8) else {
                return .unreadable("a WHITE line has an address, three times and two counts")
            }
            guard expires > now else { return .expired }
            let counted = UInt32(clamping: max(passes, Int64(max(provenAfter, 1))))
            return .client(Lessons.Client(address: fields[1], passes: counted, lastSeen: min(max(first, now - 86_400), now)))
        case "GREY":
            // GREY|address|HELO|from|to|first|pass|expire|block|pass
            guard fields.count >= 10, IPAddress(fields[1]) != nil, let first = time(5), let expires = time(7) else {
                return .unreadable("a GREY line has an address, a HELO name, a sender, a recipient and three times")
            }
            guard expires > now else { return .expired }
            return .triplet(
                Lessons.Triplet(
                    address: fields[1], sender: bare(fields[3]), recipient: bare(fields[4]), firstSeen: first, lastSeen: first,
                    passed: false))
        case "TRAPPED":
            guard fields.count >= 3, IPAddress(fields[1]) != nil, let expires = time(2) else {
                return .unreadable("a TRAPPED line has an address and a time")
            }
            guard expires > now else { return .expired }
            // No person has written that time: one further ahead than any entry may count is as good as the longest.
            let span = WallTime.Span.seconds(min(expires - now, WallTime.Span.longestSetting.milliseconds / 1000))
            return .entry(EntryDraft(list: .block, kind: .client, pattern: fields[1], for: span, note: "trapped by spamd"))
        case "SPAMTRAP":
            guard fields.count >= 2, case .mailbox(let mailbox)? = Pattern(bare(fields[1])) else {
                return .unreadable("a SPAMTRAP line has a mailbox")
            }
            return .entry(EntryDraft(list: .trap, kind: .recipient, pattern: "\(mailbox)", note: "spamd's trap"))
        default:
            return .unreadable("the line begins with none of WHITE, GREY, TRAPPED, SPAMTRAP")
        }
    }

    /// Without the angle brackets.
    private static func bare(_ text: String) -> String {
        text.hasPrefix("<") && text.hasSuffix(">") ? String(text.dropFirst().dropLast()) : text
    }
}
