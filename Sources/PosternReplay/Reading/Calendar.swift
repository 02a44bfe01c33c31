import PosternCore

/// Dates of the proleptic Gregorian calendar.
enum Calendar {
    static let millisecondsADay: Int64 = 86_400_000

    /// Days since 1 January 1970, after Howard Hinnant, "chrono-compatible low-level date algorithms". A day beyond the end
    /// of its month falls into the next.
    static func days(year: Int, month: Int, day: Int) -> Int {
        let year = month <= 2 ? year - 1 : year
        let era = (year >= 0 ? year : year - 399) / 400
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    /// The year that a moment lies in, in UTC.
    static func year(of time: WallTime) -> Int {
        var year = 1970 + Int(time.milliseconds / (millisecondsADay * 365))
        while Int64(days(year: year, month: 1, day: 1)) * millisecondsADay > time.milliseconds { year -= 1 }
        return year
    }

    static func days(inMonth month: Int, of year: Int) -> Int {
        switch month {
        case 2: isLeap(year) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }
}

extension WallTime {
    /// From a text that is a time as `ISOTime` has them and nothing more: RFC 3339, or nearly. `nil` for anything else.
    public init?(iso text: String) {
        let octets = Array(text.utf8)
        guard let read = ISOTime(octets.span, at: 0, before: octets.count), read.end == octets.count else { return nil }
        self = read.time
    }
}

/// Reads RFC 3339 and its neighbours: `2024-08-26T01:33:38.572449+00:00`, with a space in place of the T, a comma in place of
/// the point, `+0000` in place of `+00:00`, or no zone at all, which is taken for UTC.
struct ISOTime {
    var time: WallTime
    /// Where the text after it begins.
    var end: Int

    init?(_ bytes: Span<UInt8>, at start: Int, before limit: Int) {
        func two(_ index: Int) -> Int? {
            guard index + 1 < limit, bytes[index].isDigit, bytes[index + 1].isDigit else { return nil }
            return Int(bytes[index] - 48) * 10 + Int(bytes[index + 1] - 48)
        }
        guard limit <= bytes.count, limit - start >= 19, let century = two(start), let rest = two(start + 2),
            bytes[start + 4] == UInt8(ascii: "-"), let month = two(start + 5), (1...12).contains(month),
            bytes[start + 7] == UInt8(ascii: "-"), let day = two(start + 8),
            // RFC 3339 §5.7.
            (1...Calendar.days(inMonth: month, of: century * 100 + rest)).contains(day),
            bytes[start + 10] | 0x20 == UInt8(ascii: "t") || bytes[start + 10] == UInt8(ascii: " "), let hour = two(start + 11), hour < 24,
            bytes[start + 13] == UInt8(ascii: ":"), let minute = two(start + 14), minute < 60, bytes[start + 16] == UInt8(ascii: ":"),
            // RFC 3339 §5.6: a leap second is 60.
            let second = two(start + 17), second <= 60
        else { return nil }
        var index = start + 19
        var fraction: Int64 = 0
        if index + 1 < limit, bytes[index] == UInt8(ascii: ".") || bytes[index] == UInt8(ascii: ","), bytes[index + 1].isDigit {
            index += 1
            var weight: Int64 = 100
            while index < limit, bytes[index].isDigit {
                fraction += weight * Int64(bytes[index] - 48)
                weight /= 10
                index += 1
            }
        }
        var offset = 0
        if index < limit {
            switch bytes[index] {
            case UInt8(ascii: "Z"), UInt8(ascii: "z"): index += 1
            case UInt8(ascii: "+"), UInt8(ascii: "-"):
                let minutesAt = index + 3 < limit && bytes[index + 3] == UInt8(ascii: ":") ? index + 4 : index + 3
                guard let hours = two(index + 1), let minutes = two(minutesAt), hours < 24, minutes < 60 else { return nil }
                offset = (hours * 60 + minutes) * (bytes[index] == UInt8(ascii: "-") ? -1 : 1)
                index = minutesAt + 2
            default: break
            }
        }
        let days = Calendar.days(year: century * 100 + rest, month: month, day: day)
        let seconds = (days * 24 + hour) * 3600 + (minute - offset) * 60 + second
        time = WallTime(milliseconds: Int64(seconds) * 1000 + fraction)
        end = index
    }
}
