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

    /// What tells entries apart: of two that agree in it the later one replaces the other.
    public struct Key: Hashable, Sendable {
        var kind: Kind
        var pattern: Pattern
        var list: List
    }

    public var key: Key { Key(kind: kind, pattern: pattern, list: list) }
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
    /// octets that no name has (`*.example.org` would match nothing) or whose last label begins with a digit. A local part is written
    /// as RFC 5321 §4.1.2 has it, in quotes where it needs them; `*@example.org` is a slip, too.
    public init?(_ text: some StringProtocol) {
        // U+FFFD stands for octets that nobody could read.
        guard text.utf8.count <= 320, !text.unicodeScalars.contains("\u{fffd}") else { return nil }
        if let prefix = Prefix(text) {
            self = .prefix(prefix)
        } else if let at = text.lastIndex(of: "@") {
            let local = text[..<at]
            let domain = text[text.index(after: at)...]
            switch (local.isEmpty, domain.isEmpty) {
            case (true, true): return nil
            case (false, true):
                guard let local = LocalPart.typed(local) else { return nil }
                self = .localPart(local + "@")
            case (true, false):
                guard let name = DomainName(domain), Self.isPlain(name) else { return nil }
                self = .domain(name)
            case (false, false):
                guard let local = LocalPart.typed(local), let name = DomainName(domain), Self.isPlain(name) || domain.first == "[" else {
                    return nil
                }
                self = .mailbox(local + "@" + name.text)
            }
        } else {
            guard !text.contains("/"), let name = DomainName(text.first == "." ? String(text.dropFirst()) : String(text)),
                name.text.utf8.contains(UInt8(ascii: ".")), Self.isPlain(name), name.labels.last?.first?.isNumber == false
            else { return nil }
            self = .domain(name)
        }
    }

    /// Letters, digits, hyphens (at neither end of a label: RFC 5321 §4.1.2) and underscores; a name that is not ASCII by now has no
    /// A-label.
    private static func isPlain(_ name: DomainName) -> Bool {
        name.text.utf8.allSatisfy { octet in
            switch octet {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
            case UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."): true
            default: false
            }
        } && !name.hasHyphenAtLabelEnd
    }

    /// What somebody may have meant by a text that is no pattern, to follow a message; empty where that cannot be told.
    public static func hint(_ text: some StringProtocol) -> String {
        if text.hasPrefix("*@") || text.hasPrefix("*."), case .domain(let name)? = Pattern("@\(text.dropFirst(2))") {
            return "; write \(name) for the whole domain, with all below it"
        }
        guard let at = text.lastIndex(of: "@"), at > text.startIndex, text.first != "\"" else { return "" }
        let local = text[..<at]
        if local.contains("*") { return "; a '*' stands for no other characters" }
        guard LocalPart.typed(local) == nil, !local.contains(where: { "<>\"\\".contains($0) }) else { return "" }
        return "; a local part with such characters stands in quotes: \"\(local)\"@"
    }
}

extension Pattern {
    /// Whether all that `other` matches is matched by this one, too: it is the same, a network within this one, or a name or mailbox
    /// below this domain.
    public func holds(_ other: Pattern) -> Bool {
        func split(_ mailbox: String) -> (local: Substring, domain: DomainName?)? {
            guard let at = mailbox.utf8.lastIndex(of: UInt8(ascii: "@")) else { return nil }
            return (mailbox[...at], DomainName(mailbox[mailbox.utf8.index(after: at)...]))
        }
        return switch (self, other) {
        case (.prefix(let prefix), .prefix(let other)): prefix.contains(other)
        case (.domain(let name), .domain(let other)): other.isWithin(name)
        case (.domain(let name), .mailbox(let other)): split(other)?.domain?.isWithin(name) ?? false
        case (.localPart(let local), .mailbox(let other)): split(other).map { $0.local == local } ?? false
        default: self == other
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
