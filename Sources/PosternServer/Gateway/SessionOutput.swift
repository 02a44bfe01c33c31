import NIOCore
import SMTPProtocol

/// What a session has to write, and how.
struct SessionOutput {
    /// A reply that is sent byte by byte is sent within this all the same: clients wait 5 minutes for most replies
    /// (RFC 5321 §4.5.3.2), but many not that long.
    static let longestReply = TimeAmount.seconds(25)
    /// How long an ended session waits for the client to take the last reply and close.
    static let lingering = TimeAmount.seconds(2)

    /// Leaves at the end of the turn.
    var ready: ByteBuffer?
    /// Leaves byte by byte.
    fileprivate(set) var slow: ByteBuffer?
    fileprivate var step = TimeAmount.zero
    fileprivate var perStep = 1
    fileprivate var due = NIODeadline.distantFuture
    /// Whether replies are to be slow, and the pause between two bytes.
    var stutter: TimeAmount?
    /// The next reply is sent at once whatever it is: that of a message, which must not be lost for being slow.
    var isPrompt = false
    fileprivate(set) var closes = false
    fileprivate var isLingering = false
    fileprivate var saidGoodbye = false

    /// A slow reply is under way, or the session is over: nothing more goes to the machine.
    var isBusy: Bool { slow != nil || closes }
    var isSlow: Bool { slow != nil }
    /// What the client still sends is thrown away.
    var discardsInput: Bool { closes }
    var nextMoment: NIODeadline { due }

    /// Nobody waits for what is left of a slow reply.
    mutating func dropSlow() {
        guard slow != nil else { return }
        slow = nil
        due = .distantFuture
    }

    /// What is left of a slow reply leaves at once.
    mutating func hurry() {
        guard let rest = slow else { return }
        ready.setOrWriteImmutableBuffer(rest)
        slow = nil
        due = .distantFuture
        stutter = nil
    }
}

extension SessionHandler {
    func write(_ reply: Reply) {
        if reply.code == 221 { output.saidGoodbye = true }
        write(reply.wire)
    }

    func write(_ bytes: [UInt8]) {
        defer { output.isPrompt = false }
        guard let pause = output.stutter, pause > .zero, !output.isPrompt else {
            // In order, behind a slow one.
            guard output.slow == nil else {
                output.slow?.writeBytes(bytes)
                return
            }
            var ready = output.ready.take() ?? gate.writes.take()
            ready.writeBytes(bytes)
            output.ready = ready
            return
        }
        if output.slow == nil {
            output.slow = ByteBuffer()
            output.due = .now()
        }
        output.slow?.writeBytes(bytes)
        // Where the bytes are many the pauses are shorter; below the wheel's resolution several bytes go at a time.
        let count = Int64(output.slow?.readableBytes ?? 1)
        output.step = min(pause, .nanoseconds(SessionOutput.longestReply.nanoseconds / max(count, 1)))
        output.perStep = Int(max(TimerWheel.resolution.nanoseconds / max(output.step.nanoseconds, 1), 1))
        gateway.sessions.hold(id, channel: context?.channel)
    }

    /// At the end of a turn: what is ready leaves, and the connection closes where that is all.
    func writeOutput() {
        guard output.ready != nil || output.closes, let context else { return }
        if let buffer = output.ready.take() {
            writer.write(buffer, context)
            gate.writes.giveBack(buffer)
        }
        if output.closes, output.slow == nil { finishClosing(context) }
    }

    /// Closes once everything that was written has left.
    func close() {
        output.closes = true
        output.stutter = nil
        held = nil
    }

    /// A socket that is closed with unread input is reset, and the client may never see our last reply. So where we end the
    /// session the input is read to its end, for a little while.
    private func finishClosing(_ context: ChannelHandlerContext) {
        guard !output.isLingering else { return }
        output.isLingering = true
        if output.saidGoodbye || client.isSecured || isHalfClosed { return context.close(promise: nil) }
        context.close(mode: .output, promise: nil)
        output.due = .now() + SessionOutput.lingering
        updateTimer()
    }

    func outputTimeCame(_ now: NIODeadline) {
        guard output.due <= now else { return }
        output.due = .distantFuture
        if output.isLingering {
            context?.close(promise: nil)
            return
        }
        guard var rest = output.slow, let context else { return }
        // Each is a write of its own, so that TLS does not make one record of several.
        if let bytes = rest.readSlice(length: min(output.perStep, rest.readableBytes)) {
            writer.write(bytes, context)
        }
        if rest.readableBytes > 0 {
            output.slow = rest
            output.due = now + output.step
        } else {
            output.slow = nil
            gateway.sessions.release(id)
        }
    }
}

extension SessionTable {
    func hold(_ id: ObjectIdentifier, channel: (any Channel)?) {
        if let channel { hold(id, channel) }
    }
}
