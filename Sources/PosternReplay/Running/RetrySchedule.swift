import PosternCore

/// When a mail server comes back with a message that was deferred: the ages of its attempts, counted from the first.
public struct RetrySchedule: Equatable, Sendable {
    public var name: String
    /// Ascending.
    var ages: [WallTime.Span]
    /// Between further attempts after the last of `ages`; `nil`: it gives up then.
    var interval: WallTime.Span?
    /// It gives up at this age.
    var lifetime: WallTime.Span
    /// Whether the pool's next attempt comes from another of its addresses.
    var changesAddress = false

    /// The age of the attempt that follows one at `age`; `nil` once the sender has given up.
    public func next(after age: WallTime.Span) -> WallTime.Span? {
        let next: WallTime.Span
        if let found = ages.first(where: { $0 > age }) {
            next = found
        } else {
            guard let interval, interval.milliseconds > 0 else { return nil }
            let last = ages.last ?? .zero
            let steps = (age - last).milliseconds / interval.milliseconds + 1
            next = last + .milliseconds(steps * interval.milliseconds)
        }
        return next <= lifetime ? next : nil
    }

    private init(
        _ name: String, _ seconds: [Int64], every interval: WallTime.Span? = nil, for lifetime: WallTime.Span, changesAddress: Bool = false
    ) {
        self.name = name
        ages = seconds.map(WallTime.Span.seconds)
        self.interval = interval
        self.lifetime = lifetime
        self.changesAddress = changesAddress
    }

    /// A schedule of one's own; ages of zero are left out.
    public init(name: String, ages: [WallTime.Span]) {
        self.name = name
        self.ages = ages.filter { $0 > .zero }.sorted()
        interval = nil
        lifetime = self.ages.last ?? .zero
    }

    /// Postfix (postconf(5): minimal_backoff_time 300 s, maximal_backoff_time 4000 s, queue_run_delay 300 s,
    /// maximal_queue_lifetime 5 d): the wait is as long as the message is old, between the two bounds.
    public static let postfix = RetrySchedule(
        "postfix", [300, 600, 1200, 2400, 4800], every: .seconds(4000), for: .days(5))

    /// Exim's default rule, `F,2h,15m; G,16h,1h,1.5; F,4d,6h`.
    public static let exim = RetrySchedule(
        "exim", [900, 1800, 2700, 3600, 4500, 5400, 6300, 7200, 10_800, 16_200, 24_300, 36_450, 54_675], every: .hours(6), for: .days(4))

    /// A large provider's pool: seven addresses in several networks, 1, 2, 5, 6, 16 and 29 minutes, then each half hour.
    public static let pool = RetrySchedule(
        "pool", [60, 120, 300, 360, 960, 1740], every: .minutes(30), for: .days(1), changesAddress: true)

    /// What webmail providers were seen to do with a threshold of six hours (Pagani, De Astis, Graziano, Lanzi, Balzarotti,
    /// "Measuring the Role of Greylisting and Nolisting in Fighting Spam", DSN 2016), by the domain of their hosts' names.
    public static func measured(of domain: String) -> RetrySchedule? { providers[domain] }

    private static let providers: [String: RetrySchedule] = {
        let google = RetrySchedule(
            "gmail", [362, 1742, 3396, 5924, 9723, 13_784, 18_545, 26_086], every: .hours(2), for: .days(3), changesAddress: true)
        let yahoo = RetrySchedule(
            "yahoo", [127, 339, 778, 1636, 3313, 6575, 13_007, 25_836], every: .hours(4), for: .days(3))
        // Measured from one address; today's pool changes it.
        let microsoft = RetrySchedule(
            "outlook", [61, 123, 184, 306, 487, 728, 970], every: .minutes(4), for: .days(1), changesAddress: true)
        let mailRu = RetrySchedule(
            "mail.ru", [78, 1155, 2954, 4789, 6800, 9258, 11_273, 14_120, 16_263, 18_350, 20_438, 22_425], every: .hours(1), for: .days(3),
            changesAddress: true)
        let yandex = RetrySchedule("yandex", [65, 178, 413, 895, 1828, 2741, 3661], every: .seconds(930), for: .days(2))
        let gmx = RetrySchedule(
            "gmx", [301, 753, 1430, 2446, 3969, 6254, 9682, 14_824, 22_536], every: .hours(3), for: .days(4), changesAddress: true)
        let mailCom = RetrySchedule(
            "mail.com", [302, 757, 1439, 2463, 3998, 6301, 9755, 14_936, 22_708], every: .hours(3), for: .days(4), changesAddress: true)
        let qq = RetrySchedule(
            "qq", [305, 311, 317, 379, 502, 745, 1229, 3151, 5075, 8682, 12_296], for: .seconds(12_296), changesAddress: true)
        let aol = RetrySchedule("aol", [332, 692, 1292, 1892], for: .seconds(1892))
        return [
            "google.com": google, "yahoo.com": yahoo, "yahoo.co.jp": yahoo, "yahoodns.net": yahoo, "outlook.com": microsoft,
            "hotmail.com": microsoft, "mail.ru": mailRu, "yandex.net": yandex, "yandex.ru": yandex, "yandex.com": yandex, "gmx.net": gmx,
            "gmx.com": gmx, "web.de": gmx, "mail.com": mailCom, "qq.com": qq, "aol.com": aol,
        ]
    }()
}
