import PosternCore

/// How files are to be read.
public struct ReadingOptions: Equatable, Sendable {
    public enum Form: String, CaseIterable, Sendable {
        /// Told from the first line.
        case auto
        case log
        case csv
        case tsv
    }

    public var form = Form.auto
    /// The year of the first stamp of a log whose stamps have none; `nil`: told from when the file was last written.
    public var year: Int?
    /// Whether attempts that the server turned away by its own rules are replayed too.
    public var takesRefused = false
    /// Texts by which a deferral is known as a greylister's, besides the usual ones.
    public var greylistTexts: [String] = []

    public init() {}
}

/// Reads logs and tables, one beside the other where their times overlap, and hands their attempts on in the order of time.
/// What it holds is bounded: a piece of each file, messages in the queues, and the attempts of the last minutes.
public final class TrafficReader {
    /// A file under way.
    private final class Source {
        let file: InputFile
        var syslog: SyslogReader
        /// What a table has in place of a log's heads.
        var records: TableRecords?
        var attempts: TableAttempts?
        var stream: (any ByteSource)?
        var buffer = LineBuffer()
        var line = 0
        var isFirstLine = true
        /// Whether all octets have been read, if not all lines.
        var isExhausted = false
        var isAtEnd = false
        /// How far the file has been read, by its own stamps.
        var time = WallTime(milliseconds: 0)

        init(file: InputFile, year: Int?) {
            self.file = file
            syslog = SyslogReader(year: year, modified: file.modified)
        }

        var isTable: Bool { records != nil }
    }

    /// Octets that are read of a file at once, at least.
    private static let step = 65_536

    private let options: ReadingOptions
    private var sources: [Source] = []
    private var assembler: MailLogAssembler
    private var order = TimeOrder()
    private var tableAttempts = 0
    private var refusedRows = 0
    private var foreignLines = 0
    private var lines = 0
    private var finishedOctets: Int64 = 0
    private var rowNumber: UInt64 = 1 << 62

    public private(set) var problems = InputProblems()
    /// Own users' messages that were delivered elsewhere, since this was last emptied.
    public var sent: [SentMessage] = []
    /// The stamp of the earliest line, and of the latest.
    public private(set) var earliest: WallTime?
    public private(set) var latest: WallTime?

    /// Looks at the beginning of each file.
    public init(files: [InputFile], options: ReadingOptions = ReadingOptions()) throws(InputFailure) {
        self.options = options
        assembler = MailLogAssembler(
            options: .init(tellsRefused: options.takesRefused, greylistTexts: options.greylistTexts.map(\.lowercasedASCII)))
        for file in files { sources.append(try source(file)) }
        sources.sort { $0.time < $1.time }
    }

    public var counts: LogCounts {
        var counts = assembler.counts
        counts.lines = lines
        counts.foreignLines = foreignLines
        counts.attempts += tableAttempts
        counts.refused += refusedRows
        counts.late = order.late
        return counts
    }

    /// Octets of the files read so far, as they lie on the disk.
    public var consumed: Int64 { finishedOctets + sources.reduce(0) { $0 + ($1.stream?.consumed ?? 0) } }

    /// Attempts that are held back for the order of time.
    public var heldBack: Int { order.count }

    /// Reads a piece of the input and hands on the attempts that are ripe; `false` once everything has been read and handed on.
    public func advance(_ take: (LoggedAttempt) -> Void) -> Bool {
        guard let source = sources.first else {
            assembler.finish()
            collect()
            while let attempt = order.next(readTo: nil, window: nil) { take(attempt) }
            return false
        }
        // The one that is behind is read, until another is.
        let limit = sources.dropFirst().map(\.time).min()
        do throws(InputFailure) {
            try read(source, to: limit)
        } catch {
            broken(error, line: source.line)
            // What was read before it broke off is taken.
            source.isExhausted = true
        }
        if source.isAtEnd {
            finishedOctets += source.stream?.consumed ?? 0
            source.stream = nil
            sources.removeFirst()
        } else if limit != nil {
            sources.sort { $0.time < $1.time }
        }
        collect()
        let now = sources.map(\.time).min()
        // Rows of a table may be in any order: as many are held back as there is room for.
        let isLog = sources.allSatisfy { !$0.isTable }
        if let now {
            while let attempt = order.next(readTo: now, window: isLog ? TimeOrder.window : nil) { take(attempt) }
        }
        return true
    }

