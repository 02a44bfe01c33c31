import PosternCore
import PosternEngine

/// Makes attempts of the rows of a table.
struct TableAttempts {
    /// Why a row is no attempt.
    enum Reason: String, Error, CaseIterable {
        case time = "the time is neither Unix seconds nor RFC 3339, or lies beyond the year 9999"
        case address = "the client's address is not an IP address"
        case recipient = "there is no recipient"
        case label = "the label is neither ham nor spam"
        case spf = "the SPF result is not one of RFC 7208"
        case spfIdentifies = "spf_identifies is neither yes nor no"
        case reverse = "reverse is none of none, a confirmed name, and ? with a name that is not confirmed"
        case heloLeads = "helo_leads is none of client, elsewhere and none"
        case senderMail = "sender_mail is none of reachable, null-mx and none"
        case bytes = "the octets are not a number"
        case result = "the result is none of accepted, deferred and refused"
        case delay = "the delay is not a number of seconds"
        case dnsbl = "the DNS lists are not written as zone or zone=address"
        case country = "the country is not two letters"
        case asn = "the network's number is not a number"
        case signals = "the signals are not names of checks"
    }

    private let columns: TableColumns

    init(columns: TableColumns) {
        self.columns = columns
    }

    /// The attempts of a row: one, or two where the row tells for how long the message was deferred.
    func attempts(_ bytes: Span<UInt8>, _ fields: [Piece], number: UInt64) throws(Reason) -> [LoggedAttempt] {
        func piece(_ column: TableColumns.Column) -> Piece? {
            guard let position = columns[column], !fields[position].isEmpty else { return nil }
            let field = fields[position]
            // A lone hyphen stands for nothing.
            return bytes.equals(field, "-") ? nil : field
        }
        func text(_ column: TableColumns.Column) -> String? { piece(column).map { bytes.text($0) } }

        guard let timePiece = piece(.time), let time = Self.time(bytes, timePiece) else { throw .time }
        guard let addressPiece = piece(.clientAddress),
            let address = bytes.extracting(addressPiece).withUnsafeBufferPointer({ IPAddress(bytes: $0) })
        else { throw .address }
        guard let recipient = text(.recipient).flatMap({ Mailbox($0.withoutBrackets) }) else { throw .recipient }
        var name: DomainName?
        if let piece = piece(.clientName), !bytes.equals(piece, "unknown") { name = DomainName(bytes.text(piece)) }

        var label: Label?
        if let word = text(.label)?.lowercasedASCII, word != "unknown" {
            guard let known = Label(rawValue: word) else { throw .label }
            label = known
        }
        var octets = 0
        if let piece = piece(.bytes) {
            guard let number = bytes.number(piece) else { throw .bytes }
            octets = number
        }
        var outcome = LoggedOutcome.accepted
        if let word = text(.result)?.lowercasedASCII {
            switch word {
            case "accepted", "accept", "passed", "sent": break
            case "deferred", "defer", "greylisted": outcome = .deferred
            case "refused", "rejected", "reject": outcome = .refused
            default: throw .result
            }
        }
        // A row's message is its own where none is named; a named one is told apart from numbers by its upper bit.
        let message = piece(.message).map { bytes.hash($0) | 1 << 63 } ?? number
        let client = Client(address: address, confirmedName: name, helo: text(.helo) ?? "")
        let sender = ReversePath(text(.sender)?.withoutBrackets ?? "")
        let account = text(.account)
        let evidence = try Self.evidence(bytes, piece)
        func attempt(_ time: WallTime, _ outcome: LoggedOutcome) -> LoggedAttempt {
            LoggedAttempt(
                time: time, client: client, sender: sender, recipient: recipient, message: message, bytes: octets, outcome: outcome,
                label: label, account: account, evidence: evidence)
        }
        if let piece = piece(.delay) {
            guard let delay = Self.seconds(bytes, piece), delay.milliseconds >= 0 else { throw .delay }
            if delay.milliseconds > 0, outcome == .accepted { return [attempt(time - delay, .deferred), attempt(time, .accepted)] }
        }
        return [attempt(time, outcome)]
    }

