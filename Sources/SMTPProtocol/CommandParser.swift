import PosternCore

extension Command {
    /// Parses a command line without its CRLF.
    ///
    /// - Parameters:
    ///   - allowUTF8: whether a path in RCPT may hold UTF-8: MAIL was given with SMTPUTF8. MAIL says so itself.
    ///   - violations: gains what leniency let through; also when an error is thrown.
    public static func parse(
        _ line: [UInt8], leniency: SyntaxLeniency = SyntaxLeniency(), allowUTF8: Bool = false, violations: inout ViolationSet
    ) throws(CommandError) -> Command {
        var parser = CommandParser(line: line, leniency: leniency, allowUTF8: allowUTF8)
        defer { violations.formUnion(parser.violations) }
        return try parser.command()
    }
}

/// A cursor over one command line.
struct CommandParser {
    let line: [UInt8]
    let leniency: SyntaxLeniency
    let allowUTF8: Bool
    var index = 0
    /// Behind the last octet that is not white space (RFC 5321 §4.1.1: tolerate trailing white space).
    let end: Int
    var violations: ViolationSet = []

    init(line: [UInt8], leniency: SyntaxLeniency, allowUTF8: Bool) {
        self.line = line
        self.leniency = leniency
        self.allowUTF8 = allowUTF8
        end = (line.lastIndex { $0 != Octet.space && $0 != Octet.tab } ?? -1) + 1
    }

    var atEnd: Bool { index >= end }
    var peek: UInt8? { index < end ? line[index] : nil }

    mutating func skip(_ octet: UInt8) -> Bool {
        guard peek == octet else { return false }
        index += 1
        return true
    }

    /// Skips spaces and returns how many there were.
    @discardableResult
    mutating func skipSpaces() -> Int {
        let start = index
        while let octet = peek, octet == Octet.space || octet == Octet.tab { index += 1 }
        return index - start
    }

    mutating func token() -> ArraySlice<UInt8> {
        let start = index
        while let octet = peek, octet != Octet.space, octet != Octet.tab { index += 1 }
        return line[start..<index]
    }

    /// The rest of the line, as printable ASCII, or UTF-8 where `utf8` allows it. `nil` where it is neither.
    func text(_ octets: ArraySlice<UInt8>, utf8: Bool) -> String? {
        octets.withUnsafeBufferPointer { octets in
            // Nearly all is ASCII, and needs not be validated.
            if octets.arePrintable { return String(decoding: octets, as: UTF8.self) }
            guard utf8, octets.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else { return nil }
            return String(validating: octets, as: UTF8.self)
        }
    }

    mutating func command() throws(CommandError) -> Command {
        let word = token()
        guard let first = word.first else { throw .notACommand }
        guard let verb = Verb(word) else {
            // `MAIL:` and `DATA_` are unknown verbs; what does not begin with a letter is no command at all.
            throw Octet.isLetter(first) ? .unknownVerb : .notACommand
        }
        skipSpaces()
        switch verb {
        case .helo: return .helo(try heloName(verb))
        case .ehlo: return .ehlo(try heloName(verb))
        case .mail: return .mail(try mail())
        case .rcpt: return .recipient(try recipient())
        case .data: return try bare(.data, verb)
        case .rset: return try bare(.reset, verb)
        case .quit: return try bare(.quit, verb)
        case .starttls: return try bare(.startTLS, verb)
        // RFC 5321 §4.1.1.9: any parameter is ignored.
        case .noop: return .noop
        case .help: return .help(atEnd ? nil : String(decoding: line[index..<end], as: UTF8.self))
        case .vrfy: return .verify(try string(verb))
        case .expn: return .expand(try string(verb))
        case .etrn: return .etrn(try string(verb))
        case .bdat: return try chunk()
        case .auth: return try authenticate()
        case .xclient: return try xclient()
        }
    }

    private func bare(_ command: Command, _ verb: Verb) throws(CommandError) -> Command {
        guard atEnd else { throw .unexpectedArgument(verb) }
        return command
    }

    /// RFC 5321 §4.1.1.6: an atom or quoted string; an empty one says as little as none.
    private func string(_ verb: Verb) throws(CommandError) -> String {
        let argument = line[index..<max(index, end)]
        guard !argument.isEmpty, !argument.elementsEqual([Octet.quote, Octet.quote]) else { throw .missingArgument(verb) }
        // RFC 6531 §3.7.4.2 lets VRFY and EXPN hold UTF-8.
        guard let text = text(argument, utf8: true) else { throw .notUTF8(verb) }
        return text
    }

    /// RFC 5321 §4.1.1.1.
    private mutating func heloName(_ verb: Verb) throws(CommandError) -> HeloName {
        guard !atEnd else {
            violations.insert(.heloSyntax)
            throw .missingArgument(verb)
        }
        let octets = line[index..<end]
        guard let text = text(octets, utf8: false) else {
            violations.insert(.heloSyntax)
            throw octets.contains { $0 >= 0x80 } ? .eightBit(verb) : .badHelo
        }
        let name = HeloName(text)
        if !name.isValid {
            violations.insert(.heloSyntax)
            guard leniency.heloSyntax else { throw .badHelo }
        }
        return name
    }

    /// RFC 3030 §2: `BDAT` SP size [SP `LAST`].
    private mutating func chunk() throws(CommandError) -> Command {
        guard !atEnd else { throw .badChunk }
        guard let size = Self.number(token()), size <= UInt64(Int.max) else { throw .badChunk }
        skipSpaces()
        guard !atEnd else { return .chunk(size: size, last: false) }
        guard token().equalsIgnoringCase("LAST"), atEnd else { throw .badChunk }
        return .chunk(size: size, last: true)
    }

    /// RFC 4954 §4. Mechanisms are longer than the 20 octets of RFC 4422 §3.1 in practice: 64.
    private mutating func authenticate() throws(CommandError) -> Command {
        guard !atEnd else { throw .missingArgument(.auth) }
        let mechanism = token()
        guard mechanism.count <= 64, mechanism.allSatisfy({ Octet.isAlphanumeric($0) || $0 == Octet.hyphen || $0 == UInt8(ascii: "_") })
        else { throw .badParameter("mechanism") }
        skipSpaces()
        var response: Secret?
        if !atEnd {
            let text = token()
            guard text.allSatisfy({ $0 > 0x20 && $0 < 0x7f }), atEnd else { throw .unexpectedArgument(.auth) }
            response = Secret(text)
        }
        return .authenticate(mechanism: String(decoding: mechanism, as: UTF8.self), initialResponse: response)
    }

    private mutating func xclient() throws(CommandError) -> Command {
        guard !atEnd else { throw .missingArgument(.xclient) }
        var attributes = XClientAttributes()
        while !atEnd {
            guard attributes.merge(token()) else { throw .badXClient }
            skipSpaces()
        }
        return .xclient(attributes)
    }

    /// Decimal digits without sign, at most 20. `nil` for anything else and past 64 bits.
    static func number(_ octets: ArraySlice<UInt8>) -> UInt64? {
        guard !octets.isEmpty, octets.count <= 20 else { return nil }
        var value: UInt64 = 0
        for octet in octets {
            guard Octet.isDigit(octet) else { return nil }
            let (product, overflowed) = value.multipliedReportingOverflow(by: 10)
            let (sum, carried) = product.addingReportingOverflow(UInt64(octet - 0x30))
            guard !overflowed, !carried else { return nil }
            value = sum
        }
        return value
    }
}
