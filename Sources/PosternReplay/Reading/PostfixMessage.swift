import PosternEngine

/// Reads the messages of Postfix's programs, and of the policy services that log beside them.
enum PostfixMessage {
    enum Result: Equatable {
        case event(LogEvent)
        /// It begins like a line that matters and does not go on like one.
        case unreadable(StaticReason)
        /// Of a program that is none of ours.
        case foreign
    }

    /// Why a line could not be read.
    enum StaticReason: String, CaseIterable {
        case client = "the client is not written as name[address]"
        case delivery = "a delivery without recipient or status"
        case queued = "a queued message without sender or size"
        case policy = "an answer of a policy service without client, sender or recipient"
    }

    /// What a message tells. `program` is a syslog tag such as `postfix/smtpd`, `postfix/submission/smtpd`, `postgrey`.
    static func read(_ bytes: Span<UInt8>, program: Piece, message: Piece) -> Result {
        let slash = bytes.lastIndex(of: UInt8(ascii: "/"), in: program)
        let name = (slash.map { $0 + 1 } ?? program.lowerBound)..<program.upperBound
        guard let first = name.first else { return .foreign }
        let message = unrepeated(bytes, message)
        switch bytes[first] {
        case UInt8(ascii: "s"):
            if bytes.equals(name, "smtpd") { return server(bytes, message) }
            if bytes.equals(name, "smtp") { return delivery(bytes, message, isRemote: true) }
            // scache, showq, spawn, sendmail.
            return slash == nil ? .foreign : .event(.idle)
        case UInt8(ascii: "q"), UInt8(ascii: "o"):
            if bytes.equals(name, "qmgr") || bytes.equals(name, "oqmgr") { return queue(bytes, message) }
        case UInt8(ascii: "n"):
            if bytes.equals(name, "nqmgr") { return queue(bytes, message) }
        case UInt8(ascii: "c"):
            if bytes.equals(name, "cleanup") { return cleanup(bytes, message) }
        case UInt8(ascii: "l"):
            if bytes.equals(name, "lmtp") || bytes.equals(name, "local") { return delivery(bytes, message, isRemote: false) }
        case UInt8(ascii: "v"):
            if bytes.equals(name, "virtual") { return delivery(bytes, message, isRemote: false) }
        case UInt8(ascii: "e"), UInt8(ascii: "r"):
            if bytes.equals(name, "error") || bytes.equals(name, "retry") { return delivery(bytes, message, isRemote: false) }
        case UInt8(ascii: "d"):
            if bytes.equals(name, "dnsblog") { return listing(bytes, message) }
            if bytes.equals(name, "discard") { return delivery(bytes, message, isRemote: false) }
        case UInt8(ascii: "p"):
            if bytes.equals(name, "postscreen") { return postscreen(bytes, message) }
            if bytes.equals(name, "pipe") { return delivery(bytes, message, isRemote: false) }
            if bytes.equals(name, "pickup") { return pickup(bytes, message) }
            if bytes.equals(name, "postgrey") { return postgrey(bytes, message) }
            if bytes.begins(name, "policy"), bytes.position(of: "spf", in: name) != nil { return spf(bytes, message) }
        default: break
        }
        // anvil, bounce, master, tlsmgr, tlsproxy, trivial-rewrite, verify and the rest tell of no attempt.
        return slash == nil ? .foreign : .event(.idle)
    }

    /// rsyslog may write `message repeated 3 times: [ text]`: repeats within moments say no more than one.
    private static func unrepeated(_ bytes: Span<UInt8>, _ message: Piece) -> Piece {
        guard bytes.begins(message, "message repeated "), bytes.ends(message, "]"),
            let start = bytes.position(of: ": [ ", in: message)
        else { return message }
        return start + 4..<message.upperBound - 1
    }

    // MARK: - Parts of lines

    /// A queue identifier and what follows it: hexadecimal digits, or letters and digits without vowels (enable_long_queue_ids).
    static func queueID(_ bytes: Span<UInt8>, _ message: Piece) -> (id: Piece, rest: Piece)? {
        var index = message.lowerBound
        var isLower = true
        while index < message.upperBound, bytes[index].isDigit || bytes[index].isLetter {
            if bytes[index] < UInt8(ascii: "a") { isLower = false }
            index += 1
        }
        let length = index - message.lowerBound
        // Words such as "warning" and "fatal" are all in lower case.
        guard length >= 5, length <= 25, !isLower, index + 1 < message.upperBound, bytes[index] == UInt8(ascii: ":"),
            bytes[index + 1] == UInt8(ascii: " ")
        else { return nil }
        return (message.lowerBound..<index, index + 2..<message.upperBound)
    }

    /// `name[address]`, `name[address]:port`, `[address]:port`; where it ends.
    static func client(_ bytes: Span<UInt8>, _ text: Piece) -> (client: LoggedClient, end: Int)? {
        guard let open = bytes.firstIndex(of: UInt8(ascii: "["), in: text),
            let close = bytes.firstIndex(of: UInt8(ascii: "]"), in: open..<text.upperBound)
        else { return nil }
        // postgrey writes a network's length behind the address.
        let slash = bytes.firstIndex(of: UInt8(ascii: "/"), in: open..<close) ?? close
        return (LoggedClient(name: text.lowerBound..<open, address: open + 1..<slash), close + 1)
    }

