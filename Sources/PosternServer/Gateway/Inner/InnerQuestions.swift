import NIOCore
import NIOSSL
import PosternCore
import PosternEngine
import SMTPProtocol

extension SessionHandler {
    /// What the door has to say itself; `nil` where a session goes on as at any gateway.
    func answerAtTheDoor(_ asked: Question) -> SMTPProtocol.Decision? {
        guard let door = gateway.door, let settings = current.settings.inner else { return nil }
        let guest = self.guest(at: asked, door, settings)
        self.guest = guest
        switch (guest, asked) {
        case (.welcome, _): return nil
        case (.stranger(.unanswered), .connect), (.stranger(.unanswered), .mail): return .drop(nil)
        case (.stranger(.busy), .connect), (.stranger(.busy), .mail):
            // Where a sender's domain may be trusted its name is waited for.
            return gateway.decisions.trustsDomains ? .accept : .drop(Reply(421, "4.7.0", settings.advice))
        case (.stranger(let reception), .recipient(let recipient, _)):
            // RFC 5321 §4.5.1: whoever wants to become known must be able to say so.
            if recipient.mailbox.isAlwaysReachable { return nil }
            return reception == .busy ? .drop(Reply(421, "4.7.0", settings.advice)) : .defer(Reply(450, "4.7.1", settings.advice))
        case (.node, .recipient(let recipient, _)):
            if let refusal = relayRefusal(recipient.mailbox) { return .reject(refusal) }
            return .accept
        case (.stranger, _), (.node, _), (.unseen, _): return .accept
        }
    }

    /// What the client is to the door. A node that is known by its certificate, and not by its address, cannot show it before it is
    /// greeted; so there nobody is a stranger before it comes to mail.
    private func guest(at asked: Question, _ door: InnerDoor, _ settings: InnerDoor.Settings) -> InnerDoor.Guest {
        let isOfMail =
            switch asked {
            case .connect, .helo: false
            case .mail, .recipient, .content: true
            }
        if let guest, guest != .unseen || !isOfMail { return guest }
        return door.guest(
            client.source.address, isKnown: isKnown,
            mayShowItself: !isOfMail && current.tls != nil && !settings.certificates.isEmpty, settings, now: .now())
    }

    /// Whether the client is a stranger at an inner door: what we have to say ourselves is never final then, lest its mail server return
    /// mail that it could hand in elsewhere. What the backend says of mail that was let through is the backend's own.
    var isPutOff: Bool {
        switch guest {
        case .stranger?: !question.isVouchedFor
        case .unseen?: true
        case .node?, .welcome?, nil: false
        }
    }

    /// Whether SPF may show that a stranger writes for a domain that the admin trusts.
    var mayBeVouched: Bool {
        guard case .stranger? = guest, let domain = machine?.transaction?.mail.reversePath.mailbox?.domainName else { return false }
        return gateway.decisions.trusts(domain)
    }

    /// It does: its address is a stranger's for other senders still, and begins anew as one.
    func welcomeForOneMessage() {
        gateway.door?.recognised(client.source.address, as: guest)
        // Counted out once; the session's next senders are put off again.
        if guest == .stranger(.busy) || guest == .stranger(.deferred) { guest = .stranger(.vouched) }
    }

    /// TLS for a client. Where nodes are known by their certificates and by no authority, it may show any: it is compared as a whole.
    func tlsHandler(_ tls: NIOSSLContext) -> NIOSSLServerHandler {
        guard let nodes = current.settings.inner?.certificates, !nodes.isEmpty, nodes.authoritiesPath == nil else {
            return NIOSSLServerHandler(context: tls)
        }
        return NIOSSLServerHandler(context: tls, customVerificationCallback: { _, promise in promise.succeed(.certificateVerified) })
    }

    /// The client has shown a certificate, or none. A node may now say whom it speaks for.
    func recogniseNode() {
        guard let door = gateway.door, let nodes = current.settings.inner?.certificates, !nodes.isEmpty, guest != .node,
            let certificate = try? context?.pipeline.syncOperations.nioSSL_peerCertificate(),
            current.nodes.contains(certificate) || nodes.isNode(certificate)
        else { return }
        door.recognised(client.source.address, as: guest)
        guest = .node
        machine?.permitXClient()
    }

    /// Whether the admin, or a list that the admin follows, has named this client as one whose mail is taken.
    private var isKnown: Bool { gateway.decisions.isSpared(Client(address: client.source.address, confirmedName: client.name)) }
}
