import PosternCore

/// The head of a line of a log: time, host, program, process. RFC 5424, RFC 3164 §4.1, what rsyslog and journalctl make of them.
struct SyslogLine {
    var time: WallTime
    /// Empty where the line names none.
    var host: Piece
    /// Such as `postfix/smtpd`.
    var program: Piece
    /// 0 where the line names none.
    var process: Int
    var message: Piece
}

/// Reads the heads of one file's lines. Stamps of RFC 3164 have no year and no zone: the year is told from the first one and
/// goes on over New Year; the zone is taken for UTC, as differences are what counts.
struct SyslogReader {
    /// The time by which the first stamp must have been, `nil` where only `year` is known.
    private let latest: WallTime?
    private var year: Int?
    /// The day of the last stamp, so that a date is worked out once a day.
    private var lastMonth = 0
    private var lastDay = 0
    private var lastDays = 0

    /// `year` is that of the first stamp. Without it that is the latest year in which the stamp does not lie after `modified`,
    /// the time at which the file was last written.
    init(year: Int?, modified: WallTime?) {
        self.year = year
        // A day's grace, since stamps may be of a zone ahead of UTC.
        latest = modified.map { $0 + .days(1) }
    }

    /// `nil` for a line that does not begin as a line of a log does.
    mutating func read(_ bytes: Span<UInt8>, _ line: Piece) -> SyslogLine? {
        var index = line.lowerBound
        let end = line.upperBound
        // Some programs begin a file of UTF-8 with a byte order mark.
        if bytes.begins(line, "\u{feff}") { index += 3 }
        guard end <= bytes.count, index < end else { return nil }

        // RFC 3164 §4.1.1, RFC 5424 §6.2.1: a priority in angle brackets.
        var isVersioned = false
        if bytes[index] == UInt8(ascii: "<"), let close = bytes.firstIndex(of: UInt8(ascii: ">"), in: index..<min(index + 5, end)),
            bytes.number(index + 1..<close) != nil
        {
            index = close + 1
            if bytes.begins(index..<end, "1 ") {
                isVersioned = true
                index += 2
            }
        }
        // journalctl -o short-full puts the day of the week first.
        if index + 5 < end, bytes[index + 3] == UInt8(ascii: " "), bytes[index].isLetter, bytes[index + 4].isDigit,
            bytes[index + 5].isDigit, index + 8 < end, bytes[index + 8] == UInt8(ascii: "-")
        {
            index += 4
        }
        guard index < end, let (time, after) = bytes[index].isDigit ? iso(bytes, index, end) : rfc3164(bytes, index, end) else {
            return nil
        }
        index = after
        guard index < end, bytes[index] == UInt8(ascii: " ") else { return nil }
        index += 1
        return isVersioned ? versioned(bytes, time, index..<end) : plain(bytes, time, index..<end)
    }

    // MARK: - Stamps

