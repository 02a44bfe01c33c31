import PosternCore

/// The grammar of mailboxes (RFC 5321 §4.1.2, RFC 6531 §3.3).
enum PathSyntax {
    static let longestDomain = DomainSyntax.longestDomain

    static func isDomain(_ octets: ArraySlice<UInt8>, utf8: Bool, underscores: Bool) -> Bool {
        octets.withUnsafeBufferPointer { DomainSyntax.isDomain($0, utf8: utf8, underscores: underscores) }
    }

    static func addressLiteral(_ octets: ArraySlice<UInt8>) -> IPAddress? {
        octets.withUnsafeBufferPointer(DomainSyntax.addressLiteral)
    }
}

/// A path as parsed: `nil` for the null path.
struct ParsedPath {
    var mailbox: Mailbox?
    var wire = ""
    var isEightBit = false
}

extension CommandParser {
    /// `FROM:` or `TO:` and the path behind it, up to a space or the end.
    mutating func path(_ keyword: StaticString, _ verb: Verb) throws(CommandError) -> ParsedPath {
        guard !atEnd else { throw .missingArgument(verb) }
        // `MAIL  FROM :` is seen in the wild; the grammar has one space and none before the colon.
        if index != verb.rawValue.utf8.count + 1 { violations.insert(.commandSpacing) }
        let start = index
        while let octet = peek, Octet.isLetter(octet) { index += 1 }
        guard line[start..<index].equalsIgnoringCase(keyword) else { throw .missingArgument(verb) }
        if skipSpaces() > 0 { violations.insert(.commandSpacing) }
        guard skip(Octet.colon) else { throw .missingArgument(verb) }
        if skipSpaces() > 0 { violations.insert(.commandSpacing) }
        guard !atEnd else { throw .missingArgument(verb) }
        if violations.contains(.commandSpacing), !leniency.spacing { throw .badPath(verb) }

        let bracketed = skip(Octet.less)
        var parsed = ParsedPath()
        if bracketed {
            if peek == Octet.at { try sourceRoute(verb) }
            if peek != Octet.greater || line[index - 1] != Octet.less { parsed = try mailbox(verb) }
            guard skip(Octet.greater) else { throw .badPath(verb) }
        } else {
            violations.insert(.unbracketedPath)
            guard leniency.unbracketedPaths else { throw .badPath(verb) }
            parsed = try mailbox(verb)
        }
        guard atEnd || peek == Octet.space || peek == Octet.tab else { throw .badPath(verb) }
        return parsed
    }

    /// RFC 5321 §4.1.1.3, appendix C: a source route must be accepted, and should be ignored.
    private mutating func sourceRoute(_ verb: Verb) throws(CommandError) {
        repeat {
            guard skip(Octet.at) else { throw .badPath(verb) }
            _ = try domain(verb)
        } while skip(Octet.comma)
        guard skip(Octet.colon) else { throw .badPath(verb) }
    }

    private mutating func mailbox(_ verb: Verb) throws(CommandError) -> ParsedPath {
        let start = index
        let local = try localPart(verb)
        guard index - start <= leniency.localPart else { throw .pathTooLong(verb) }
        var domainText = ""
        if skip(Octet.at) {
            guard let text = text(try domain(verb), utf8: true) else { throw .notUTF8(verb) }
            domainText = text
        } else {
            // RFC 5321 §4.1.1.3: only the reserved postmaster stands without a domain.
            guard (verb == .rcpt && local.equalsIgnoringCase("postmaster")) || leniency.unqualifiedPaths else { throw .badPath(verb) }
        }
        let wire = line[start..<index]
        guard let wireText = text(wire, utf8: true), let localText = text(local, utf8: true) else { throw .notUTF8(verb) }
        return ParsedPath(
            mailbox: Mailbox(localPart: localText, domain: domainText), wire: wireText,
            // Control characters it has none.
            isEightBit: !wire.withUnsafeBufferPointer { $0.arePrintable })
    }

    /// A dot-string or a quoted string. Quotes are dropped where a dot-string says the same (RFC 5321 §4.1.2).
    private mutating func localPart(_ verb: Verb) throws(CommandError) -> ArraySlice<UInt8> {
        let start = index
        if skip(Octet.quote) {
            var content: [UInt8] = []
            while true {
                guard let octet = peek else { throw .badPath(verb) }
                index += 1
                if octet == Octet.quote { break }
                var plain = octet
                if octet == Octet.backslash {
                    guard let escaped = peek else { throw .badPath(verb) }
                    index += 1
                    guard escaped < 0x80 else { throw .badPath(verb) }
                    plain = escaped
                }
                guard plain >= 0x20, plain != 0x7f else { throw .badPath(verb) }
                content.append(plain)
            }
            return Self.isDotString(content[...]) ? content[...] : line[start..<index]
        }
        while let octet = peek, LocalPart.isAtext(octet) || octet == Octet.dot || octet >= 0x80 { index += 1 }
        let local = line[start..<index]
        if Self.isDotString(local) { return local }
        guard leniency.dots, Self.isLooseDotString(local) else { throw .badPath(verb) }
        violations.insert(.dotsInLocalPart)
        return local
    }

    /// With dots where none should be. Nothing that a careless server would take for a path of files.
    private static func isLooseDotString(_ octets: ArraySlice<UInt8>) -> Bool {
        octets.contains { $0 != Octet.dot } && !octets.contains(UInt8(ascii: "/"))
    }

    private static func isDotString(_ octets: ArraySlice<UInt8>) -> Bool {
        var previous = Octet.dot
        for octet in octets {
            guard LocalPart.isAtext(octet) || octet >= 0x80 || (octet == Octet.dot && previous != Octet.dot) else { return false }
            previous = octet
        }
        return previous != Octet.dot
    }

    private static func joinsLabels(_ octet: UInt8) -> Bool { octet == Octet.hyphen || octet == Octet.dot || octet == UInt8(ascii: "_") }

    /// A domain name or an address literal with its brackets.
    private mutating func domain(_ verb: Verb) throws(CommandError) -> ArraySlice<UInt8> {
        let start = index
        if skip(UInt8(ascii: "[")) {
            while let octet = peek, octet != UInt8(ascii: "]") { index += 1 }
            let body = line[(start + 1)..<index]
            guard skip(UInt8(ascii: "]")), PathSyntax.addressLiteral(body) != nil else { throw .badPath(verb) }
            return line[start..<index]
        }
        while let octet = peek, Octet.isAlphanumeric(octet) || octet >= 0x80 || Self.joinsLabels(octet) { index += 1 }
        let name = line[start..<index]
        if name.count > PathSyntax.longestDomain { throw .pathTooLong(verb) }
        guard PathSyntax.isDomain(name, utf8: true, underscores: true) else { throw .badPath(verb) }
        return name
    }
}
