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
                if isExhausted { break reading }
                buffer.compact()
                isExhausted = try !stream.read(into: &buffer.bytes)
            case .overlong: line += 1
            case .line(let piece):
                line += 1
                if piece.isEmpty { continue }
                let bytes = buffer.bytes.span
                guard let known = columns, var current = records else {
                    let found = try Self.columns(bytes, piece, file)
                    columns = found
                    records = TableRecords(columns: found)
                    continue
                }
                let next = current.take(bytes, piece)
                records = current
                switch next {
                case .unfinished: continue
                case .bad(let reason): problems.add(reason.rawValue, file: file.name, line: line, text: bytes.text(piece))
                case .record:
                    guard rows.count < Self.maximumRows else {
                        throw InputFailure(file: file.name, message: "it has more than \(Self.maximumRows) rows", isBadData: true)
                    }
                    do throws(TableAttempts.Reason) {
                        let (key, evidence) =
                            current.isCopied
                            ? try Self.row(current.text.span, current.fields, known) : try Self.row(bytes, current.fields, known)
                        rows[key] = rows[key].map(evidence.completed) ?? evidence
                    } catch {
                        problems.add(error.rawValue, file: file.name, line: line, text: bytes.text(piece))
                    }
                }
            }
        }
        guard columns != nil else { throw InputFailure(file: file.name, message: "it is empty", isBadData: true) }
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
