/// A mailbox: a local part and a domain, as an envelope names it (RFC 5321 §4.1.2), without brackets.
public struct Mailbox: Hashable, Sendable {
    /// As it came. Case is kept: only the receiving domain may say that it does not matter (RFC 5321 §2.4).
    public let localPart: String
    /// In lower case, with A-labels (RFC 6531 §3.2 lets a client write U-labels), without a final dot; empty for a bare local
    /// part such as `postmaster`. May be an address literal.
    public let domain: String

    public init(localPart: String, domain: String) {
        self.localPart = localPart
        self.domain = domain.lowercasedASCII.comparedAsDomain
    }

    /// Splits at the last `@`, as every MTA does; a text without one is a bare local part. `nil` for empty text.
    ///
    /// The text comes from an MTA that has parsed it already, so this is lenient: `SMTPProtocol` holds the grammar.
    public init?(_ text: some StringProtocol) {
        var text = String(text)
        guard let mailbox = text.withUTF8({ Mailbox(octets: $0) }) else { return nil }
        self = mailbox
    }

    /// The same from octets; what is not UTF-8 becomes U+FFFD.
    public init?(octets: UnsafeBufferPointer<UInt8>) {
        guard !octets.isEmpty else { return nil }
        // By octets: as a character the `@` may be one with a combining mark behind it.
        let at = octets.lastIndex(of: UInt8(ascii: "@")) ?? octets.count
        let local = UnsafeBufferPointer(rebasing: octets[..<at])
        localPart = LocalPart.unquoted(local) ?? String(decoding: local, as: UTF8.self)
        domain = at < octets.count ? String(loweringASCII: UnsafeBufferPointer(rebasing: octets[(at + 1)...])).comparedAsDomain : ""
    }

    /// The domain as a name; `nil` where it is empty, an address literal or malformed.
    public var domainName: DomainName? { domain.utf8.first == UInt8(ascii: "[") ? nil : DomainName(domain) }

    /// Whether everybody may write to it, whoever they are: `postmaster` (RFC 5321 §4.5.1) and `abuse` (RFC 2142 §4).
    public var isAlwaysReachable: Bool {
        switch localPart.utf8.count {
        case 5: localPart.lowercasedASCII == "abuse"
        case 10: localPart.lowercasedASCII == "postmaster"
        default: false
        }
    }

    /// For people to read, and to find it by: with the local part as `canonicalLocalPart` has it.
    public var canonical: String { Self.text(canonicalLocalPart, domain) }

    /// The same in lower case: for looking up entries that people typed.
    public var folded: String { Self.text(foldedLocalPart, domain) }

    /// The local part in quotes only where it needs them, and within them with a backslash only where one is needed. Whether `"a b"`,
    /// `"a\ b"` or (as some MTAs tell it) `a b`: it is one mailbox (RFC 5321 §4.1.2).
    public var canonicalLocalPart: String { LocalPart.canonical(localPart) }

    /// The local part as it is compared: `canonicalLocalPart` in lower case.
    public var foldedLocalPart: String { canonicalLocalPart.lowercasedASCII }

    private static func text(_ localPart: String, _ domain: String) -> String {
        guard !domain.isEmpty else { return localPart }
        return String(octets: localPart.utf8.count + 1 + domain.utf8.count) { text in
            text.add(localPart)
            text.add(UInt8(ascii: "@"))
            text.add(domain)
        }
    }
}

extension Mailbox: CustomStringConvertible {
    /// As it came, for what must not be changed on its way.
    public var description: String { Self.text(localPart, domain) }
}

/// The envelope sender: a mailbox, or the null reverse-path `<>` of bounces and callouts (RFC 5321 §4.5.5).
public enum ReversePath: Hashable, Sendable {
    case null
    case mailbox(Mailbox)

    /// From text without brackets; empty text is the null sender.
    public init(_ text: some StringProtocol) {
        self = Mailbox(text).map(ReversePath.mailbox) ?? .null
    }

    public var mailbox: Mailbox? {
        if case .mailbox(let mailbox) = self { mailbox } else { nil }
    }
}

extension ReversePath: CustomStringConvertible {
    /// Without brackets; empty for the null sender.
    public var description: String { mailbox?.description ?? "" }
}