    // MARK: - Opening

    /// Opens a file, and reads the first line that tells of what kind it is and where in time it begins.
    private func source(_ file: InputFile) throws(InputFailure) -> Source {
        let source = Source(file: file, year: options.year)
        let stream = try file.open()
        source.stream = stream
        do throws(InputFailure) {
            while source.buffer.bytes.count < Self.step, !source.isExhausted {
                source.isExhausted = try !stream.read(into: &source.buffer.bytes)
            }
        } catch {
            // What can be read of a file that breaks off is read.
            guard !source.buffer.bytes.isEmpty else { throw error }
            source.isExhausted = true
            if !file.isRepeatable { broken(error, line: 0) }
        }
        var probe = source.buffer
        var isFirst = true
        looking: while true {
            switch probe.next(atEnd: source.isExhausted) {
            case .more: break looking
            case .overlong: isFirst = false
            case .line(let line):
                if line.isEmpty { continue }
                let bytes = probe.bytes.span
                if isFirst, let columns = try table(bytes, line, file) {
                    source.records = TableRecords(columns: columns)
                    source.attempts = TableAttempts(columns: columns)
                    isFirst = false
                    continue
                }
                isFirst = false
                if let time = firstTime(bytes, line, source) {
                    source.time = time
                    break looking
                }
            }
        }
        // Read again in its turn, so that a hundred files are not open at once.
        if file.isRepeatable {
            source.stream = nil
            source.isExhausted = false
            source.buffer = LineBuffer()
        }
        return source
    }

    private func firstTime(_ bytes: Span<UInt8>, _ line: Piece, _ source: Source) -> WallTime? {
        guard var records = source.records, let attempts = source.attempts else {
            var reader = source.syslog
            return reader.read(bytes, line)?.time
        }
        guard case .record = records.take(bytes, line) else { return nil }
        return try? Self.attempts(attempts, records, bytes, number: 0).first?.time
    }

    private static func attempts(_ attempts: TableAttempts, _ records: TableRecords, _ bytes: Span<UInt8>, number: UInt64)
        throws(TableAttempts.Reason) -> [LoggedAttempt]
    {
        records.isCopied
            ? try attempts.attempts(records.text.span, records.fields, number: number)
            : try attempts.attempts(bytes, records.fields, number: number)
    }

    private func table(_ bytes: Span<UInt8>, _ line: Piece, _ file: InputFile) throws(InputFailure) -> TableColumns? {
        let delimiter: UInt8?
        switch options.form {
        case .log: return nil
        case .csv: delimiter = UInt8(ascii: ",")
        case .tsv: delimiter = UInt8(ascii: "\t")
        case .auto:
            delimiter = nil
            var reader = SyslogReader(year: nil, modified: nil)
            if reader.read(bytes, line) != nil { return nil }
        }
        switch TableColumns.read(bytes, line, delimiter: delimiter) {
        case .columns(let columns): return columns
        case .lacks(let missing):
            throw InputFailure(file: file.name, message: "the heading lacks \(missing.joined(separator: ", "))", isBadData: true)
        case .none:
            if options.form == .auto { return nil }
            throw InputFailure(
                file: file.name, message: "the first line is no heading; it must name time, client_address, sender and recipient",
                isBadData: true)
        }
    }

    // MARK: - Reading

    private func read(_ source: Source, to limit: WallTime?) throws(InputFailure) {
        var hasFilled = false
        while true {
            switch source.buffer.next(atEnd: source.isExhausted) {
            case .line(let line):
                source.line += 1
                take(source, line)
                // Another file is behind now.
                if let limit, source.time > limit { return }
            case .overlong:
                source.line += 1
                lines += 1
                problems.add("a line of more than \(LineBuffer.maximumLine) octets", file: source.file.name, line: source.line, text: "")
            case .more:
                if source.isExhausted {
                    source.isAtEnd = true
                    while source.records?.isUnfinished == true {
                        gaveUp(.open, source, source.records?.giveUp(number: source.line) ?? [])
                    }
                    return
                }
                // A piece at a time, so that what is ripe is handed on.
                if hasFilled { return }
                try fill(source)
                hasFilled = true
            }
        }
    }

    private func fill(_ source: Source) throws(InputFailure) {
        if source.stream == nil { source.stream = try source.file.open() }
        guard let stream = source.stream else { return }
        source.buffer.compact()
        let target = source.buffer.bytes.count + Self.step
        while source.buffer.bytes.count < target, !source.isExhausted {
            source.isExhausted = try !stream.read(into: &source.buffer.bytes)
        }
    }

