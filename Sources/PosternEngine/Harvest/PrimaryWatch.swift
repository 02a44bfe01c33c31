import PosternCore

/// Whether the primary could be reached when a client chose a fake MX: where it could not, the choice says nothing.
struct PrimaryWatch: Equatable, Sendable {
    /// Whether mail for the primary comes by this very process at all: a gateway, or a policy service that is asked.
    let isSeen: Bool
    private let startedAt: WallTime
    private var isOut = false
    /// The end of the last outage.
    private var wasOutUntil: WallTime?
    private var lastSign: WallTime?

    init(isSeen: Bool, startedAt: WallTime) {
        self.isSeen = isSeen
        self.startedAt = startedAt
    }

    /// A client or a mail server was answered, or a backend is well.
    mutating func sawLife(_ now: WallTime) { lastSign = max(lastSign ?? now, now) }

    mutating func isOut(_ out: Bool, _ now: WallTime) {
        if out || isOut { wasOutUntil = now }
        isOut = out
    }

    /// Whether the first minutes after a start or an outage are over.
    func isSettled(_ now: WallTime, quiet: WallTime.Span) -> Bool {
        guard !isOut, now - startedAt >= quiet else { return false }
        return wasOutUntil.map { now - $0 >= quiet } ?? true
    }

    /// Whether it has shown that it lives not long before `moment`.
    func livedBefore(_ moment: WallTime, within span: WallTime.Span) -> Bool {
        lastSign.map { $0 <= moment && moment - $0 <= span } ?? false
    }

    /// Whether it has been well from `moment` until now.
    func livedOn(after moment: WallTime) -> Bool {
        guard !isOut, let lastSign, lastSign > moment else { return false }
        return wasOutUntil.map { $0 < moment } ?? true
    }
}
