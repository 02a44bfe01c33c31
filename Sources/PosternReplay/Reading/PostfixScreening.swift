import PosternEngine

// postscreen(8), dnsblog(8), and the policy services that log what they answered.

extension PostfixMessage {
    static func postscreen(_ bytes: Span<UInt8>, _ message: Piece) -> Result {
        guard let first = message.first else { return .event(.idle) }
        func screened(_ screening: LogEvent.Screening, after offset: Int) -> Result {
            client(bytes, message.dropping(offset)).map { .event(.screened(screening, $0.client)) } ?? .unreadable(.client)
        }
        func violation(_ check: Check) -> Result {
            guard let from = bytes.position(of: " from ", in: message), let (client, _) = client(bytes, from + 6..<message.upperBound)
            else { return .unreadable(.client) }
            return .event(.violation(check, client))
        }
        switch bytes[first] {
        case UInt8(ascii: "C"):
            if bytes.begins(message, "CONNECT from ") { return screened(.connected, after: 13) }
            if bytes.begins(message, "COMMAND PIPELINING from ") { return violation(.pipelining) }
        case UInt8(ascii: "P"):
            if bytes.begins(message, "PASS OLD ") { return screened(.passedOld, after: 9) }
            if bytes.begins(message, "PASS NEW ") { return screened(.passedNew, after: 9) }
            if bytes.begins(message, "PREGREET ") { return violation(.earlyTalk) }
        case UInt8(ascii: "D"):
            if bytes.begins(message, "DNSBL rank "), let space = bytes.firstIndex(of: UInt8(ascii: " "), in: message.dropping(11)) {
                guard let rank = bytes.number(message.lowerBound + 11..<space), bytes.begins(space..<message.upperBound, " for "),
                    let (client, _) = client(bytes, space + 5..<message.upperBound)
                else { return .unreadable(.client) }
                return .event(.dnsRank(rank, client))
            }
            if bytes.begins(message, "DENYLISTED ") { return screened(.denied, after: 11) }
        case UInt8(ascii: "B"):
            if bytes.begins(message, "BARE NEWLINE from ") { return violation(.bareLineEnding) }
            if bytes.begins(message, "BLACKLISTED ") { return screened(.denied, after: 12) }
        case UInt8(ascii: "N"):
            if bytes.begins(message, "NON-SMTP COMMAND from ") { return violation(.nonSMTP) }
            if let (_, rest) = queueID(bytes, message) { return refusal(bytes, queue: nil, rest) ?? .event(.idle) }
        case UInt8(ascii: "H"):
            if bytes.begins(message, "HANGUP after "), let from = bytes.position(of: " from ", in: message) {
                return screened(.hungUp, after: from + 6 - message.lowerBound)
            }
        case UInt8(ascii: "W"):
            if bytes.begins(message, "WHITELIST VETO ") { return screened(.vetoed, after: 15) }
            if bytes.begins(message, "WHITELISTED ") { return screened(.allowed, after: 12) }
        case UInt8(ascii: "A"):
            if bytes.begins(message, "ALLOWLIST VETO ") { return screened(.vetoed, after: 15) }
            if bytes.begins(message, "ALLOWLISTED ") { return screened(.allowed, after: 12) }
        default: break
        }
        return .event(.idle)
    }

    /// `addr 192.0.2.7 listed by domain zen.example as 127.0.0.2`
    static func listing(_ bytes: Span<UInt8>, _ message: Piece) -> Result {
        guard bytes.begins(message, "addr "), let listed = bytes.position(of: " listed by domain ", in: message),
            let reply = bytes.position(of: " as ", in: listed + 18..<message.upperBound)
        else { return .event(.idle) }
        return .event(
            .listed(address: message.lowerBound + 5..<listed, zone: listed + 18..<reply, reply: reply + 4..<message.upperBound))
    }

    /// `action=greylist, reason=new, client_name=a, client_address=192.0.2.7, sender=b, recipient=c`, as postgrey writes it, with
    /// a queue identifier before it or without, and `delay=300` among it once it has passed.
    static func postgrey(_ bytes: Span<UInt8>, _ message: Piece) -> Result {
        let text = queueID(bytes, message)?.rest ?? message
        guard bytes.begins(text, "action=") else { return .event(.idle) }
        var isDeferred: Bool?
        var client = LoggedClient(name: text.upperBound..<text.upperBound, address: text.upperBound..<text.upperBound)
        var sender: Piece?
        var recipient: Piece?
        var index = text.lowerBound
        while index < text.upperBound {
            let end = bytes.position(of: ", ", in: index..<text.upperBound) ?? text.upperBound
            let field = index..<end
            if bytes.begins(field, "action=") {
                isDeferred = bytes.equals(field.dropping(7), "greylist")
            } else if bytes.begins(field, "client_name=") {
                client.name = field.dropping(12)
            } else if bytes.begins(field, "client_address=") {
                let address = field.dropping(15)
                client.address = address.lowerBound..<(bytes.firstIndex(of: UInt8(ascii: "/"), in: address) ?? address.upperBound)
            } else if bytes.begins(field, "sender=") {
                sender = field.dropping(7)
            } else if bytes.begins(field, "recipient=") {
                recipient = field.dropping(10)
            }
            index = end == text.upperBound ? end : end + 2
        }
        guard let isDeferred, let recipient, !client.address.isEmpty else { return .unreadable(.policy) }
        return .event(
            .policy(
                .init(
                    isDeferred: isDeferred, client: client, sender: sender ?? recipient.upperBound..<recipient.upperBound,
                    recipient: recipient))
        )
    }

    /// `Pass; identity=mailfrom; client-ip=192.0.2.7; helo=a; envelope-from=b; receiver=c`, and the Received-SPF field that
    /// policyd-spf (Python) and policy-spf (Perl) log (RFC 7208 §9.1).
    static func spf(_ bytes: Span<UInt8>, _ message: Piece) -> Result {
        var text = message
        if let position = bytes.position(of: "Received-SPF: ", in: message) { text = message.dropping(position + 14 - message.lowerBound) }
        var end = text.lowerBound
        while end < text.upperBound, bytes[end].isLetter { end += 1 }
        guard let result = SPFFinding.Result(bytes, text.lowerBound..<end) else { return .event(.idle) }
        func field(_ key: StaticString) -> Piece? {
            guard let position = bytes.position(of: key, in: end..<text.upperBound) else { return nil }
            var start = position + key.utf8CodeUnitCount
            var stop = bytes.firstIndex(of: UInt8(ascii: ";"), in: start..<text.upperBound) ?? text.upperBound
            if stop == text.upperBound { stop = bytes.firstIndex(of: UInt8(ascii: " "), in: start..<stop) ?? stop }
            // Perl's quotes the sender, Python's writes <> for none.
            if stop - start >= 2, [UInt8(ascii: "\""), UInt8(ascii: "<")].contains(bytes[start]) {
                start += 1
                stop -= 1
            }
            return start..<stop
        }
        guard let address = field("client-ip=") else { return .event(.idle) }
        let isHelo = field("identity=").map { bytes.equals($0, "helo") } ?? false
        return .event(
            .spf(
                .init(
                    result: result, isHelo: isHelo, address: address, helo: field("helo=") ?? end..<end,
                    sender: field("envelope-from=") ?? end..<end)))
    }
}
