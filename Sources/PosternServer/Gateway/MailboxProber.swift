import NIOCore
import PosternCore
import SMTPProtocol

/// Asks the backend whether it knows mailboxes, on a few connections that serve no client.
///
/// What is learnt goes to the listener's cache. Where nothing is learnt, the mailbox counts as existing.
final class MailboxProber {
    private final class Question {
        let recipient: RecipientCommand
        var waiting: [() -> Void] = []
        /// Backends that failed to answer it.
        var failed: [ListenAddress] = []
        /// What the cache knew when it was asked.
        let epoch: UInt64

        init(_ recipient: RecipientCommand, epoch: UInt64) {
            self.recipient = recipient
            self.epoch = epoch
        }
    }

    /// A connection, and what it is asked at the moment.
    private final class Line: BackendUser {
        unowned let prober: MailboxProber
        var connection: BackendConnection?
        var question: Question?
        var asked = 0
        var outcome: ProbeOutcome?
        var hasFailed = false
        var usedAt = NIODeadline.now()

        init(_ prober: MailboxProber) {
            self.prober = prober
        }

        func backend(_ connection: BackendConnection, probed outcome: ProbeOutcome) {
            self.outcome = outcome
        }

        func backend(_ connection: BackendConnection, failed failure: BackendFailure) {
            guard connection === self.connection else { return }
            hasFailed = true
        }

        func backendTurnEnded(_ connection: BackendConnection) {
            guard connection === self.connection else { return }
            prober.advance(self)
        }
    }

    /// A connection that was not used for this long is let go.
    private static let idle = TimeAmount.seconds(20)

    private unowned let gate: GatewayLoop
    private var lines: [Line] = []
    private var queue: [Question] = []
    private var open: [Mailbox: Question] = [:]

    init(gate: GatewayLoop) {
        self.gate = gate
    }

    /// Mailboxes that are being asked about or wait for it.
    var pending: Int { open.count }

    /// Asks about a mailbox; `done` is called once the cache knows, at once where nobody can be asked.
    func ask(_ recipient: RecipientCommand, _ settings: GatewaySettings, done: @escaping () -> Void) {
        if let question = open[recipient.mailbox] {
            question.waiting.append(done)
            return
        }
        guard open.count < settings.probe.waiting else {
            gate.gateway.counters.count { $0.probesInconclusive += 1 }
            return done()
        }
        let question = Question(RecipientCommand(recipient.mailbox, wirePath: recipient.wirePath), epoch: gate.gateway.mailboxes.epoch)
        question.waiting.append(done)
        open[recipient.mailbox] = question
        queue.append(question)
        if let line = lines.first(where: { $0.question == nil }) {
            take(line, settings)
        } else if lines.count < settings.probe.connections {
            let line = Line(self)
            lines.append(line)
            take(line, settings)
        }
    }

    /// Lets go of connections that have nothing to do.
    func tidy(_ now: NIODeadline) {
        lines.removeAll { line in
            guard line.question == nil, now - line.usedAt >= Self.idle else { return false }
            line.connection?.leave()
            line.connection = nil
            return true
        }
    }

    private func take(_ line: Line, _ settings: GatewaySettings) {
        guard line.question == nil, !queue.isEmpty else { return }
        let question = queue.removeFirst()
        let directory = gate.gateway.directory
        let route =
            settings.routes.isEmpty
            ? directory.candidates() : directory.candidates(among: settings.route(to: question.recipient.mailbox) ?? [])
        let candidates = route.filter { !question.failed.contains($0) }
        let tls = gate.gateway.current.backendTLS
        // One that is for other domains' servers, or that was opened before the settings changed, would not know.
        if let connection = line.connection,
            line.asked >= settings.probe.perConnection || !candidates.contains(connection.address)
                || connection.tls !== tls || connection.session.settings != opening(connection.address, settings)
        {
            connection.leave()
            line.connection = nil
        }
        line.question = question
        line.outcome = nil
        line.hasFailed = false
        line.usedAt = .now()
        gate.gateway.counters.count { $0.probes += 1 }
        if let connection = line.connection {
            line.asked += 1
            connection.probe(question.recipient)
            return
        }
        guard let address = candidates.first else { return finish(line, .silent) }
        let connection = BackendConnection(
            address, settings: opening(address, settings), client: nil, tls: tls, gate: gate, user: line)
        line.connection = connection
        line.asked = 1
        connection.probe(question.recipient)
        connection.connect(timeout: .milliseconds(settings.connectTimeout.milliseconds))
    }

    /// No mail is at stake, and a client waits for the answer only a little: a backend that takes long is not well.
    private func opening(_ address: ListenAddress, _ settings: GatewaySettings) -> BackendSettings {
        var opening = gate.gateway.backendSettings(for: address, settings)
        opening.timeouts.shorten(to: settings.health.patience)
        return opening
    }

    private func advance(_ line: Line) {
        let settings = gate.gateway.settings
        if line.hasFailed {
            // A connection that was idle may have been closed meanwhile: one more try, on a new one.
            let mayTryAgain = line.asked > 1
            let address = line.connection?.address
            line.connection = nil
            line.asked = 0
            line.hasFailed = false
            if let outcome = line.outcome { return conclude(line, outcome) }
            guard let question = line.question else { return }
            // And if that was a new one, another backend is asked.
            if !mayTryAgain, let address { question.failed.append(address) }
            line.question = nil
            queue.insert(question, at: 0)
            return take(line, settings)
        }
        guard let outcome = line.outcome, line.connection?.session.isIdle == true else { return }
        conclude(line, outcome)
    }

    private func conclude(_ line: Line, _ outcome: ProbeOutcome) {
        switch outcome {
        case .accepted: finish(line, .exists)
        // RFC 3463 §3.2: only the code tells whether it is for the mailbox. Without one it may be for the null sender: a mailbox that
        // takes no bounces, or a signed return address (BATV).
        case .refused(let reply) where reply.namesUnknownMailbox: finish(line, reply.enhancedCode == nil ? .doubted : .unknown(reply))
        case .refused, .inconclusive: finish(line, .silent)
        }
    }

    private func finish(_ line: Line, _ knowledge: MailboxCache.Knowledge) {
        guard let question = line.question else { return }
        let settings = gate.gateway.settings
        gate.gateway.mailboxes.remember(question.recipient.mailbox, knowledge, of: question.epoch, settings.probe, now: .now())
        if knowledge == .silent { gate.gateway.counters.count { $0.probesInconclusive += 1 } }
        line.question = nil
        line.outcome = nil
        open[question.recipient.mailbox] = nil
        for done in question.waiting { done() }
        take(line, settings)
    }
}
