// What is said to a client when it is looked at. Pure: no socket, no clock.

/// What to do for a client that was looked at.
enum TarpitMove: Equatable {
    /// Send the octet at this position, then look again after `pause` ticks.
    case send(Int, pause: UInt32)
    /// Nothing, until it says something or its time is up.
    case wait
    /// Send the rest of the line that was begun, and this; then it has a moment to go.
    case sayGoodbye([UInt8])
}

extension TarpitEntry {
    /// Longest command line (RFC 5321 §4.5.3.1.4). Whatever is longer is taken for a line.
    static let longestLine: UInt16 = 512

    /// Octets of the client's first line have come. All that is kept of them is whether it was HELO, EHLO or QUIT.
    mutating func received(_ octets: UnsafeRawBufferPointer) {
        guard heard == .nothing else { return }
        for octet in octets {
            if octet == UInt8(ascii: "\n") { return endOfLine() }
            if lineLength < 4 {
                // RFC 5321 §2.4: verbs are not case-sensitive.
                let folded = octet >= UInt8(ascii: "a") && octet <= UInt8(ascii: "z") ? octet - 32 : octet
                verb = verb << 8 | UInt32(folded)
            } else if lineLength == 4, octet != UInt8(ascii: " "), octet != UInt8(ascii: "\r") {
                // A longer word than any of the three.
                verb = 0
            }
            lineLength += 1
            if lineLength >= Self.longestLine {
                verb = 0
                return endOfLine()
            }
        }
    }

    private mutating func endOfLine() {
        heard =
            switch verb {
            case Self.word("HELO"), Self.word("EHLO"): .hello
            case Self.word("QUIT"): .quit
            default: .other
            }
        verb = 0
        lineLength = 0
    }

    private static func word(_ text: StaticString) -> UInt32 {
        text.withUTF8Buffer { $0.reduce(0) { $0 << 8 | UInt32($1) } }
    }

    /// Its next octet is due, or it has said something.
    mutating func next(_ script: TarpitScript, greetingPace: UInt32, pace: UInt32) -> TarpitMove {
        switch stage {
        case .greeting:
            let sent = Int(position)
            position += 1
            if Int(position) == script.hello { stage = .awaiting }
            return .send(sent, pause: greetingPace)
        case .awaiting:
            switch heard {
            case .nothing: return .wait
            case .quit: return letGo(script.goodbye)
            case .hello: position = UInt16(script.hello)
            case .other: position = UInt16(script.refusal)
            }
            stage = .busy
            fallthrough
        case .busy:
            let sent = Int(position)
            position = UInt16(script.position(after: sent))
            return .send(sent, pause: pace)
        case .leaving:
            return .wait
        }
    }

    /// It has been held for long enough.
    mutating func letGo(_ farewell: [UInt8]) -> TarpitMove {
        stage = .leaving
        return .sayGoodbye(farewell)
    }
}
