import PosternCore

extension CommandParser {
    /// RFC 5321 §4.1.1.2.
    mutating func mail() throws(CommandError) -> MailCommand {
        let path = try path("FROM", .mail)
        var size: UInt64?
        var body: MailCommand.Body?
        var isSMTPUTF8 = false
        var returnedContent: MailCommand.ReturnedContent?
        var (envelopeID, authenticatedAs) = (String?.none, String?.none)
        var priority: Int?
        var seen: Set<String> = []
        while let (name, value) = try parameter(.mail) {
            switch name {
            case "SIZE":
                // RFC 1870 §4: 1*20DIGIT. What passes 64 bits is too large for anyone.
                guard let value, !value.isEmpty, value.count <= 20, value.allSatisfy(Octet.isDigit) else { throw .badParameter(name) }
                size = Self.number(value) ?? UInt64.max
            case "BODY":
                body = try keyword(value, name)
            case "SMTPUTF8":
                guard value == nil else { throw .badParameter(name) }
                isSMTPUTF8 = true
            case "RET":
                returnedContent = try keyword(value, name)
            case "ENVID":
                // RFC 3461 §4.4: xtext of printable octets, at most 100 characters.
                guard let value, !value.isEmpty, value.count <= 100, let decoded = XText.decode(value),
                    decoded.allSatisfy({ $0 >= 0x20 && $0 <= 0x7e })
                else { throw .badParameter(name) }
                envelopeID = String(decoding: value, as: UTF8.self)
            case "AUTH":
                // RFC 4954 §5: xtext of a mailbox, or `<>`; at most 500 characters.
                guard let value, !value.isEmpty, value.count <= 500, XText.decode(value) != nil else { throw .badParameter(name) }
                authenticatedAs = String(decoding: value, as: UTF8.self)
            case "MT-PRIORITY":
                guard let value, let given = Self.priority(value) else { throw .badParameter(name) }
                priority = given
            default:
                throw .unsupportedParameter(.mail)
            }
            guard seen.insert(name).inserted else { throw .repeatedParameter(name) }
        }
        if path.isEightBit, !isSMTPUTF8 { throw .eightBit(.mail) }
        return MailCommand(
            path.mailbox.map(ReversePath.mailbox) ?? .null, wirePath: path.wire, size: size, body: body, isSMTPUTF8: isSMTPUTF8,
            returnedContent: returnedContent,
            envelopeID: envelopeID, authenticatedAs: authenticatedAs, priority: priority)
    }

    /// RFC 5321 §4.1.1.3.
    mutating func recipient() throws(CommandError) -> RecipientCommand {
        let path = try path("TO", .rcpt)
        // The null path is a reverse-path only.
        guard let mailbox = path.mailbox else { throw .badPath(.rcpt) }
        if path.isEightBit, !allowUTF8 { throw .eightBit(.rcpt) }
        var notify: RecipientCommand.Notify?
        var originalRecipient: String?
        while let (name, value) = try parameter(.rcpt) {
            switch name {
            case "NOTIFY":
                guard notify == nil else { throw .repeatedParameter(name) }
                notify = try self.notify(value)
            case "ORCPT":
                guard originalRecipient == nil else { throw .repeatedParameter(name) }
                originalRecipient = try self.originalRecipient(value)
            default:
                throw .unsupportedParameter(.rcpt)
            }
        }
        return RecipientCommand(mailbox, wirePath: path.wire, notify: notify, originalRecipient: originalRecipient)
    }

    /// The next `keyword["=" value]` (RFC 5321 §4.1.2), the keyword in upper case; `nil` at the end of the line.
    private mutating func parameter(_ verb: Verb) throws(CommandError) -> (String, ArraySlice<UInt8>?)? {
        skipSpaces()
        guard !atEnd else { return nil }
        let word = token()
        let equals = word.firstIndex(of: Octet.equals)
        let name = word[..<(equals ?? word.endIndex)]
        guard let first = name.first, Octet.isAlphanumeric(first),
            name.allSatisfy({ Octet.isAlphanumeric($0) || $0 == Octet.hyphen || $0 == UInt8(ascii: "_") })
        else { throw .badParameter("parameter") }
        let value = equals.map { word[($0 + 1)...] }
        let upper = String(decoding: name.map { Octet.isLetter($0) ? $0 & 0xdf : $0 }, as: UTF8.self)
        // RFC 5321 §4.1.2 esmtp-value: no controls, no `=`. RFC 6531 §3.3 adds UTF-8.
        if let value, value.contains(where: { $0 < 0x21 || $0 == 0x7f || $0 == Octet.equals }) {
            throw .badParameter(upper)
        }
        return (upper, value)
    }

    private func keyword<Value: RawRepresentable<String> & CaseIterable>(
        _ value: ArraySlice<UInt8>?, _ name: String
    ) throws(CommandError) -> Value {
        guard let value else { throw .badParameter(name) }
        let upper = String(decoding: value.map { Octet.isLetter($0) ? $0 & 0xdf : $0 }, as: UTF8.self)
        guard let found = Value(rawValue: upper) else { throw .badParameter(name) }
        return found
    }

    /// RFC 6710 §3: -9...9, with or without sign.
    private static func priority(_ value: ArraySlice<UInt8>) -> Int? {
        let negative = value.first == Octet.hyphen
        let digits = negative || value.first == Octet.plus ? value.dropFirst() : value
        guard digits.count == 1, let digit = digits.first, Octet.isDigit(digit) else { return nil }
        return negative ? -Int(digit - 0x30) : Int(digit - 0x30)
    }

    /// RFC 3461 §4.1: `NEVER` alone, or a list of the others.
    private func notify(_ value: ArraySlice<UInt8>?) throws(CommandError) -> RecipientCommand.Notify {
        guard let value, !value.isEmpty else { throw .badParameter("NOTIFY") }
        if value.equalsIgnoringCase("NEVER") { return .never }
        var events: RecipientCommand.Events = []
        for word in value.split(separator: Octet.comma, omittingEmptySubsequences: false) {
            if word.equalsIgnoringCase("SUCCESS") {
                events.insert(.success)
            } else if word.equalsIgnoringCase("FAILURE") {
                events.insert(.failure)
            } else if word.equalsIgnoringCase("DELAY") {
                events.insert(.delay)
            } else {
                throw .badParameter("NOTIFY")
            }
        }
        return .on(events)
    }

    /// RFC 3461 §4.2: an address type, a semicolon, xtext of printable octets; at most 500 characters. RFC 6533 §3 adds
    /// `utf-8` with UTF-8.
    private func originalRecipient(_ value: ArraySlice<UInt8>?) throws(CommandError) -> String {
        guard let value, value.count <= 500, let semicolon = value.firstIndex(of: Octet.semicolon),
            semicolon > value.startIndex, semicolon + 1 < value.endIndex,
            value[..<semicolon].allSatisfy({ Octet.isAlphanumeric($0) || $0 == Octet.hyphen })
        else { throw .badParameter("ORCPT") }
        let address = value[(semicolon + 1)...]
        let international = allowUTF8 && value[..<semicolon].equalsIgnoringCase("utf-8")
        guard let decoded = XText.decode(address.lazy.filter { $0 < 0x80 }.map { $0 }),
            decoded.allSatisfy({ $0 >= 0x20 && $0 <= 0x7e }), international || address.allSatisfy({ $0 < 0x80 }),
            let text = text(value, utf8: international)
        else { throw .badParameter("ORCPT") }
        return text
    }
}
