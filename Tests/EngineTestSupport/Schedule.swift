import PosternCore
import PosternEngine

/// One step of a schedule. A message is a number; its questions have an instance of their own.
public enum Step: Equatable, Sendable {
    case rcpt(message: Int, host: Int, person: World.Person, sender: String, recipient: Int)
    /// At DATA, for all recipients the message has been asked about.
    case data(message: Int, host: Int, person: World.Person, sender: String, recipients: [Int])
    /// What was submitted is committed, and its answers leave.
    case commit
    /// The process dies: what was submitted is lost, and the memory of messages with it.
    case crash
    /// It dies after the commit, before the answers leave.
    case crashBeforeAnswers
    /// A stop that finishes its work, and a start.
    case restart
    /// Like a crash, but the machine goes down as well, and comes up again this much later.
    case reboot(WallTime.Span)
    case wait(WallTime.Span)
    /// Somebody sets the wall clock.
    case stepClock(WallTime.Span)
    case expire
    case mode(Mode)
    case list(ListEntry.List, ListedKind, until: WallTime.Span?)
    case unlist(ListEntry.List, ListedKind)
    case release(recipient: Int, for: WallTime.Span)

    public enum ListedKind: Hashable, Sendable {
        case host(Int)
        case person(World.Person)
        case recipient(Int)
    }
}

/// What happens at one site, made from a seed.
public struct Schedule: Sendable, CustomStringConvertible {
    public var seed: UInt64
    public var greylist: GreylistSettings
    public var steps: [Step]

    public var description: String {
        let settings =
            "seed \(seed): delay \(greylist.delay), window \(greylist.window), lifetime \(greylist.lifetime), proven after \(greylist.provenAfter)"
        return ([settings] + steps.enumerated().map { "\($0.offset): \($0.element)" }).joined(separator: "\n")
    }

    /// A correspondence under way: attempts for the same recipients, from one of a few hosts, again and again.
    private struct Mail {
        var person: World.Person
        var recipients: [Int]
        var pool: [Int]
        /// Since the schedule began.
        var firstAttempt: WallTime.Span?
        var lastAttempt: WallTime.Span?
    }

    public init(seed: UInt64) {
        self.seed = seed
        var random = Seeded(seed: seed)
        var greylist = GreylistSettings()
        greylist.delay = random.pick([.minutes(1), .minutes(3), .minutes(10)])
        greylist.window = random.pick([.hours(4), .hours(24)])
        greylist.lifetime = random.pick([.days(2), .days(36)])
        greylist.provenAfter = random.pick([0, 2, 3, 5])
        self.greylist = greylist
        steps = []

        var mails = (0..<(1 + random.below(3))).map { _ in Self.mail(&random) }
        var elapsed = WallTime.Span.zero
        var message = 0
        for _ in 0..<(8 + random.below(18)) {
            switch random.below(100) {
            case 0..<58:
                let index = random.below(mails.count)
                if mails[index].firstAttempt == nil { mails[index].firstAttempt = elapsed }
                mails[index].lastAttempt = elapsed
                attempt(mails[index], message: message, &random)
                message += 1
            case 58..<64: steps.append(.stepClock(Self.clockStep(&random)))
            case 64..<70:
                steps.append(random.pick([.crash, .crashBeforeAnswers, .restart, .reboot(.seconds(20 + Int64(random.below(100))))]))
            case 70..<76: steps.append(.expire)
            case 76..<80: steps.append(.mode(random.pick([.shadow, .on, .on, .off])))
            case 80..<84: changeLists(&random)
            case 84..<90: mails.append(Self.mail(&random))
            default: break
            }
            let span = Self.pause(mails, elapsed, greylist, &random)
            if span > .zero {
                steps.append(.wait(span))
                elapsed = elapsed + span
            }
        }
        steps.append(.commit)
    }

