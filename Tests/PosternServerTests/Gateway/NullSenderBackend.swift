import Glibc
import NIOConcurrencyHelpers
import PosternCore

@testable import PosternServer

/// A backend without enhanced codes, as Exim is, that takes no bounces for some mailboxes and does not know others.
final class NullSenderBackend: Sendable {
    private let listener: Int32
    private let state = NIOLockedValueBox((recipients: [String](), inquiries: 0))
    private let noBounces: String
    private let unknown: String
    /// How it meets the first inquiry of a client's: `slow`, `dies`, or well.
    private let manner: String
    let port: UInt16

    /// - Parameters:
    ///   - noBounces: what local parts begin with that are refused to the null sender.
    ///   - unknown: and those that are refused to all.
    init(noBounces: String, unknown: String, _ manner: String = "") throws {
        (self.noBounces, self.unknown, self.manner) = (noBounces, unknown, manner)
        let (descriptor, bound) = try ListeningSocket.open(.tcp(IPAddress(v4: 0x7f00_0001), port: 0))
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
        listener = descriptor
        guard case .tcp(_, let port) = bound else { preconditionFailure("it is TCP") }
        self.port = port
        ScriptedBackend.thread { [self] in
            while case let client = accept(listener, nil, nil), client >= 0 {
                ScriptedBackend.thread { [self] in
                    serve(BlockingStream(client))
                    close(client)
                }
            }
            close(listener)
        }
    }

    deinit { shutdown(listener, Int32(SHUT_RDWR)) }

    var address: ListenAddress { .tcp(IPAddress(v4: 0x7f00_0001), port: port) }
    /// Those of messages.
    var recipients: [String] { state.withLockedValue { $0.recipients } }

    private func serve(_ stream: BlockingStream) {
        stream.send("220 backend.example ESMTP\r\n")
        var isNull = false
        var recipients: [String] = []
        while let line = stream.line() {
            switch line.prefix(4).uppercased() {
            case "EHLO": stream.send("250-backend.example\r\n250 PIPELINING\r\n")
            case "MAIL":
                (isNull, recipients) = (line.hasPrefix("MAIL FROM:<>"), [])
                if !isNull, meetsBadly() { return }
                stream.send("250 OK\r\n")
            case "RCPT":
                if line.hasPrefix("RCPT TO:<\(unknown)") {
                    stream.send("550 unknown user\r\n")
                } else if isNull, line.hasPrefix("RCPT TO:<\(noBounces)") {
                    stream.send("550 this mailbox sends no mail\r\n")
                } else {
                    recipients.append(line)
                    stream.send("250 accepted\r\n")
                }
            case "DATA":
                stream.send("354 go on\r\n")
                while let line = stream.line(), line != "." {}
                state.withLockedValue { $0.recipients += recipients }
                stream.send("250 OK\r\n")
            case "QUIT": return stream.send("221 bye\r\n")
            default: stream.send("250 OK\r\n")
            }
        }
    }

    /// Whether the connection is to end here.
    private func meetsBadly() -> Bool {
        let isFirst = state.withLockedValue {
            $0.inquiries += 1
            return $0.inquiries == 1
        }
        guard isFirst, !manner.isEmpty else { return false }
        if manner == "slow" { usleep(2_000_000) }
        return manner == "dies"
    }
}
