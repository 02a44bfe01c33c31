import PosternCore

extension Engine {
    /// Whether nothing is checked at this stage of a conversation, whoever the client is and whatever the store holds: it is
    /// accepted at once, and a front may spare itself the question. Every `true` here is what `begin` would say.
    public func hasNoCheck(at stage: Stage, nullSender: Bool, signals: [Check: Int]) -> Bool {
        switch stage {
        case .connect: signals.isEmpty && settings.delays.greeting == .fixed(.zero)
        case .ehlo, .helo, .mail: signals.isEmpty && settings.delays.stage == .zero && settings.bands.slow > 0
        case .data: !nullSender
        case .rcpt, .endOfMessage, .vrfy, .etrn: false
        }
    }
}
