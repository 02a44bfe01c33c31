import SMTPProtocol

enum CommandCheck {
    private enum Outcome: Equatable {
        case line([UInt8])
        case flawed
        case tooLong
    }

    /// What a server that offers everything offers.
    static let everything = Extensions(
        pipelining: true, size: 0, eightBitMIME: true, smtpUTF8: true, dsn: true, enhancedStatusCodes: true, chunking: true, startTLS: true,
        xclient: Set(XClientAttributes.Name.allCases))

    static func run(_ input: UnsafeRawBufferPointer) {
        guard let (octet, rest) = input.settingsAndRest else { return }
        let allowUTF8 = octet.has(0)
        var generator = Generator(input)
        let whole = lines(rest, .whole, &generator)
        for cut in [Cut.bytes, .random] { checkEqual(whole, lines(rest, cut, &generator), "cut \(cut): \(shown(rest))") }
        for case .line(let line) in whole { parse(line, allowUTF8: allowUTF8) }
        // Also what no decoder lets through.
        parse(Array(rest), allowUTF8: allowUTF8)
    }

    private static func lines(_ input: UnsafeRawBufferPointer, _ cut: Cut, _ generator: inout Generator) -> [Outcome] {
        var decoder = LineDecoder()
        var outcomes: [Outcome] = []
        cut.forEach(input, &generator) { piece in
            var position = 0
            while position < piece.count {
                switch decoder.decode(piece, at: &position) {
                case .needsMore: check(position == piece.count, "bytes were left")
                case .line:
                    check(decoder.line.count + 2 <= 2048, "a line over its limit")
                    outcomes.append(.line(decoder.line))
                case .flawed: outcomes.append(.flawed)
                case .tooLong: outcomes.append(.tooLong)
                }
            }
            return true
        }
        return outcomes
    }

    private static func result(
        _ line: [UInt8], _ leniency: SyntaxLeniency, _ allowUTF8: Bool
    ) -> (Result<Command, CommandError>, ViolationSet) {
        var violations: ViolationSet = []
        do throws(CommandError) {
            return (.success(try Command.parse(line, leniency: leniency, allowUTF8: allowUTF8, violations: &violations)), violations)
        } catch {
            return (.failure(error), violations)
        }
    }

    private static func parse(_ line: [UInt8], allowUTF8: Bool) {
        let (lenient, violations) = result(line, SyntaxLeniency(unqualifiedPaths: true), allowUTF8)
        let (strict, breaches) = result(line, .strict, allowUTF8)
        if case .success = strict {
            checkEqual(strict, lenient, "leniency changes what is right: \(shown(line))")
            check(breaches.isEmpty && violations.isEmpty, "a breach in what is right: \(shown(line))")
        }
        switch lenient {
        case .failure(let error): checkReply(error.reply)
        case .success(.mail(let mail)):
            let again = sentOn(mail.encoded(for: everything), line, allowUTF8)
            guard case .success(.mail(let other)) = again else { return check(false, "MAIL is not sent on: \(shown(line)): \(again)") }
            checkEqual(other.reversePath, mail.reversePath, shown(line))
            checkEqual(other.wirePath, mail.wirePath, shown(line))
            checkEqual(other.size, mail.size, shown(line))
            check(mail.body == .binaryMIME || other.body == mail.body, shown(line))
            checkEqual(other.envelopeID, mail.envelopeID, shown(line))
            check(other.returnedContent == mail.returnedContent && other.isSMTPUTF8 == mail.isSMTPUTF8, shown(line))
        case .success(.recipient(let recipient)):
            checkEqual(sentOn(recipient.encoded(for: everything), line, allowUTF8), .success(.recipient(recipient)), shown(line))
        case .success(.xclient(let attributes)): XClientCheck.sendOn(attributes)
        case .success(let command): _ = command.verb
        }
    }

    private static func sentOn(_ wire: [UInt8], _ line: [UInt8], _ allowUTF8: Bool) -> Result<Command, CommandError> {
        check(wire.suffix(2).elementsEqual([0x0d, 0x0a]), "no CRLF")
        let text = Array(wire.dropLast(2))
        check(!text.contains { $0 < 0x20 || $0 == 0x7f }, "a control octet is sent on: \(shown(line))")
        let (again, violations) = result(text, SyntaxLeniency(unqualifiedPaths: true), allowUTF8)
        // Mailboxes that exist with dots where none should be are named as they are.
        check(violations.subtracting(ViolationSet(.dotsInLocalPart)).isEmpty, "we break the rules ourselves: \(shown(text))")
        return again
    }

    static func checkReply(_ reply: Reply) {
        for line in reply.lines {
            check(line.count + 6 <= Reply.longestLine && line.allSatisfy { $0 >= 0x20 && $0 < 0x7f }, "a bad reply: \(reply)")
        }
    }
}

enum XClientCheck {
    static func run(_ input: UnsafeRawBufferPointer) {
        if let decoded = XText.decode(input) { checkEqual(XText.decode(XText.encode(decoded)), decoded, shown(input)) }
        checkEqual(XText.decode(XText.encode(input)), Array(input), shown(input))
        var violations: ViolationSet = []
        guard case .xclient(let attributes)? = try? Command.parse(Array("XCLIENT ".utf8) + input, violations: &violations) else { return }
        // A longer one is no command line (RFC 5321 §4.5.3.1.4), and may hold what does not fit one once it is encoded anew.
        guard input.count <= 480, !input.contains(UInt8(ascii: "+")) || input.count <= 255 else { return }
        sendOn(attributes)
    }

    /// What is sent on says the same, whichever of it a server knows.
    static func sendOn(_ attributes: XClientAttributes) {
        let names = Set(XClientAttributes.Name.allCases)
        var told = XClientAttributes()
        let commands = attributes.commands(offered: names)
        for (index, command) in commands.enumerated() {
            check(command.count <= XClientAttributes.longestCommand && command.suffix(2).elementsEqual([0x0d, 0x0a]), shown(command))
            var violations: ViolationSet = []
            guard case .xclient(let part)? = try? Command.parse(Array(command.dropLast(2)), violations: &violations) else {
                return check(false, "not sent on: \(shown(command))")
            }
            if part.address != nil { check(index == commands.count - 1, "ADDR is not last") }
            told.merge(part)
        }
        checkEqual(told, attributes, "\(commands.map(shown))")
        check(attributes.commands(offered: []).isEmpty, "something for a server that knows nothing")
    }
}

extension XClientAttributes {
    fileprivate mutating func merge(_ other: XClientAttributes) {
        name = other.name ?? name
        reverseName = other.reverseName ?? reverseName
        address = other.address ?? address
        port = other.port ?? port
        proto = other.proto ?? proto
        helo = other.helo ?? helo
        login = other.login ?? login
        destinationAddress = other.destinationAddress ?? destinationAddress
        destinationPort = other.destinationPort ?? destinationPort
    }
}
