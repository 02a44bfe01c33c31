import PosternCore
import Testing

@Suite("Wall time")
struct WallTimeTests {
    typealias Span = WallTime.Span

    @Test(
        "durations are read as a whole number and a unit",
        arguments: [
            ("250ms", 250), ("2s", 2000), ("3m", 180_000), ("24h", 86_400_000), ("36d", 3_110_400_000), ("0s", 0), ("0ms", 0),
            ("007s", 7000),
            ("3653d", 315_619_200_000), ("1000000ms", 1_000_000),
        ] as [(String, Int64)])
    func durations(text: String, milliseconds: Int64) {
        #expect(Span(text)?.milliseconds == milliseconds)
    }

    @Test(
        "durations that are anything else are refused",
        arguments: [
            "", "s", "ms", "5", "5 m", " 5m", "5m ", "5M", "5min", "5mm", "5s5", "1h30m", "1.5h", "-1s", "+1s", "1e3s", "1w", "1y", "٣m",
            "5µs",
            "0x5s", "3654d", "999999999999999d", "9999999999999999999999ms", "87673h", "\n5s", "5s\0",
        ])
    func badDurations(text: String) {
        #expect(Span(text) == nil)
    }

    @Test("durations print as what reads back the same, in the largest unit that fits")
    func printedDurations() {
        for (milliseconds, text) in [(0, "0s"), (1, "1ms"), (999, "999ms"), (1000, "1s"), (1001, "1001ms"), (90_000, "90s")]
            as [(Int64, String)]
        {
            #expect(Span(milliseconds: milliseconds).description == text)
        }
        #expect(Span.minutes(3).description == "3m")
        #expect(Span.hours(24).description == "1d")
        #expect(Span.days(36).description == "36d")
        for span in [Span(milliseconds: 1), .seconds(59), .minutes(90), .hours(25), .days(400), .longestSetting] {
            #expect(Span(span.description) == span)
        }
    }

    @Test(
        "durations are spoken in what matters, rounded up",
        arguments: [
            (0, "0 s"), (1, "1 s"), (1000, "1 s"), (1001, "2 s"), (119_000, "119 s"), (119_001, "2 min"), (180_000, "3 min"),
            (180_001, "4 min"),
            (7_199_000, "120 min"), (7_200_000, "2 h"), (7_200_001, "2 h 1 min"), (9_000_000, "2 h 30 min"), (172_799_000, "48 h"),
            (172_800_000, "2 d"), (172_801_000, "3 d"), (3_110_400_000, "36 d"), (-5, "0 s"),
        ] as [(Int64, String)])
    func spoken(milliseconds: Int64, text: String) {
        #expect(Span(milliseconds: milliseconds).spoken == text)
    }

    @Test(
        "what has gone by is spoken of as rounded down",
        arguments: [
            (0, "0 s"), (999, "0 s"), (119_999, "119 s"), (128_000, "2 min"), (179_999, "2 min"), (180_000, "3 min"),
            (7_199_999, "119 min"), (7_259_999, "2 h"), (9_000_000, "2 h 30 min"), (172_799_999, "47 h 59 min"), (259_199_999, "2 d"),
            (-5, "0 s"), (.min, "0 s"),
        ] as [(Int64, String)])
    func spokenElapsed(milliseconds: Int64, text: String) {
        #expect(Span(milliseconds: milliseconds).spokenElapsed == text)
    }

    @Test(
        "moments print as RFC 3339 in UTC",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (1, "1970-01-01T00:00:00.001Z"), (-1, "1969-12-31T23:59:59.999Z"),
            (-86_400_000, "1969-12-31T00:00:00.000Z"), (-86_400_001, "1969-12-30T23:59:59.999Z"),
            // Leap years: 2000 is one, 1900 and 2100 are not, 2024 is.
            (951_782_400_000, "2000-02-29T00:00:00.000Z"), (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"), (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (4_107_456_000_000, "2100-02-28T00:00:00.000Z"), (-2_203_891_200_000, "1900-03-01T00:00:00.000Z"),
            (-2_203_891_200_001, "1900-02-28T23:59:59.999Z"), (1_700_000_000_250, "2023-11-14T22:13:20.250Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"), (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"), (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001, "-0001-12-31T23:59:59.999Z"),
        ] as [(Int64, String)])
    func printed(milliseconds: Int64, text: String) {
        #expect(WallTime(milliseconds: milliseconds).description == text)
    }

    @Test("every day of 800 years follows the one before")
    func calendar() {
        var year = 1600
        var month = 1
        var day = 1
        // 1600-01-01 is 135,140 days before the epoch.
        for number in Int64(-135_140)..<(-135_140 + 2 * 146_097) {
            func padded(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }
            let text = WallTime(milliseconds: number * 86_400_000).description
            let expected = "\(year)-\(padded(month))-\(padded(day))T00:00:00.000Z"
            if text != expected {
                Issue.record("\(text) is not \(expected)")
                return
            }
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            let length = month == 2 ? (leap ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
            day += 1
            if day > length { (month, day) = (month + 1, 1) }
            if month > 12 { (year, month) = (year + 1, 1) }
        }
    }

    @Test("arithmetic stops at the ends of the range instead of trapping")
    func extremes() {
        let last = WallTime(milliseconds: .max)
        let first = WallTime(milliseconds: .min)
        #expect(last + .days(1) == last)
        #expect(first - .days(1) == first)
        #expect(last + Span(milliseconds: -1) == WallTime(milliseconds: .max - 1))
        #expect(last - first == Span(milliseconds: .max))
        #expect(first - last == Span(milliseconds: .min))
        #expect(WallTime(seconds: .max) == last)
        #expect(WallTime(seconds: .min) == first)
        #expect(Span.days(.max) == Span(milliseconds: .max))
        #expect(Span.days(.min) == Span(milliseconds: .min))
        #expect(-Span(milliseconds: .min) == Span(milliseconds: .max))
        #expect(Span(milliseconds: .max) + .seconds(1) == Span(milliseconds: .max))
        #expect(Span(milliseconds: .min) - .seconds(1) == Span(milliseconds: .min))
        #expect(Span(milliseconds: .max).secondsRoundedUp == 9_223_372_036_854_776)
        #expect(last.description.hasSuffix("Z"))
        #expect(first.description.hasPrefix("-"))
        #expect(!Span(milliseconds: .max).spoken.isEmpty)
    }

    @Test("moments and spans add, subtract and compare")
    func arithmetic() {
        let noon = WallTime(seconds: 1_700_000_000)
        #expect(noon + .minutes(3) - noon == .minutes(3))
        #expect(noon - .minutes(3) < noon)
        #expect(Span.minutes(1) == .seconds(60) && Span.hours(1) == .minutes(60) && Span.days(1) == .hours(24))
        #expect(-Span.seconds(1) < .zero)
        #expect(Span(milliseconds: 1).secondsRoundedUp == 1 && Span(milliseconds: 1000).secondsRoundedUp == 1)
    }
}