    private func iso(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> (WallTime, Int)? {
        guard let stamp = ISOTime(bytes, at: start, before: end) else { return nil }
        // journalctl -o short-full names the zone in letters.
        var index = stamp.end
        if index + 4 < end, bytes[index] == UInt8(ascii: " ") {
            var letters = index + 1
            while letters < end, bytes[letters] >= UInt8(ascii: "A"), bytes[letters] <= UInt8(ascii: "Z") { letters += 1 }
            if (3...5).contains(letters - index - 1), letters < end, bytes[letters] == UInt8(ascii: " ") { index = letters }
        }
        return (stamp.time, index)
    }

    /// `Feb 21 09:21:54`, `Feb  1 09:21:54`, `Feb 1 09:21:54`.
    private mutating func rfc3164(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> (WallTime, Int)? {
        guard end - start >= 14, bytes[start + 3] == UInt8(ascii: " "),
            let month = Self.month(bytes[start], bytes[start + 1], bytes[start + 2])
        else { return nil }
        var index = start + 4
        if bytes[index] == UInt8(ascii: " ") { index += 1 }
        guard bytes[index].isDigit else { return nil }
        var day = Int(bytes[index] - 48)
        index += 1
        if bytes[index].isDigit {
            day = day * 10 + Int(bytes[index] - 48)
            index += 1
        }
        // 29 February is always let through: the year may be wrong.
        guard day >= 1, day <= Calendar.days(inMonth: month, of: 2000), end - index >= 9, bytes[index] == UInt8(ascii: " "),
            bytes[index + 3] == UInt8(ascii: ":"),
            bytes[index + 6] == UInt8(ascii: ":"), let hour = bytes.number(index + 1..<index + 3), hour < 24,
            let minute = bytes.number(index + 4..<index + 6), minute < 60, let second = bytes.number(index + 7..<index + 9), second <= 60
        else { return nil }
        index += 9
        var fraction: Int64 = 0
        if index + 1 < end, bytes[index] == UInt8(ascii: "."), bytes[index + 1].isDigit {
            index += 1
            var weight: Int64 = 100
            while index < end, bytes[index].isDigit {
                fraction += weight * Int64(bytes[index] - 48)
                weight /= 10
                index += 1
            }
        }
        let seconds = Int64(hour * 3600 + minute * 60 + second)
        let days = days(month: month, day: day)
        return (WallTime(milliseconds: (Int64(days) * 86_400 + seconds) * 1000 + fraction), index)
    }

    private mutating func days(month: Int, day: Int) -> Int {
        if month == lastMonth, day == lastDay { return lastDays }
        let year: Int
        if let known = self.year, lastMonth > 0 {
            // Over New Year the month falls back far, however long ago the last line was; a straggler of December after it belongs to
            // the old year.
            if lastMonth - month > 6 {
                year = known + 1
            } else if lastMonth <= 2, month >= 11 {
                year = known - 1
            } else {
                year = known
            }
        } else {
            year = self.year ?? firstYear(month: month, day: day)
        }
        self.year = year
        lastMonth = month
        lastDay = day
        lastDays = Calendar.days(year: year, month: month, day: day)
        return lastDays
    }

    private func firstYear(month: Int, day: Int) -> Int {
        guard let latest else { return 1970 }
        var year = Calendar.year(of: latest)
        let isLeapDay = month == 2 && day == 29
        for _ in 0..<9 {
            let isAfter = Int64(Calendar.days(year: year, month: month, day: day)) * Calendar.millisecondsADay > latest.milliseconds
            if !isAfter, !isLeapDay || Calendar.isLeap(year) { return year }
            year -= 1
        }
        return year
    }

    private static func month(_ a: UInt8, _ b: UInt8, _ c: UInt8) -> Int? {
        switch (a, b, c) {
        case (UInt8(ascii: "J"), UInt8(ascii: "a"), UInt8(ascii: "n")): 1
        case (UInt8(ascii: "F"), UInt8(ascii: "e"), UInt8(ascii: "b")): 2
        case (UInt8(ascii: "M"), UInt8(ascii: "a"), UInt8(ascii: "r")): 3
        case (UInt8(ascii: "A"), UInt8(ascii: "p"), UInt8(ascii: "r")): 4
        case (UInt8(ascii: "M"), UInt8(ascii: "a"), UInt8(ascii: "y")): 5
        case (UInt8(ascii: "J"), UInt8(ascii: "u"), UInt8(ascii: "n")): 6
        case (UInt8(ascii: "J"), UInt8(ascii: "u"), UInt8(ascii: "l")): 7
        case (UInt8(ascii: "A"), UInt8(ascii: "u"), UInt8(ascii: "g")): 8
        case (UInt8(ascii: "S"), UInt8(ascii: "e"), UInt8(ascii: "p")): 9
        case (UInt8(ascii: "O"), UInt8(ascii: "c"), UInt8(ascii: "t")): 10
        case (UInt8(ascii: "N"), UInt8(ascii: "o"), UInt8(ascii: "v")): 11
        case (UInt8(ascii: "D"), UInt8(ascii: "e"), UInt8(ascii: "c")): 12
        default: nil
        }
    }

    // MARK: - Host and program

    /// `host program[process]: message`; Solaris adds `[ID number facility]`.
    private func plain(_ bytes: Span<UInt8>, _ time: WallTime, _ rest: Piece) -> SyslogLine? {
        guard let space = bytes.firstIndex(of: UInt8(ascii: " "), in: rest) else { return nil }
        let host = rest.lowerBound..<space
        let start = space + 1
        // The program ends where its process, its colon or a space begins; a program may hold colons no more than spaces.
        var index = start
        while index < rest.upperBound {
            let byte = bytes[index]
            if byte == UInt8(ascii: "[") || byte == UInt8(ascii: ":") || byte == UInt8(ascii: " ") { break }
            index += 1
        }
        guard index > start, index < rest.upperBound else { return nil }
        let program = start..<index
        var process = 0
        if bytes[index] == UInt8(ascii: "["), let close = bytes.firstIndex(of: UInt8(ascii: "]"), in: index..<rest.upperBound) {
            process = bytes.number(index + 1..<close) ?? 0
            index = close + 1
        }
        guard index < rest.upperBound, bytes[index] == UInt8(ascii: ":") else {
            // A line without a tag, such as the kernel's or "last message repeated 3 times".
            return SyslogLine(time: time, host: host, program: program, process: process, message: index..<rest.upperBound)
        }
        index += 1
        if index < rest.upperBound, bytes[index] == UInt8(ascii: " ") { index += 1 }
        if bytes.begins(index..<rest.upperBound, "[ID "),
            let close = bytes.firstIndex(of: UInt8(ascii: "]"), in: index..<rest.upperBound),
            close + 1 < rest.upperBound
        {
            index = close + 2
        }
        return SyslogLine(time: time, host: host, program: program, process: process, message: index..<rest.upperBound)
    }

    /// RFC 5424 §6: `host program process message-id structured-data message`.
    private func versioned(_ bytes: Span<UInt8>, _ time: WallTime, _ rest: Piece) -> SyslogLine? {
        var index = rest.lowerBound
        var words: [Piece] = []
        for _ in 0..<4 {
            guard let space = bytes.firstIndex(of: UInt8(ascii: " "), in: index..<rest.upperBound) else { return nil }
            words.append(index..<space)
            index = space + 1
        }
        guard index < rest.upperBound else { return nil }
        if bytes[index] == UInt8(ascii: "-") {
            index += 1
        } else {
            // §6.3: elements in square brackets, one right after the other; a bracket within a value is escaped.
            while index < rest.upperBound, bytes[index] == UInt8(ascii: "[") {
                var isQuoted = false
                index += 1
                while index < rest.upperBound, isQuoted || bytes[index] != UInt8(ascii: "]") {
                    if bytes[index] == UInt8(ascii: "\"") { isQuoted.toggle() }
                    if isQuoted, bytes[index] == UInt8(ascii: "\\") { index += 1 }
                    index += 1
                }
                index += 1
            }
        }
        if index < rest.upperBound, bytes[index] == UInt8(ascii: " ") { index += 1 }
        // §6.4: a message in UTF-8 may begin with a byte order mark.
        if bytes.begins(min(index, rest.upperBound)..<rest.upperBound, "\u{feff}") { index += 3 }
        return SyslogLine(
            time: time, host: words[0], program: words[1], process: bytes.number(words[2]) ?? 0,
            message: min(index, rest.upperBound)..<rest.upperBound)
    }
}
