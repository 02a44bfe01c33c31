import PosternCore

extension SPFOutcome {
    /// The longest line that mail may have, without its CRLF (RFC 5322 §2.1.1).
    public static let lineOctets = 998

    /// `Received-SPF: …` (RFC 7208 §9.1), one line without CRLF, printable ASCII, at most `lineOctets`. What came from
    /// strangers stands quoted; what would make the line too long is left out.
    public var receivedSPF: String {
        // RFC 7208 §9.1: the first three should be there, and most of all who checked; problem and mechanism help people.
        var fields: [(key: String, value: String)] = [("client-ip", "\(address)")]
        if identity == .mailFrom { fields.append(("envelope-from", sender.description)) }
        fields += [("helo", helo), ("receiver", receiver), ("identity", identity.rawValue), ("mechanism", mechanism)]
        if let problem { fields.append(("problem", problem.description)) }
        var line = "Received-SPF: \(result.rawValue) (\(comment))"
        var separator = " "
        for (key, value) in fields where !value.isEmpty {
            let field = "\(separator)\(key)=\(value.asDotAtomOrQuotedString)"
            guard line.utf8.count + field.utf8.count <= Self.lineOctets else { continue }
            line += field
            separator = "; "
        }
        return line
    }

    /// The SPF part of an `Authentication-Results` field (RFC 8601 §2.2, §2.7.2), such as
    /// `spf=pass smtp.mailfrom=jo@example.org`: to stand behind the name of the receiver and a semicolon. Printable ASCII.
    public var authenticationResult: String {
        let text = "spf=\(result.rawValue)"
        // Where there was no sender to check, HELO has been checked.
        guard identity == .mailFrom, let mailbox = sender.mailbox else {
            return helo.isEmpty
                ? text : text + " smtp.helo=\((domain?.text ?? helo.cut(to: SPFLimits.quotedOctets)).asDomainOrQuotedString)"
        }
        let domainText = domain?.text ?? mailbox.domain
        let value = "\(mailbox.localPart)@\(domainText)"
        if value.utf8.allSatisfy({ $0 >= 0x20 && $0 <= 0x7e }), value.utf8.count <= SPFLimits.nameOctets + 65 {
            // `[local-part "@"] domain-name`, or a quoted string for the rest.
            let isPlain = mailbox.localPart.isDotAtom && domainText.isDomain
            return text + " smtp.mailfrom=\(isPlain ? value : value.asQuotedString)"
        } else {
            // The local part would need UTF-8, which not every message may carry.
            return text + " smtp.mailfrom=\(domainText.cut(to: SPFLimits.nameOctets).asDomainOrQuotedString)"
        }
    }

    /// What the result means for this client, in words (after RFC 7208 §9.1 and §2.6). One line, not escaped.
    public var summary: String {
        let name = domain?.text.cut(to: SPFLimits.quotedOctets) ?? ""
        switch result {
        case .none: return name.isEmpty ? "no domain to check" : "domain of \(name) does not publish an SPF record"
        case .neutral: return "\(address) is neither permitted nor denied by domain of \(name)"
        case .pass: return "domain of \(name) designates \(address) as permitted sender"
        case .fail: return "domain of \(name) does not designate \(address) as permitted sender"
        case .softfail: return "domain of transitioning \(name) does not designate \(address) as permitted sender"
        case .temperror: return "error in processing the record of \(name), which may pass"
        case .permerror: return "the record of \(name) cannot be interpreted"
        }
    }

    /// RFC 5322 §3.2.2: parentheses and backslashes are quoted.
    private var comment: String {
        let prefix = receiver.isEmpty ? "" : "\(receiver.cut(to: SPFLimits.quotedOctets)): "
        return (prefix + summary).escaped(UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "\\"))
    }
}

extension String {
    /// RFC 5322 §3.2.3.
    fileprivate var isDotAtom: Bool {
        let special = Array("!#$%&'*+-/=?^_`{|}~".utf8)
        return !isEmpty
            && utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { part in
                !part.isEmpty && part.allSatisfy { $0.isLetter || $0.isDigit || special.contains($0) }
            }
    }

    /// Neither a dot-atom in front of `@` nor an RFC 2045 token has any other octets in common with names.
    fileprivate var isDomain: Bool {
        isDotAtom
            && utf8.allSatisfy {
                $0.isLetter || $0.isDigit || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".")
            }
    }

    fileprivate var asDomainOrQuotedString: String { isDomain ? self : asQuotedString }

    fileprivate var asDotAtomOrQuotedString: String { isDotAtom ? self : asQuotedString }

    /// RFC 5322 §3.2.4.
    fileprivate var asQuotedString: String { "\"" + escaped(UInt8(ascii: "\""), UInt8(ascii: "\\")) + "\"" }

    /// With a backslash before each of these, and a question mark for each octet that is not printable ASCII.
    fileprivate func escaped(_ special: UInt8...) -> String {
        var out: [UInt8] = []
        for octet in utf8 {
            if special.contains(octet) { out.append(UInt8(ascii: "\\")) }
            out.append(octet >= 0x20 && octet <= 0x7e ? octet : UInt8(ascii: "?"))
        }
        return String(decoding: out, as: UTF8.self)
    }
}
