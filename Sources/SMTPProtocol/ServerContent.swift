/// Message content of a server session: DATA, BDAT, and their end.
extension ServerSession {
    /// In octets; 0 for none. What was offered as SIZE binds us as our own limit does.
    var contentLimit: UInt64 {
        let own = settings.limits.content.octets
        guard let offered = settings.extensions.size, offered > 0 else { return own }
        return own == 0 ? offered : min(own, offered)
    }

    private var contentLimits: ContentLimits {
        var limits = settings.limits.content
        limits.octets = contentLimit
        return limits
    }

    /// The backend's reply to what was relayed.
    mutating func proceed(_ pending: PendingRelay, _ reply: Reply, namesMailbox: Bool, _ actions: inout [ServerAction]) {
        switch pending {
        case .recipient:
            guard reply.isPositive else { return recipientRefused(usable(reply), namesMailbox: namesMailbox, &actions) }
            transaction?.recipients += 1
            refusedInARow = 0
            answer(reply, &actions)
        case .data:
            guard reply.code == 354 else { return answer(usable(reply), &actions) }
            transaction?.contentOpen = true
            let decoder = DataDecoder(framing: settings.framing, limits: contentLimits)
            transaction?.data = decoder
            actions.append(.write(reply))
            expect(.data)
        case .chunk(let size, let last):
            guard reply.code == 354 else { return refuseChunk(size, last: last, usable(reply), isOurs: false, &actions) }
            transaction?.contentOpen = true
            let decoder = ChunkDecoder(framing: settings.framing, limits: contentLimits)
            transaction?.chunks = decoder
            beginChunk(size, last: last, &actions)
        case .endOfData:
            transaction?.contentOpen = false
            finishMessage(reply.isPositive ? reply : usable(reply), .completed, &actions)
        }
    }

    /// Never a 250 that the backend did not say, and no 3xx where the client can do nothing with it.
    private func usable(_ reply: Reply) -> Reply {
        reply.isTransient || reply.isPermanent ? reply : .backendNonsense
    }

    private mutating func finishMessage(_ reply: Reply, _ end: TransactionEnd, _ actions: inout [ServerAction]) {
        messages += 1
        endTransaction(end, &actions)
        answer(reply, &actions)
    }

    // MARK: - DATA

    mutating func takeData(_ input: UnsafeRawBufferPointer, _ position: inout Int, _ actions: inout [ServerAction]) {
        guard transaction?.data != nil else { preconditionFailure("content without a decoder") }
        var pieces: [ContentPiece] = []
        let ended = transaction?.data?.decode(input, at: &position, into: &pieces) ?? true
        waitsAnew = true
        let (flaws, fault) = (transaction?.data?.flaws ?? [], transaction?.data?.fault)
        passOn(pieces, flaws: flaws, fault: fault, &actions)
        guard ended else { return }
        if let fault {
            finishMessage(fault.reply, .reset, &actions)
        } else if let failure = transaction?.failure {
            finishMessage(failure, .reset, &actions)
        } else {
            state = .relaying(.endOfData)
            actions.append(.relay(.endContent))
        }
    }

    /// Forwards what was decoded, and abandons the content at its first fault.
    private mutating func passOn(_ pieces: [ContentPiece], flaws: ViolationSet, fault: ContentFault?, _ actions: inout [ServerAction]) {
        let known = transaction?.reportedFlaws ?? []
        for violation in flaws.subtracting(known).members { actions.append(.violation(violation)) }
        transaction?.reportedFlaws = flaws
        guard transaction?.contentOpen == true else { return }
        guard fault == nil else {
            transaction?.contentOpen = false
            actions.append(.abandonContent)
            return
        }
        for piece in pieces { actions.append(.forward(piece)) }
    }

    // MARK: - BDAT (RFC 3030)

    mutating func beginChunk(_ size: UInt64, last: Bool, _ actions: inout [ServerAction]) {
        transaction?.chunks?.begin(size: size, last: last)
        expect(.chunk(last: last))
        var position = 0
        // A chunk of size 0 is complete at once.
        if size == 0 { takeChunk(UnsafeRawBufferPointer(start: nil, count: 0), &position, last: last, &actions) }
    }

    mutating func takeChunk(_ input: UnsafeRawBufferPointer, _ position: inout Int, last: Bool, _ actions: inout [ServerAction]) {
        guard transaction?.chunks != nil else { preconditionFailure("a chunk without a decoder") }
        var pieces: [ContentPiece] = []
        let complete = transaction?.chunks?.decode(input, at: &position, into: &pieces) ?? true
        waitsAnew = true
        let (flaws, fault) = (transaction?.chunks?.flaws ?? [], transaction?.chunks?.fault)
        passOn(pieces, flaws: flaws, fault: fault, &actions)
        guard complete else { return }
        if position < input.count, !mayPipeline { report(.pipeliningNotOffered, &actions) }
        if let fault {
            refuseChunk(0, last: last, fault.reply, isOurs: true, &actions)
        } else if let failure = transaction?.failure {
            refuseChunk(0, last: last, failure, isOurs: false, &actions)
        } else if last {
            state = .relaying(.endOfData)
            actions.append(.relay(.endContent))
        } else {
            // RFC 3030 §2: each chunk has its 250. It says nothing of the message.
            answer(Reply(250, "2.0.0", "Chunk received"), &actions)
        }
    }

    /// Reads a refused chunk to its end, then answers. Nothing of the transaction is left but RSET; the last chunk ends it.
    ///
    /// - Parameter isOurs: Whether it is refused for what the client did wrong: such count, once a message.
    mutating func refuseChunk(_ remaining: UInt64, last: Bool, _ reply: Reply, isOurs: Bool, _ actions: inout [ServerAction]) {
        if transaction?.contentOpen == true {
            transaction?.contentOpen = false
            actions.append(.abandonContent)
        }
        guard remaining == 0 else {
            state = .refusedChunk(remaining, last: last, isOurs: isOurs, reply)
            waitsAnew = true
            return
        }
        transaction?.chunkRefusal = reply
        if last { endTransaction(.reset, &actions) }
        if isOurs { refuse(reply, nil, &actions) } else { answer(reply, &actions) }
    }
}