    /// What the columns tell beyond client and envelope.
    static func evidence(_ bytes: Span<UInt8>, _ piece: (TableColumns.Column) -> Piece?) throws(Reason) -> AttemptEvidence {
        var evidence = AttemptEvidence()
        if let piece = piece(.spf) {
            guard let result = SPFFinding.Result(bytes, piece) else { throw .spf }
            evidence.spf = result
        }
        if let piece = piece(.spfIdentifies) {
            guard bytes.equals(piece, "yes") || bytes.equals(piece, "no") else { throw .spfIdentifies }
            evidence.spfIdentifies = bytes.equals(piece, "yes")
        }
        if let piece = piece(.reverse) {
            guard let name = Findings.ReverseName(recorded: bytes.text(piece)) else { throw .reverse }
            evidence.reverseName = name
        }
        if let piece = piece(.heloLeads) {
            guard let leads = Findings.Resolution(recorded: bytes.text(piece)) else { throw .heloLeads }
            evidence.helo = leads
        }
        if let piece = piece(.senderMail) {
            guard let mail = Findings.MailDomain(recorded: bytes.text(piece)) else { throw .senderMail }
            evidence.senderDomain = mail
        }
        if let piece = piece(.dnsbl) {
            var listings: [RecordedListing] = []
            let words = bytes.text(piece).lowercasedASCII.split { $0 == ";" || $0 == " " || $0 == "," }
            // "none" stands for lists that were asked and did not list.
            for word in words where word != "none" {
                let parts = word.split(separator: "=", maxSplits: 1)
                guard DomainName(parts[0]) != nil else { throw .dnsbl }
                var reply: IPAddress?
                if parts.count == 2 {
                    reply = IPAddress(parts[1])
                    guard reply != nil else { throw .dnsbl }
                }
                listings.append(RecordedListing(zone: String(parts[0]), reply: reply))
            }
            evidence.listings = listings
        }
        if let piece = piece(.country) {
            let code = bytes.text(piece).uppercased()
            guard code.utf8.count == 2, code.utf8.allSatisfy(\.isLetter) else { throw .country }
            evidence.country = code
        }
        if let piece = piece(.asn) {
            let digits = bytes.begins(piece, "AS") || bytes.begins(piece, "as") ? piece.dropping(2) : piece
            guard let number = bytes.number(digits).flatMap(UInt32.init(exactly:)) else { throw .asn }
            evidence.network = number
        }
        if let piece = piece(.signals) {
            for word in bytes.text(piece).split(whereSeparator: { $0 == ";" || $0 == " " || $0 == "," }) {
                let parts = word.split(separator: ":", maxSplits: 1)
                guard let check = Check(rawValue: String(parts[0])), let count = parts.count == 2 ? Int(parts[1]) : 1, count > 0 else {
                    throw .signals
                }
                evidence.signals[check] = count
            }
        }
        return evidence
    }

    /// Unix seconds, with a fraction or without, or RFC 3339.
    static func time(_ bytes: Span<UInt8>, _ piece: Piece) -> WallTime? {
        let latest: Int64 = 253_402_300_799_999
        if let span = seconds(bytes, piece) {
            return span.milliseconds >= 0 && span.milliseconds <= latest ? WallTime(milliseconds: span.milliseconds) : nil
        }
        guard let stamp = ISOTime(bytes, at: piece.lowerBound, before: piece.upperBound), stamp.end == piece.upperBound else { return nil }
        return stamp.time
    }

    /// A number of seconds with at most three digits that count behind the point.
    private static func seconds(_ bytes: Span<UInt8>, _ piece: Piece) -> WallTime.Span? {
        let point = bytes.firstIndex(of: UInt8(ascii: "."), in: piece) ?? piece.upperBound
        guard let whole = bytes.number(piece.lowerBound..<point), whole < 1_000_000_000_000 else { return nil }
        var milliseconds = Int64(whole) * 1000
        var weight: Int64 = 100
        for index in min(point + 1, piece.upperBound)..<piece.upperBound {
            guard bytes[index].isDigit else { return nil }
            milliseconds += weight * Int64(bytes[index] - 48)
            weight /= 10
        }
        return WallTime.Span(milliseconds: milliseconds)
    }
}

extension String {
    /// Mailboxes are written with angle brackets or without.
    var withoutBrackets: String { hasPrefix("<") && hasSuffix(">") ? String(dropFirst().dropLast()) : self }
}
