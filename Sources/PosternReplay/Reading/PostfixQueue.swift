// qmgr(8) and the delivery agents: what becomes of a message.

extension PostfixMessage {
    static func queue(_ bytes: Span<UInt8>, _ message: Piece) -> Result {
        guard let (queue, rest) = queueID(bytes, message) else { return .event(.idle) }
        if bytes.equals(rest, "removed") { return .event(.removed(queue: queue)) }
        guard bytes.begins(rest, "from=") else { return .event(.idle) }
        let (sender, end) = value(bytes, from: rest.lowerBound + 5, before: rest.upperBound)
        let fields = min(end, rest.upperBound)..<rest.upperBound
        // "from=<>, status=expired, returned to sender" and "status=force-expired".
        if bytes.begins(fields, ", status=") { return .event(.idle) }
        guard bytes.begins(fields, ", size="), let size = number(bytes, after: 7, in: fields) else { return .unreadable(.queued) }
        let count = bytes.position(of: "nrcpt=", in: fields).flatMap { number(bytes, after: 6, in: $0..<fields.upperBound) } ?? 1
        return .event(.queued(queue: queue, sender: sender, size: size, recipients: count))
    }

    private static func number(_ bytes: Span<UInt8>, after offset: Int, in piece: Piece) -> Int? {
        let start = piece.lowerBound + offset
        var end = start
        while end < piece.upperBound, bytes[end].isDigit { end += 1 }
        return start <= end ? bytes.number(start..<end) : nil
    }

    /// `to=<a>, orig_to=<b>, relay=host[address]:25, delay=1.2, delays=0/0/0/0, dsn=2.0.0, status=sent (250 Ok)`
    static func delivery(_ bytes: Span<UInt8>, _ message: Piece, isRemote: Bool) -> Result {
        guard let (queue, rest) = queueID(bytes, message), bytes.begins(rest, "to=") else { return .event(.idle) }
        let (recipient, afterRecipient) = value(bytes, from: rest.lowerBound + 3, before: rest.upperBound)
        guard let statusAt = bytes.position(of: ", status=", in: min(afterRecipient, rest.upperBound)..<rest.upperBound) else {
            return .unreadable(.delivery)
        }
        var original: Piece?
        var relay = statusAt..<statusAt
        var index = min(afterRecipient, statusAt)
        while index < statusAt {
            let field = index..<statusAt
            if bytes.begins(field, ", orig_to=") {
                let (found, end) = value(bytes, from: index + 10, before: statusAt)
                original = found
                index = end
            } else if bytes.begins(field, ", relay=") {
                let (found, end) = value(bytes, from: index + 8, before: statusAt)
                relay = found
                index = end
                break
            } else {
                index += 1
            }
        }
        let statusStart = statusAt + 9
        let statusEnd = bytes.firstIndex(of: UInt8(ascii: " "), in: statusStart..<rest.upperBound) ?? rest.upperBound
        var response = min(statusEnd + 1, rest.upperBound)..<rest.upperBound
        if bytes.begins(response, "(") {
            let close = bytes.lastIndex(of: UInt8(ascii: ")"), in: response) ?? response.upperBound
            response = response.lowerBound + 1..<max(close, response.lowerBound + 1)
        }
        return .event(
            .delivery(
                .init(
                    queue: queue, recipient: recipient, original: original, relay: relay, status: statusStart..<statusEnd,
                    response: response, isRemote: isRemote)))
    }
}