    /// The value that a field `key=` begins at: in angle brackets, or up to a separator.
    static func value(_ bytes: Span<UInt8>, from start: Int, before end: Int) -> (value: Piece, end: Int) {
        guard start < end, bytes[start] == UInt8(ascii: "<") else {
            var index = start
            while index < end, bytes[index] != UInt8(ascii: " "), bytes[index] != UInt8(ascii: ",") { index += 1 }
            return (start..<index, index)
        }
        // A mailbox may hold a bracket in a quoted local part: the value ends where a separator follows one.
        var index = start + 1
        while index < end {
            if bytes[index] == UInt8(ascii: ">"),
                index + 1 == end || bytes[index + 1] == UInt8(ascii: " ") || bytes[index + 1] == UInt8(ascii: ",")
                    || bytes[index + 1] == UInt8(ascii: ":")
            {
                return (start + 1..<index, index + 1)
            }
            index += 1
        }
        return (start + 1..<end, end)
    }

    /// `from=<a> to=<b> proto=ESMTP helo=<c>`, each at most once.
    static func envelope(_ bytes: Span<UInt8>, _ text: Piece) -> LoggedEnvelope {
        var envelope = LoggedEnvelope()
        var index = text.lowerBound
        while index < text.upperBound {
            let rest = index..<text.upperBound
            if bytes.begins(rest, "from=") {
                let (found, end) = value(bytes, from: index + 5, before: text.upperBound)
                envelope.sender = envelope.sender ?? found
                index = end
            } else if bytes.begins(rest, "to=") {
                let (found, end) = value(bytes, from: index + 3, before: text.upperBound)
                envelope.recipient = envelope.recipient ?? found
                index = end
            } else if bytes.begins(rest, "helo=") {
                let (found, end) = value(bytes, from: index + 5, before: text.upperBound)
                envelope.helo = envelope.helo ?? found
                index = end
            } else {
                index = bytes.firstIndex(of: UInt8(ascii: " "), in: rest) ?? text.upperBound
            }
            while index < text.upperBound, bytes[index] == UInt8(ascii: " ") || bytes[index] == UInt8(ascii: ",") { index += 1 }
        }
        return envelope
    }

    /// Where the envelope at the end of a message begins: behind the last `; ` that a field of it follows.
    static func envelopeStart(_ bytes: Span<UInt8>, _ text: Piece) -> Int? {
        var rest = text
        while let semicolon = bytes.lastIndex(of: UInt8(ascii: ";"), in: rest) {
            let field = min(semicolon + 2, text.upperBound)..<text.upperBound
            if bytes.begins(field, "from=") || bytes.begins(field, "to=") || bytes.begins(field, "proto=") { return semicolon }
            rest = rest.lowerBound..<semicolon
        }
        return nil
    }

    static func envelopeAtEnd(_ bytes: Span<UInt8>, _ text: Piece) -> LoggedEnvelope? {
        guard let semicolon = envelopeStart(bytes, text) else { return nil }
        return envelope(bytes, semicolon + 2..<text.upperBound)
    }

    /// `reject: RCPT from name[address]: 450 4.7.1 text; from=<a> to=<b> proto=ESMTP helo=<c>`, from the action on. `nil` for a
    /// message of another kind.
    static func refusal(_ bytes: Span<UInt8>, queue: Piece?, _ text: Piece) -> Result? {
        guard let colon = bytes.firstIndex(of: UInt8(ascii: ":"), in: text.lowerBound..<min(text.lowerBound + 24, text.upperBound)),
            colon + 2 < text.upperBound, bytes[colon + 1] == UInt8(ascii: " ")
        else { return nil }
        let action = text.lowerBound..<colon
        let stageStart = colon + 2
        guard let space = bytes.firstIndex(of: UInt8(ascii: " "), in: stageStart..<text.upperBound),
            bytes.begins(space..<text.upperBound, " from ")
        else { return nil }
        let stage = stageStart..<space
        guard stage.allSatisfy({ bytes[$0] >= UInt8(ascii: "A") && bytes[$0] <= UInt8(ascii: "Z") || bytes[$0] == UInt8(ascii: "-") })
        else {
            return nil
        }
        guard let (client, afterClient) = client(bytes, space + 6..<text.upperBound) else { return .unreadable(.client) }
        // Past a port.
        guard let separator = bytes.firstIndex(of: UInt8(ascii: " "), in: min(afterClient, text.upperBound)..<text.upperBound) else {
            return .unreadable(.client)
        }
        var index = separator + 1
        var code = 0
        if index + 3 <= text.upperBound, let number = bytes.number(index..<index + 3), number >= 200,
            index + 3 == text.upperBound || bytes[index + 3] == UInt8(ascii: " ")
        {
            code = number
            index = min(index + 4, text.upperBound)
        }
        var enhanced = index..<index
        var probe = index
        while probe < text.upperBound, bytes[probe].isDigit || bytes[probe] == UInt8(ascii: ".") { probe += 1 }
        if probe - index >= 5, bytes[index + 1] == UInt8(ascii: ".") {
            enhanced = index..<probe
            // A milter's answer is logged by its enhanced code alone.
            if code == 0 { code = Int(bytes[index] - 48) * 100 + 50 }
            index = min(probe + 1, text.upperBound)
        }
        let end = envelopeStart(bytes, index..<text.upperBound)
        return .event(
            .refused(
                .init(
                    queue: queue, action: action, stage: stage, client: client, code: code, enhancedCode: enhanced,
                    text: index..<(end ?? text.upperBound),
                    envelope: end.map { envelope(bytes, $0 + 2..<text.upperBound) } ?? LoggedEnvelope())))
    }
}
