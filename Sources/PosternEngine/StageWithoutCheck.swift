import PosternCore

/// The stages of a conversation at which nothing is checked, whoever the client is and whatever the store holds: a question
/// there is accepted at once, as `Engine.begin` would say, and a front may spare itself the asking.
public struct StagesWithoutCheck: Sendable {
    private let connect: Bool
    private let pauses: Bool

    public init(_ settings: EngineSettings) {
        connect = settings.delays.greeting == .fixed(.zero)
        pauses = settings.delays.stage > .zero || settings.bands.slow <= 0
    }

    /// - Parameter signals: what the client has done against the protocol: it may bear on how slowly it is answered.
    public func contains(_ stage: Stage, nullSender: Bool, signals: [Check: Int]) -> Bool {
        switch stage {
        case .connect: connect && signals.isEmpty
        case .ehlo, .helo, .mail: !pauses && signals.isEmpty
        case .data: !nullSender
        case .rcpt, .endOfMessage, .vrfy, .etrn: false
        }
    }
}
