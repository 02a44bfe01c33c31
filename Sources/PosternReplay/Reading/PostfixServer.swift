import PosternEngine

// smtpd(8), cleanup(8), pickup(8): what comes in.

extension PostfixMessage {
    static func server(_ bytes: Span<UInt8>, _ message: Piece) -> Result {
        guard let first = message.first else { return .event(.idle) }
        switch bytes[first] {
        case UInt8(ascii: "c"):
            if bytes.begins(message, "connect from ") {
                return client(bytes, message.dropping(13)).map { .event(.connected($0.client)) } ?? .unreadable(.client)
            }
        case UInt8(ascii: "d"):
            if bytes.begins(message, "disconnect from ") {
                return client(bytes, message.dropping(16)).map { .event(.disconnected($0.client)) } ?? .unreadable(.client)
            }
        case UInt8(ascii: "i"):
            if bytes.begins(message, "improper command pipelining after ") { return violation(bytes, .pipelining, message) }
        case UInt8(ascii: "b"):
            // 3.9 and later, where smtpd_forbid_bare_newline refuses.
            if bytes.begins(message, "bare <LF> received after ") { return violation(bytes, .bareLineEnding, message) }
        case UInt8(ascii: "w"):
            if bytes.begins(message, "warning: non-SMTP command from ") { return violation(bytes, .nonSMTP, message) }
            if bytes.begins(message, "warning: ") { return .event(.idle) }
        case UInt8(ascii: "p"):
            if bytes.begins(message, "proxy-accept: ") { return filtered(bytes, true, message.dropping(14)) }
            if bytes.begins(message, "proxy-reject: ") { return filtered(bytes, false, message.dropping(14)) }
        default: break
        }
        guard let (queue, rest) = queueID(bytes, message) else { return .event(.idle) }
        let id = bytes.equals(queue, "NOQUEUE") ? nil : queue
        if bytes.begins(rest, "client=") { return accepted(bytes, id, rest.dropping(7)) }
        return refusal(bytes, queue: id, rest) ?? .event(.idle)
    }

    /// `client=name[address], sasl_method=…, sasl_username=…, orig_queue_id=…, orig_client=…`
    private static func accepted(_ bytes: Span<UInt8>, _ queue: Piece?, _ text: Piece) -> Result {
        guard let (client, end) = client(bytes, text) else { return .unreadable(.client) }
        let rest = min(end, text.upperBound)..<text.upperBound
        guard !rest.isEmpty else { return .event(.accepted(queue: queue, client, account: nil, isForwarded: false)) }
        var account: Piece?
        if let position = bytes.position(of: ", sasl_username=", in: rest) {
            let start = position + 16
            // The name ends at the next field.
            let stop = bytes.position(of: ", ", in: start..<text.upperBound) ?? text.upperBound
            account = start..<stop
        }
        return .event(
            .accepted(queue: queue, client, account: account, isForwarded: bytes.position(of: ", orig_client=", in: rest) != nil))
    }

    /// `END-OF-MESSAGE: 250 2.0.0 Ok; from=<a> to=<b> proto=ESMTP helo=<c>`
    private static func filtered(_ bytes: Span<UInt8>, _ isAccepted: Bool, _ text: Piece) -> Result {
        guard let semicolon = envelopeStart(bytes, text) else { return .event(.idle) }
        let stage = bytes.position(of: ": ", in: text.lowerBound..<semicolon) ?? text.lowerBound - 2
        return .event(
            .filtered(isAccepted: isAccepted, response: stage + 2..<semicolon, envelope(bytes, semicolon + 2..<text.upperBound)))
    }

    private static func violation(_ bytes: Span<UInt8>, _ check: Check, _ message: Piece) -> Result {
        guard let from = bytes.position(of: " from ", in: message),
            let (client, _) = client(bytes, from + 6..<message.upperBound)
        else { return .unreadable(.client) }
        return .event(.violation(check, client))
    }

    // MARK: - cleanup and pickup

    static func cleanup(_ bytes: Span<UInt8>, _ message: Piece) -> Result {
        guard let (queue, rest) = queueID(bytes, message) else { return .event(.idle) }
        if bytes.begins(rest, "message-id=") {
            let id = rest.dropping(11)
            let isBracketed = bytes.begins(id, "<") && bytes.ends(id, ">")
            return .event(.messageID(queue: queue, isBracketed ? id.lowerBound + 1..<id.upperBound - 1 : id))
        }
        if bytes.begins(rest, "milter-reject: ") { return refusal(bytes, queue: queue, rest) ?? .event(.idle) }
        if bytes.begins(rest, "reject: ") || bytes.begins(rest, "discard: ") {
            // header_checks and body_checks: "reject: header Subject: … from name[address]; from=<a> to=<b> …: 5.7.1 text".
            return headerCheck(bytes, queue, rest) ?? .event(.idle)
        }
        guard let envelope = envelopeAtEnd(bytes, rest), envelope.helo != nil else { return .event(.idle) }
        return .event(.envelope(queue: queue, envelope))
    }

    private static func headerCheck(_ bytes: Span<UInt8>, _ queue: Piece, _ text: Piece) -> Result? {
        guard let colon = bytes.firstIndex(of: UInt8(ascii: ":"), in: text), let semicolon = envelopeStart(bytes, text),
            let from = bytes.lastPosition(of: " from ", in: text.lowerBound..<semicolon),
            let (client, _) = client(bytes, from + 6..<semicolon)
        else { return nil }
        return .event(
            .refused(
                .init(
                    queue: queue, action: text.lowerBound..<colon, stage: from..<from, client: client, code: 550,
                    enhancedCode: from..<from, text: colon + 2..<from, envelope: envelope(bytes, semicolon + 2..<text.upperBound))))
    }

    static func pickup(_ bytes: Span<UInt8>, _ message: Piece) -> Result {
        guard let (queue, rest) = queueID(bytes, message), bytes.begins(rest, "uid="),
            let from = bytes.position(of: " from=", in: rest)
        else { return .event(.idle) }
        return .event(.pickedUp(queue: queue, sender: value(bytes, from: from + 6, before: rest.upperBound).value))
    }
}

extension Range where Bound == Int {
    /// Without its first so many.
    func dropping(_ count: Int) -> Range<Int> { Swift.min(lowerBound + count, upperBound)..<upperBound }
}
