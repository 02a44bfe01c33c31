import PosternCore
import PosternEngine

// Findings as a table of evidence has them: what one replay found out, others read.

extension Findings.ReverseName {
    /// `none`, a confirmed name, or `?` and a name that does not lead back.
    init?(recorded text: String) {
        if text == "none" {
            self = .none
        } else if text.hasPrefix("?"), let name = DomainName(text.dropFirst()) {
            self = .unconfirmed(name)
        } else if let name = DomainName(text) {
            self = .confirmed(name)
        } else {
            return nil
        }
    }

    /// Empty where it is not known.
    var recorded: String {
        switch self {
        case .unknown: ""
        case .none: "none"
        case .unconfirmed(let name): "?\(name)"
        case .confirmed(let name): name.text
        }
    }
}

/// A finding that is one of a few words.
protocol RecordedWord: RawRepresentable<String>, Equatable {
    static var unknown: Self { get }
}

extension Findings.Resolution: RecordedWord {}
extension Findings.MailDomain: RecordedWord {}

extension RecordedWord {
    init?(recorded text: String) {
        self.init(rawValue: text)
        if self == .unknown { return nil }
    }

    /// Empty where it is not known.
    var recorded: String { self == .unknown ? "" : rawValue }
}

extension Findings {
    /// The heading of a table of evidence.
    public static let recordedHeading =
        "client_address\tsender_domain\thelo\treverse\thelo_leads\tsender_mail\tspf\tspf_identifies\tdnsbl\tcountry\tasn"

    /// A row of a table of evidence, to be read again by `EvidenceTable`. Scores of lists are not kept: they are the policy's.
    public func recordedRow(address: IPAddress, senderDomain domain: String, helo: String) -> String {
        var words: [String] = []
        for word in listings.flatMap(\.recorded) where !words.contains(word) { words.append(word) }
        let lists = words.isEmpty && listsAnswered > 0 ? "none" : words.joined(separator: ";")
        let identifies = spf?.result == .pass ? (spf?.identifies == true ? "yes" : "no") : ""
        let fields = [
            address.description, domain, helo, reverseName.recorded, self.helo.recorded, senderDomain.recorded, spf?.result.rawValue ?? "",
            identifies, lists, country ?? "", network.map { String($0.number) } ?? "",
        ]
        // What a stranger said of itself must not begin a column or a row of its own.
        return fields.map { field in
            String(decoding: field.utf8.map { $0 < 0x20 || $0 == 0x7f ? UInt8(ascii: "?") : $0 }, as: UTF8.self)
        }.joined(separator: "\t")
    }
}

extension Findings {
    /// With what `other`, of the same attempt, found beyond it: two policies may look up different things.
    public func completed(by other: Findings) -> Findings {
        var result = self
        if reverseName == .unknown { result.reverseName = other.reverseName }
        if helo == .unknown { result.helo = other.helo }
        if senderDomain == .unknown { result.senderDomain = other.senderDomain }
        result.spf = spf ?? other.spf
        result.listings += other.listings
        result.listsAnswered = max(listsAnswered, other.listsAnswered)
        result.country = country ?? other.country
        result.network = network ?? other.network
        return result
    }
}

extension Listing {
    /// Each reply for itself: `zone=127.0.0.2`; the list's name where no reply is known.
    fileprivate var recorded: [String] {
        let name = Self.recordedName(list)
        return reply.isEmpty ? [name] : reply.split(separator: ",").map { "\(name)=\($0)" }
    }

    /// A list's name as a table of evidence has it: without what ends a name there, and in lower case.
    static func recordedName(_ name: String) -> String {
        String(decoding: name.lowercasedASCII.utf8.map { "=;,@ ".utf8.contains($0) ? UInt8(ascii: "-") : $0 }, as: UTF8.self)
    }
}