    private static func mail(_ random: inout Seeded) -> Mail {
        let person = random.pick(World.Person.allCases + [.null, .alice, .list])
        let count = random.pick(person == .null ? [1, 1, 2, 3] : [1, 1, 1, 2, 3])
        var recipients: [Int] = []
        for _ in 0..<count {
            let recipient = random.chance(85) ? random.below(3) : random.below(World.recipients.count)
            if !recipients.contains(recipient) { recipients.append(recipient) }
        }
        return Mail(person: person, recipients: recipients, pool: random.pick(World.pools))
    }

    /// The steps of one delivery attempt, with what may come between them.
    private mutating func attempt(_ mail: Mail, message: Int, _ random: inout Seeded) {
        let host = random.pick(mail.pool)
        let sender = mail.person.address(&random)
        var recipients = mail.recipients
        if recipients.count > 1, random.chance(20) { recipients.removeLast() }
        if random.chance(30) { recipients.reverse() }
        for recipient in recipients {
            steps.append(.rcpt(message: message, host: host, person: mail.person, sender: sender, recipient: recipient))
            if random.chance(80) { steps.append(.commit) }
            if random.chance(3) { steps.append(random.pick([.crash, .crashBeforeAnswers, .reboot(.seconds(30))])) }
        }
        if mail.person == .null || random.chance(10) {
            steps.append(.data(message: message, host: host, person: mail.person, sender: sender, recipients: recipients))
            if random.chance(80) { steps.append(.commit) }
            if random.chance(3) { steps.append(random.pick([.crash, .crashBeforeAnswers])) }
        }
    }

    private mutating func changeLists(_ random: inout Seeded) {
        let kind: Step.ListedKind =
            random.pick([
                .host(World.listedAs(random.below(World.hosts.count - 1))), .person(.number),
                .recipient(random.below(World.recipients.count)),
            ])
        let list: ListEntry.List = random.pick([.allow, .block])
        switch random.below(3) {
        case 0: steps.append(.list(list, kind, until: random.chance(50) ? nil : .minutes(Int64(1 + random.below(300)))))
        case 1: steps.append(.release(recipient: random.below(3), for: .minutes(10)))
        default:
            // Entries that stay would make the rest of the schedule a dull one.
            steps.append(.list(list, kind, until: .minutes(30)))
            if random.chance(50) { steps.append(.unlist(list, kind)) }
        }
    }

    private static func clockStep(_ random: inout Seeded) -> WallTime.Span {
        let size = random.pick(
            [.milliseconds(400), .seconds(2), .seconds(90), .minutes(7), .hours(1), .hours(30), .days(40), .days(4000)] as [WallTime.Span])
        return random.chance(50) ? size : -size
    }

    /// How long until the next thing happens: often the very moment at which something ends for one of the mails.
    private static func pause(
        _ mails: [Mail], _ elapsed: WallTime.Span, _ greylist: GreylistSettings, _ random: inout Seeded
    ) -> WallTime.Span {
        let mail = random.pick(mails)
        let edge = WallTime.Span.milliseconds(Int64(random.below(3)) - 1)
        func until(_ moment: WallTime.Span?) -> WallTime.Span? {
            guard let moment, moment + edge > elapsed else { return nil }
            return moment + edge - elapsed
        }
        let fraction = WallTime.Span.milliseconds(greylist.delay.milliseconds * Int64(random.below(130)) / 100)
        switch random.below(100) {
        case 0..<30: return fraction
        case 30..<55: return until(mail.firstAttempt.map { $0 + greylist.delay }) ?? fraction
        case 55..<62: return until(mail.firstAttempt.map { $0 + greylist.window }) ?? fraction
        case 62..<67: return until(mail.lastAttempt.map { $0 + greylist.lifetime }) ?? fraction
        case 67..<72: return .milliseconds(greylist.lifetime.milliseconds * Int64(40 + random.below(50)) / 100)
        case 72..<80: return .milliseconds(Int64(random.below(3)))
        case 80..<88: return .minutes(Int64(random.below(120)))
        case 88..<92: return .hours(Int64(random.below(30)))
        default: return .zero
        }
    }
}
