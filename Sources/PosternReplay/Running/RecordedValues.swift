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
        var lists = listings.map { $0.reply.isEmpty ? $0.list : "\($0.list)=\($0.reply)" }.joined(separator: ";")
        if lists.isEmpty, listsAnswered > 0 { lists = "none" }
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
