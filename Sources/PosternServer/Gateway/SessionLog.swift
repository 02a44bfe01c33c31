import Logging
import NIOCore
import SMTPProtocol

/// One message on its way, as far as the log tells of it: no content, and nobody's address but the client's.
struct SessionMessage {
    let startedAt: NIODeadline
    var recipients = 0
    var refused = 0
    var octets: UInt64 = 0
    /// The backend took content.
    var hasContent = false
    var ended: TransactionEnd?

    init(startedAt: NIODeadline) {
        self.startedAt = startedAt
    }

    /// A reply was written: the transaction's last word where it has ended.
    func answered(by reply: Reply, _ session: SessionHandler) {
        if ended != nil { session.finishMessage(reply) }
    }
}

extension SessionHandler {
    /// Writes the message's line; `nil` where the client left without an answer.
    func finishMessage(_ reply: Reply?) {
        guard let message else { return }
        self.message = nil
        let isAnswer = message.ended == .completed || (message.hasContent && reply?.isPositive == false)
        let accepted = message.ended == .completed && reply?.isPositive == true
        gateway.counters.count { values in
            values.octets += message.octets
            if accepted {
                values.messagesAccepted += 1
            } else if isAnswer, reply?.isPermanent == true {
                values.messagesRefused += 1
            } else if message.recipients > 0 {
                values.messagesDeferred += 1
            }
        }
        guard message.recipients > 0, gateway.logger.logLevel <= .info else { return }
        let result = reply.map { accepted || isAnswer ? "\($0.code)" : "reset" } ?? "aborted"
        gateway.logger.info(
            "message",
            metadata: [
                "listener": .string(gateway.name), "client": .string("\(client.source.address)"), "result": .string(result),
                "recipients": .string("\(message.recipients)"), "refused": .string("\(message.refused)"),
                "bytes": .string("\(message.octets)"), "backend": .string(backend.map { "\($0.address)" } ?? ""),
                "ms": .string("\((NIODeadline.now() - message.startedAt).nanoseconds / 1_000_000)"),
            ])
    }

    /// Writes a line about a session in which no message was answered.
    func logEnd() {
        guard let machine, machine.messages == 0, gateway.logger.logLevel <= .info else { return }
        gateway.logger.info(
            "session",
            metadata: [
                "listener": .string(gateway.name), "client": .string("\(client.source.address)"),
                "helo": .string(machine.helo?.text ?? ""), "commands": .string("\(machine.commands)"),
                "violations": .string(violations.members.map { "\($0)" }.joined(separator: ",")),
                "ms": .string("\((NIODeadline.now() - startedAt).nanoseconds / 1_000_000)"),
            ])
    }
}
