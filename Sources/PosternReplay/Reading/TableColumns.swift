import PosternCore

/// What the columns of a table mean.
struct TableColumns: Equatable {
    enum Column: String, CaseIterable {
        case time
        case clientAddress = "client_address"
        case clientName = "client_name"
        case helo
        case sender
        case senderDomain = "sender_domain"
        case recipient
        case label
        case spf
        case spfIdentifies = "spf_identifies"
        case reverse
        case heloLeads = "helo_leads"
        case senderMail = "sender_mail"
        case bytes
        case result
        case delay
        case dnsbl
        case country
        case asn
        case signals
        case account
        case message

        /// Other names that are read as this one.
        var aliases: [String] {
            switch self {
            case .time: ["timestamp", "t_utc"]
            case .clientAddress: ["client_ip", "address", "ip"]
            case .clientName: ["rdns", "reverse_name"]
            case .helo: ["helo_name"]
            case .sender: ["mail_from", "from"]
            case .recipient: ["rcpt_to", "to"]
            case .bytes: ["size"]
            case .result: ["outcome"]
            case .delay: ["delay_s"]
            case .account: ["sasl_username"]
            case .message: ["queue_id", "instance"]
            case .spfIdentifies, .reverse, .heloLeads, .senderMail, .label, .spf, .dnsbl, .country, .asn, .signals, .senderDomain: []
            }
        }

        /// What an attempt cannot do without.
        static let required: [Column] = [.time, .clientAddress, .sender, .recipient]
    }

    /// The position of each column that is there.
    private(set) var positions: [Column: Int] = [:]
    let count: Int
    let delimiter: UInt8

    enum Reading: Equatable {
        case columns(TableColumns)
        /// It is a heading that lacks these.
        case lacks([String])
        /// It is no heading of a table.
        case none
    }

    /// Reads the first line of a file.
    static func read(
        _ bytes: Span<UInt8>, _ line: Piece, delimiter wanted: UInt8? = nil, required: [Column] = Column.required
    ) -> Reading {
        // A byte order mark, as spreadsheets write it.
        let line = bytes.begins(line, "\u{feff}") ? line.dropping(3) : line
        let delimiter =
            wanted ?? [UInt8(ascii: "\t"), UInt8(ascii: ","), UInt8(ascii: ";")].first { bytes.firstIndex(of: $0, in: line) != nil }
        guard let delimiter else { return .none }
        let names = bytes.extracting(line).withUnsafeBufferPointer { line in
            line.split(separator: delimiter, omittingEmptySubsequences: false).map { name in
                String(decoding: name.filter { $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: " ") }, as: UTF8.self).lowercasedASCII
            }
        }
        var columns = TableColumns(count: names.count, delimiter: delimiter)
        for column in Column.allCases {
            guard let position = ([column.rawValue] + column.aliases).lazy.compactMap({ names.firstIndex(of: $0) }).first else { continue }
            columns.positions[column] = position
        }
        let missing = required.filter { columns.positions[$0] == nil }
        if missing.isEmpty { return .columns(columns) }
        return columns.positions.count >= 2 ? .lacks(missing.map(\.rawValue)) : .none
    }

    private init(count: Int, delimiter: UInt8) {
        self.count = count
        self.delimiter = delimiter
    }

    subscript(column: Column) -> Int? { positions[column] }
}
