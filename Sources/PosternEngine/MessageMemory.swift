import PosternCore

/// What a front remembers of one message from question to question (Postfix: by `instance`; the gateway: in its
/// transaction). Losing it costs at most a second header or one more deferral of a bounce.
public struct MessageMemory: Equatable, Sendable {
    /// Whether the header that tells of a delay has been given.
    public var headerGiven = false
    /// Whether the field that tells of SPF has been given, or is owed.
    public var spfFieldGiven = false
    /// Whether an answer about this message has been held back.
    public var held = false
    /// Whether this message counts towards proving its client's identities: it has been counted, or will be when it is taken.
    public var counted = false
    /// It does by its last recipient, and nobody has said yet whether the mail server took that one.
    private var countIsOpen = false

    /// Whether a recipient of it was asked about: it is known then whether it counts.
    public var wasAsked = false
    /// Recipients that were accepted and count towards limits.
    public private(set) var accepted: UInt16 = 0
    /// The last of them, as a keyed hash; 0 for none.
    private var lastAccepted: UInt64 = 0
    /// Nobody has said yet whether the mail server took that one, too.
    private var lastIsOpen = false
    /// Whether the message counts towards its client's limits.
    public var counts = false
    /// Whether it has been charged.
    public var charged = false

    /// More than any MTA sends in one bounce; beyond it recipients are not remembered.
    public static let maximumRecipients = 100

    public init() {}

    /// Recipients of a null-sender message that await the verdict at DATA; at most `maximumRecipients`.
    public var awaitingData: [Mailbox] {
        get { seldom.awaitingData }
        set { seldom.awaitingData = newValue }
    }

    /// Why the first exempt recipient of a null-sender message was exempt, or the first that was only not greylisted: where none awaits
    /// the verdict at DATA, it speaks for the message. Of a message with a sender, whether it has gone to postmaster or abuse.
    public var exemptAtRcpt: Cause? {
        get { seldom.exemptAtRcpt }
        set { seldom.exemptAtRcpt = newValue }
    }

    /// Whom it is to be counted for when it is taken, by a front that hears of that.
    public var countsFor: [Identity] {
        get { if case .some(let seldom) = kept { seldom.countsFor } else { [] } }
        set { if newValue != countsFor { seldom.countsFor = newValue } }
    }

    /// It has passed, by its last recipient, and counts for these identities once it is taken.
    mutating func count(for identities: [Identity]) {
        counted = true
        countIsOpen = true
        countsFor = identities
    }

    /// Header fields that the front owes the message; a policy service can give one an answer.
    public var fieldsOwed: [String] {
        get { seldom.fieldsOwed }
        set { seldom.fieldsOwed = newValue }
    }

    /// Of a mailbox, beside its text.
    private static let mailbox = 64

    /// Of the recipients and fields that it holds.
    public var octets: Int {
        guard case .some(let seldom) = kept else { return 0 }
        return seldom.awaitingData.reduce(0) { $0 + Self.mailbox + $1.localPart.utf8.count + $1.domain.utf8.count }
            + seldom.fieldsOwed.reduce(0) { $0 + $1.utf8.count } + seldom.pending.octets
    }

    /// What the harvest had listed its client as when a trap was first named as a recipient of it, or of one before it in the same
    /// conversation.
    public struct BeforeTrap: Equatable, Sendable {
        public var colour: ListColour?

        public init(colour: ListColour?) { self.colour = colour }
    }

    /// `nil` while no trap was named. What has been learnt from then on has no bearing on the answers, which would tell a trap from a mailbox.
    public var beforeTrap: BeforeTrap? {
        get { if case .some(let seldom) = kept { seldom.beforeTrap } else { nil } }
        set { if newValue != beforeTrap { seldom.beforeTrap = newValue } }
    }

    /// What its recipients will cost once it is accepted.
    public var pending: PendingRecipients {
        get { if case .some(let seldom) = kept { seldom.pending } else { PendingRecipients() } }
        set { seldom.pending = newValue }
    }

    /// Whether the recipient that was accepted last is asked about once more: a mail server with the service in two of its lists of
    /// restrictions does so.
    public func repeats(_ recipient: @autoclosure () -> UInt64) -> Bool {
        lastIsOpen && lastAccepted != 0 && lastAccepted == recipient()
    }

    /// A recipient that counts was accepted; `recipient` is a keyed hash of it, or 0 where it is never asked about again.
    public mutating func countRecipient(_ recipient: UInt64) {
        guard accepted < .max else { return lastIsOpen = false }
        accepted += 1
        lastAccepted = recipient
        lastIsOpen = true
    }

    /// The mail server has taken the last recipient.
    public mutating func recipientTaken() {
        countIsOpen = false
        confirmRecipient()
    }

    /// The mail server has taken the last recipient, or goes on to another, as far as limits are concerned.
    public mutating func confirmRecipient() {
        lastIsOpen = false
        if case .some = kept { pending.confirm() }
    }

    /// The mail server did not take the last recipient.
    public mutating func withdrawRecipient() {
        if lastIsOpen { accepted -= 1 }
        lastIsOpen = false
        if countIsOpen {
            countIsOpen = false
            counted = false
            countsFor = []
        }
        if case .some = kept { pending.withdraw() }
    }

    // What most messages never have stands apart, behind one reference or none: a memory goes along with every question.
    private var kept = Kept.nothing

    private indirect enum Kept: Equatable, Sendable {
        case nothing
        case some(Seldom)
    }

    private struct Seldom: Equatable, Sendable {
        var awaitingData: [Mailbox] = []
        var exemptAtRcpt: Cause?
        var fieldsOwed: [String] = []
        var countsFor: [Identity] = []
        var pending = PendingRecipients()
        var beforeTrap: BeforeTrap?
    }

    private var seldom: Seldom {
        get { if case .some(let seldom) = kept { seldom } else { Seldom() } }
        set { kept = newValue == Seldom() ? .nothing : .some(newValue) }
    }
}
