import PosternCore

/// Evidence from a table beside the logs: a row for a client, for a client and a sender's domain, or for these and a HELO name, with
/// the columns `client_address`, `sender_domain` (or `sender`), `helo`, and any of the columns of evidence. What was recorded once,
/// by whatever asked DNS at the time, is replayed as often as one likes.
public struct EvidenceTable: Sendable {
    /// Rows that are read; a table of more is refused, since it is held in memory.
    public static let maximumRows = 5_000_000

    private struct Key: Hashable {
        var address: IPAddress
        /// `nil` where the row is about the client alone; empty for the null sender.
        var domain: String?
        /// `nil` where the row is about any.
        var helo: String?
    }

    private var rows: [Key: AttemptEvidence] = [:]
    public let name: String
    /// Rows that could not be read.
    public private(set) var problems = InputProblems()

    public var count: Int { rows.count }

    public init(_ file: InputFile) throws(InputFailure) {
        name = "the table \(file.name)"
        let stream = try file.open()
        var buffer = LineBuffer()
        var columns: TableColumns?
        var records: TableRecords?
        var line = 0
        var isExhausted = false
        reading: while true {
            switch buffer.next(atEnd: isExhausted) {
            case .more:
                if isExhausted {
                    if let columns {
                        while records?.isUnfinished == true {
                            try gaveUp(.open, records?.giveUp(number: line) ?? [], &records, columns, file)
                        }
                    }
                    break reading
                }
                buffer.compact()
                isExhausted = try !stream.read(into: &buffer.bytes)
            case .overlong: line += 1
            case .line(let piece):
                line += 1
                if piece.isEmpty, records?.isUnfinished != true { continue }
                let bytes = buffer.bytes.span
                guard let known = columns else {
                    let found = try Self.columns(bytes, piece, file)
                    columns = found
                    records = TableRecords(columns: found)
                    continue
                }
                try take(bytes, piece, number: line, &records, known, file)
            }
        }
        guard columns != nil else { throw InputFailure(file: file.name, message: "it is empty", isBadData: true) }
    }

    private mutating func take(
        _ bytes: Span<UInt8>, _ line: Piece, number: Int, _ records: inout TableRecords?, _ columns: TableColumns, _ file: InputFile
    ) throws(InputFailure) {
        guard let next = records?.take(bytes, line) else { return }
        switch next {
        case .unfinished: return
        case .bad(let reason): try gaveUp(reason, records?.giveUp(bytes, line, number: number) ?? [], &records, columns, file)
        case .record:
            guard rows.count < Self.maximumRows else {
                throw InputFailure(file: file.name, message: "it has more than \(Self.maximumRows) rows", isBadData: true)
            }
            guard let read = records else { return }
            do throws(TableAttempts.Reason) {
                let (key, evidence) =
                    read.isCopied ? try Self.row(read.text.span, read.fields, columns) : try Self.row(bytes, read.fields, columns)
                rows[key] = rows[key].map(evidence.completed) ?? evidence
            } catch {
                problems.add(error.rawValue, file: file.name, line: number - read.linesBefore, text: bytes.text(line))
            }
        }
    }

    /// As `TrafficReader` does: the lines behind the one that a record begins in are read again.
    private mutating func gaveUp(
        _ reason: TableRecords.Reason, _ read: [TableRecords.Line], _ records: inout TableRecords?, _ columns: TableColumns,
        _ file: InputFile
    ) throws(InputFailure) {
        var again = Array(read.reversed())
        guard let first = again.popLast() else { return }
        problems.add(reason.rawValue, file: file.name, line: first.number, text: first.octets.span.text(0..<first.octets.count))
        while let line = again.popLast() {
            guard !line.octets.isEmpty || records?.isUnfinished == true else { continue }
            try take(line.octets.span, 0..<line.octets.count, number: line.number, &records, columns, file)
        }
    }

    private static func columns(_ bytes: Span<UInt8>, _ line: Piece, _ file: InputFile) throws(InputFailure) -> TableColumns {
        switch TableColumns.read(bytes, line, required: [.clientAddress]) {
        case .columns(let columns): return columns
        case .lacks, .none:
            throw InputFailure(file: file.name, message: "the first line is no heading; it must name client_address", isBadData: true)
        }
    }

    private static func row(_ bytes: Span<UInt8>, _ fields: [Piece], _ columns: TableColumns)
        throws(TableAttempts.Reason) -> (Key, AttemptEvidence)
    {
        func piece(_ column: TableColumns.Column) -> Piece? {
            guard let position = columns[column], !fields[position].isEmpty, !bytes.equals(fields[position], "-") else { return nil }
            return fields[position]
        }
        guard let addressPiece = piece(.clientAddress),
            let address = bytes.extracting(addressPiece).withUnsafeBufferPointer({ IPAddress(bytes: $0) })
        else { throw .address }
        var domain = piece(.senderDomain).map { bytes.text($0).lowercasedASCII.withALabels }
        if domain == nil, let sender = piece(.sender) { domain = Mailbox(bytes.text(sender).withoutBrackets)?.domain }
        let helo = piece(.helo).map { bytes.text($0) }
        // Where a row has room for both and names a greeting alone, it is about the null sender.
        if columns[.senderDomain] != nil, helo != nil, domain == nil { domain = "" }
        return (Key(address: address, domain: domain, helo: helo), try TableAttempts.evidence(bytes, piece))
    }

    func evidence(for attempt: LoggedAttempt) -> AttemptEvidence {
        guard let address = attempt.client.address else { return AttemptEvidence() }
        let domain = attempt.sender.mailbox?.domain ?? ""
        // The closer a row describes an attempt, the more it counts.
        var evidence = AttemptEvidence()
        for key in [
            Key(address: address, domain: domain, helo: attempt.client.helo), Key(address: address, domain: domain),
            Key(address: address, helo: attempt.client.helo), Key(address: address),
        ] {
            if let row = rows[key] { evidence = evidence.completed(by: row) }
        }
        return evidence
    }
}
