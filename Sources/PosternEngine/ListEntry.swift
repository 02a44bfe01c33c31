import PosternCore

/// One thing an admin has said of a client, a sender or a recipient.
public struct ListEntry: Hashable, Sendable {
    public enum List: String, CaseIterable, Sendable {
        case allow
        case block
        /// Mailboxes and domains that exist for nothing but to catch spam: whoever writes to them is harvested.
        case trap
    }

    public enum Kind: String, CaseIterable, Sendable {
        case client
        case sender
        case recipient
    }

    public var list: List
    public var kind: Kind
    public var pattern: Pattern
    /// Past this the entry no longer counts; `nil` for ever.
    public var expires: WallTime?
    public var note: String
    public var added: WallTime
    /// The subscription that it comes from; `nil` for the admin's own.
    public var source: String?

    public init(_ list: List, _ kind: Kind, _ pattern: Pattern, expires: WallTime? = nil, note: String = "", added: WallTime) {
        self.list = list
        self.kind = kind
        self.pattern = pattern
        self.expires = expires
        self.note = note
        self.added = added
    }

    public func isLive(at now: WallTime) -> Bool { expires.map { now < $0 } ?? true }
}

/// What an entry matches: an address or network, a domain with all below it, one mailbox, or one local part anywhere.
public enum Pattern: Hashable, Sendable {
    case prefix(Prefix)
    case domain(DomainName)
    /// In lower case, `local@domain`, the domain with A-labels.
    case mailbox(String)
    /// In lower case, `local@`: that local part at any domain.
    case localPart(String)

    /// Reads `192.0.2.1`, `192.0.2.0/24`, `example.org` (a leading dot is allowed), `user@example.org`, `@example.org`
    /// (the domain) or `user@`. `nil` for anything else; a name without a dot is taken for a slip, and so is one with
    /// octets that no name has (`*.example.org` would match nothing) or whose last label begins with a digit.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count <= 320 else { return nil }
        if let prefix = Prefix(text) {
            self = .prefix(prefix)
        } else if let at = text.lastIndex(of: "@") {
            let local = text[..<at]
            let domain = text[text.index(after: at)...]
            guard !local.contains(where: { $0.isWhitespace || $0.isNewline }) else { return nil }
            switch (local.isEmpty, domain.isEmpty) {
            case (true, true): return nil
            case (false, true): self = .localPart(String(local).lowercasedASCII + "@")
            case (true, false):
                guard let name = DomainName(domain), Self.isPlain(name) else { return nil }
                self = .domain(name)
            case (false, false):
                guard let name = DomainName(domain), Self.isPlain(name) || domain.first == "[" else { return nil }
                self = .mailbox(String(local).lowercasedASCII + "@" + name.text)
            }
        } else {
            guard !text.contains("/"), let name = DomainName(text.first == "." ? String(text.dropFirst()) : String(text)),
                name.text.utf8.contains(UInt8(ascii: ".")), Self.isPlain(name), name.labels.last?.first?.isNumber == false
            else { return nil }
            self = .domain(name)
        }
    }

    /// Letters, digits, hyphens and underscores; a name that is not ASCII by now has no A-label.
    private static func isPlain(_ name: DomainName) -> Bool {
        name.text.utf8.allSatisfy { octet in
            switch octet {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
            default: "-_.".utf8.contains(octet)
            }
        }
    }
}

extension Pattern: CustomStringConvertible {
    public var description: String {
        switch self {
        case .prefix(let prefix): prefix.description
        case .domain(let name): name.text
        case .mailbox(let text), .localPart(let text): text
        }
    }
}

/// A promise that a recipient's next messages pass, made by `postern release`.
public struct Release: Hashable, Sendable {
    /// In lower case, `local@domain`.
    public var recipient: String
    /// In lower case; `nil` for any sender, empty for the null sender.
    public var sender: String?
    /// `nil` for any client.
    public var client: Prefix?
    public var expires: WallTime

    public init(recipient: String, sender: String? = nil, client: Prefix? = nil, expires: WallTime) {
        self.recipient = recipient.foldedMailbox
        self.sender = sender?.foldedMailbox
        self.client = client
        self.expires = expires
    }

    func covers(_ attempt: Attempt) -> Bool {
        guard attempt.recipient?.folded == recipient else { return false }
        if let sender, attempt.sender.mailbox?.folded ?? "" != sender { return false }
        if let client, attempt.client.address.map(client.contains) != true { return false }
        return true
    }
}
