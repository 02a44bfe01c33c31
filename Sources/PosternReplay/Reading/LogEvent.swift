import PosternEngine

/// A client as a log names it: `name[address]`, `[address]:port`.
struct LoggedClient: Equatable {
    /// Empty where the line names none; `unknown` stands for a name that is not there or not confirmed.
    var name: Piece
    /// May be `unknown`.
    var address: Piece
}

/// An envelope as a log names it at the end of a line: `from=<a> to=<b> proto=ESMTP helo=<c>`, with commas or without.
struct LoggedEnvelope: Equatable {
    var sender: Piece?
    var recipient: Piece?
    var helo: Piece?
}

/// What a line of a mail log tells. Pieces are positions in the line.
enum LogEvent: Equatable {
    /// `QUEUEID: client=…`: the first recipient was accepted. Without a queue identifier where a filter answers in front of
    /// the queue.
    case accepted(queue: Piece?, LoggedClient, account: Piece?, isForwarded: Bool)
    /// A client, or a command of its, was turned away.
    case refused(Refusal)
    /// The content was accepted (or refused) by a filter in front of the queue.
    case filtered(isAccepted: Bool, response: Piece, LoggedEnvelope)
    /// An envelope that is told in passing.
    case envelope(queue: Piece?, LoggedEnvelope)
    case messageID(queue: Piece, Piece)
    /// The sender of a message in the queue, its octets, its recipients.
    case queued(queue: Piece, sender: Piece, size: Int, recipients: Int)
    case delivery(Delivery)
    /// The message has left the queue.
    case removed(queue: Piece)
    /// A message of a local program.
    case pickedUp(queue: Piece, sender: Piece)
    case connected(LoggedClient)
    case disconnected(LoggedClient)
    /// The client did something that a check scores.
    case violation(Check, LoggedClient)
    /// What postscreen made of a client.
    case screened(Screening, LoggedClient)
    case dnsRank(Int, LoggedClient)
    case listed(address: Piece, zone: Piece, reply: Piece)
    /// What a greylisting policy service answered.
    case policy(PolicyAnswer)
    case spf(SPFAnswer)
    /// A line that is known and tells nothing of an attempt.
    case idle

    struct Refusal: Equatable {
        var queue: Piece?
        /// `reject`, `milter-reject`, `discard` and their like.
        var action: Piece
        /// `RCPT`, `DATA`, `END-OF-MESSAGE`, `CONNECT` and their like.
        var stage: Piece
        var client: LoggedClient
        /// 0 where the line names none.
        var code: Int
        /// Such as `4.7.1`; empty where the line names none.
        var enhancedCode: Piece
        var text: Piece
        var envelope: LoggedEnvelope
    }

    struct Delivery: Equatable {
        var queue: Piece
        var recipient: Piece
        /// The recipient before it was rewritten, where that differs.
        var original: Piece?
        var relay: Piece
        /// `sent`, `deferred`, `bounced`, `expired`, `deliverable`, `undeliverable`.
        var status: Piece
        var response: Piece
        /// Whether it left by SMTP.
        var isRemote: Bool
    }

    enum Screening: Equatable {
        case connected
        case passedOld
        case passedNew
        case allowed
        case denied
        case hungUp
        case vetoed
    }

    struct PolicyAnswer: Equatable {
        var isDeferred: Bool
        var client: LoggedClient
        var sender: Piece
        var recipient: Piece
    }

    struct SPFAnswer: Equatable {
        var result: SPFFinding.Result
        /// Whether HELO was judged, and not the sender.
        var isHelo: Bool
        var address: Piece
        var helo: Piece
        /// Empty for the null sender.
        var sender: Piece
    }
}
