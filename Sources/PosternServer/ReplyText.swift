import PosternCore
import PosternEngine

/// Sentences of replies, shared by every front. They reach a sender's admin, and sometimes the sender.
enum ReplyText {
    /// Says when to come back.
    static func deferral(until passesAt: WallTime?, now: WallTime, hostname: String, reference: Reference) -> String {
        let seconds = max((passesAt ?? now) - now, .seconds(1)).secondsRoundedUp
        return signed(hostname, reference) { text in
            text.add("Greylisted: please come back in ")
            text.add(decimal: seconds)
            text.add(seconds == 1 ? " second or later" : " seconds or later")
        }
    }

    /// Says how to become trusted.
    static func throttled(until: WallTime?, now: WallTime, settings: ThrottleSettings, hostname: String, reference: Reference) -> String {
        let wait = max((until ?? now) - now, .seconds(1)).secondsRoundedUp
        let advice =
            settings.advice.isEmpty ? "lists and large senders are taken in once postmaster here trusts them" : settings.advice
        return
            "More mail than a person sends: please come back in \(wait) \(wait == 1 ? "second" : "seconds"); \(advice) (\(hostname) \(reference))"
    }

    static func accountLimit(_ throttled: Throttled, now: WallTime, hostname: String, reference: Reference) -> String {
        let limit = throttled.limit
        let unit = limit.unit.rawValue.split(separator: "-").joined(separator: " ")
        let amount = limit.unit == .bytes ? amount(ofOctets: limit.amount) : "\(limit.amount) \(unit)"
        let outlook =
            throttled.isAlone ? "this message alone is more than that" : "try again in \((throttled.until - now).spoken)"
        return "Not sent: your account may send \(amount) within \(limit.window); \(outlook) (\(hostname) \(reference))"
    }

    private static func amount(ofOctets octets: UInt64) -> String {
        octets < 1 << 20 ? "\((octets + 1023) >> 10) KiB" : "\(octets >> 20) MiB"
    }

    static func earlyTalk(hostname: String, reference: Reference) -> String {
        signed(hostname, reference) { $0.add("Your side talked before the greeting, as bots do; write to postmaster here about it") }
    }

    static func refusal(hostname: String, reference: Reference) -> String {
        signed(hostname, reference) { $0.add("Refused by local policy; write to postmaster here about it") }
    }

    /// A sentence with who says so behind it, and by which reference the decision is found.
    private static func signed(_ hostname: String, _ reference: Reference, _ sentence: (inout TextWriter) -> Void) -> String {
        let reference = reference.description
        return String(octets: longestSentence + hostname.utf8.count + reference.utf8.count + " ( )".utf8.count) { text in
            sentence(&text)
            text.add(" (")
            text.add(hostname)
            text.add(" ")
            text.add(reference)
            text.add(")")
        }
    }

    /// Octets of the sentences that `signed` is given.
    private static let longestSentence = 96
}