    private func take(_ source: Source, _ line: Piece) {
        if !source.isTable {
            guard !line.isEmpty else { return }
            lines += 1
            return takeLog(source, line)
        }
        let isUnfinished = source.records?.isUnfinished == true
        guard !line.isEmpty || isUnfinished else { return }
        // The heading was read when the file was opened.
        guard !source.isFirstLine else {
            source.isFirstLine = false
            return
        }
        takeRow(source, source.buffer.bytes, line, number: source.line)
    }

    private func takeLog(_ source: Source, _ line: Piece) {
        let octets = source.buffer.bytes
        let bytes = octets.span
        guard let head = source.syslog.read(bytes, line) else {
            return problem("it does not begin as a line of a log does", source, bytes, line, number: source.line)
        }
        reached(source, head.time)
        switch PostfixMessage.read(bytes, program: head.program, message: head.message) {
        case .foreign: foreignLines += 1
        case .unreadable(let reason): problem(reason.rawValue, source, bytes, line, number: source.line)
        case .event(.idle): break
        case .event(let event):
            // One host may run several instances, postfix and postfix-out: each has queues of its own.
            let slash = bytes.firstIndex(of: UInt8(ascii: "/"), in: head.program) ?? head.program.upperBound
            let instance = bytes.hash(head.program.lowerBound..<slash, from: bytes.hash(head.host))
            assembler.take(event, bytes, time: head.time, instance: instance, process: head.process)
        }
    }

    private func takeRow(_ source: Source, _ octets: [UInt8], _ line: Piece, number: Int) {
        let bytes = octets.span
        guard let next = source.records?.take(bytes, line), let columns = source.attempts else { return }
        switch next {
        case .unfinished: return
        case .bad(let reason):
            gaveUp(reason, source, source.records?.giveUp(bytes, line, number: number) ?? [])
        case .record:
            lines += 1
            rowNumber += 1
            guard let records = source.records else { return }
            do throws(TableAttempts.Reason) {
                let found = try Self.attempts(columns, records, bytes, number: rowNumber)
                if let last = found.last { reached(source, last.time) }
                for attempt in found { take(attempt) }
            } catch {
                problem(error.rawValue, source, bytes, line, number: number - records.linesBefore)
            }
        }
    }

    /// A record that begins in the first of these lines has come to nothing: the others are read again. Lines within a field have an even
    /// number of quotes, so that none of them opens another field: each is read again once.
    private func gaveUp(_ reason: TableRecords.Reason, _ source: Source, _ read: [TableRecords.Line]) {
        var again = Array(read.reversed())
        guard let first = again.popLast() else { return }
        lines += 1
        problem(reason.rawValue, source, first.octets.span, 0..<first.octets.count, number: first.number)
        while let line = again.popLast() {
            let isUnfinished = source.records?.isUnfinished == true
            guard !line.octets.isEmpty || isUnfinished else { continue }
            takeRow(source, line.octets, 0..<line.octets.count, number: line.number)
        }
    }

    private func take(_ attempt: LoggedAttempt) {
        if attempt.outcome == .refused {
            refusedRows += 1
            guard options.takesRefused else { return }
        }
        tableAttempts += 1
        order.insert(attempt)
    }

    private func reached(_ source: Source, _ time: WallTime) {
        source.time = max(source.time, time)
        if earliest.map({ time < $0 }) ?? true { earliest = time }
        if latest.map({ time > $0 }) ?? true { latest = time }
    }

    private func collect() {
        for attempt in assembler.attempts { order.insert(attempt) }
        assembler.attempts.removeAll(keepingCapacity: true)
        if !assembler.sent.isEmpty {
            sent += assembler.sent
            assembler.sent.removeAll(keepingCapacity: true)
        }
    }

    private func broken(_ failure: InputFailure, line: Int) {
        problems.add("the file breaks off: \(failure.message)", file: failure.file, line: line, text: "")
    }

    private func problem(_ reason: String, _ source: Source, _ bytes: Span<UInt8>, _ line: Piece, number: Int) {
        problems.add(
            reason, file: source.file.name, line: number,
            text: bytes.text(line.lowerBound..<min(line.upperBound, line.lowerBound + InputProblems.maximumText)))
    }
}
