import PosternCore

/// What a refusal is about, as far as its code tells.
extension Reply {
    /// Whether a refusal is about the command itself, not about who has given it: it is unknown, not implemented or out of order
    /// (RFC 5321 §4.2.2 and §4.2.4: 500, 502, 503, 504, 555).
    var isAboutCommand: Bool { [500, 502, 503, 504, 555].contains(code) }

    /// Whether a permanent refusal may come of a PROXY header that was taken for commands, or for a client that talks before it is
    /// greeted: all of the above; what has an enhanced code X.5.x, of the protocol (RFC 3463 §3.6), such as postscreen's
    /// "521 5.5.1 Protocol error"; and Exim's "554 SMTP synchronization error".
    var mayBeAboutHeader: Bool {
        guard isPermanent else { return false }
        return isAboutCommand || enhancedCode?.subject == 5 || text.lowercasedASCII.utf8Contains("synchroni")
    }

    /// The same with 451 in place of a 421, which would end the connection that it is said on (RFC 5321 §3.8).
    var puttingOff: Reply {
        var wire: [UInt8] = []
        let lines = lines
        for (index, line) in lines.enumerated() { Self.append(line[...], of: 451, isLast: index == lines.count - 1, to: &wire) }
        return Reply(code: 451, wire: wire)
    }

    /// Whether a refusal is plainly about the client: X.7.x, of security or policy (RFC 3463 §3.8).
    public var isAboutPolicy: Bool { enhancedCode?.subject == 7 }
}

extension String {
    fileprivate func utf8Contains(_ part: String) -> Bool {
        let (octets, wanted) = (Array(utf8), Array(part.utf8))
        guard octets.count >= wanted.count else { return false }
        return (0...(octets.count - wanted.count)).contains { octets[$0..<$0 + wanted.count].elementsEqual(wanted) }
    }
}
