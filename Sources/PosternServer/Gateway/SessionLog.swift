import NIOCore
import PosternEngine
import SMTPProtocol

/// One message on its way, as far as the log tells of it: no content, and nobody's address but the client's.
struct SessionMessage {
    let startedAt: NIODeadline
    var recipients = 0
    var refused = 0
    var octets: UInt64 = 0
    /// The backend that has answered it.
    var backend: String?
    /// The backend took content.
    var hasContent = false
    var ended: TransactionEnd?
    /// Whether it counts towards its client's limits.
    var counts = false
    /// What its recipients cost once it is accepted.
    var pending = PendingRecipients()
    /// Whether it passed the greylist, and whom it counts for once it is accepted.
    var hasPassed = false
    var countsFor: [Identity] = []

    init(startedAt: NIODeadline) {
        self.startedAt = startedAt
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
        guard message.recipients > 0 else { return }
        if accepted, message.counts {
            gateway.decisions.charge(client, recipients: message.recipients, octets: message.octets, message.pending)
        }
        if accepted, message.hasPassed { gateway.decisions.taken(from: client.source.address, countsFor: message.countsFor) }
        gateway.decisions.log.write("message", at: SystemClocks.wall()) { line in
            name(&line)
            line.add("result", reply.map { accepted || isAnswer ? String($0.code) : "reset" } ?? "aborted")
            line.add("recipients", message.recipients)
            line.add("refused", message.refused)
            line.add("bytes", message.octets)
            line.add(nonEmpty: "backend", message.backend ?? backend?.name ?? "")
            line.add("ms", (NIODeadline.now() - message.startedAt).nanoseconds / 1_000_000)
        }
    }

    /// Writes a line about a session in which no message was answered.
    func logEnd() {
        guard let machine, machine.messages == 0 else { return }
        gateway.decisions.log.write("session", at: SystemClocks.wall()) { line in
            name(&line)
            let helo = machine.helo?.text ?? ""
            line.add(nonEmpty: "helo", gateway.decisions.log.redacts ? Redaction.sentence(helo) : helo)
            line.add("commands", machine.commands)
            line.add(nonEmpty: "violations", violations.members.map { "\($0)" }.joined(separator: ","))
            line.add("ms", (NIODeadline.now() - startedAt).nanoseconds / 1_000_000)
        }
    }

    private func name(_ line: inout LogLine) {
        line.add("listener", gateway.name)
        line.add("client", client.source.address)
    }
}
