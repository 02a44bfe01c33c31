import SMTPProtocol

enum ReplyCheck {
    private enum Outcome: Equatable {
        case reply(Reply)
        case flaw(ReplyFlaw)
    }

    static func run(_ input: UnsafeRawBufferPointer) {
        guard let (octet, rest) = input.settingsAndRest else { return }
        let limits = ReplyDecoder.Limits(line: octet.has(0) ? 20 : 2048, lines: octet.has(1) ? 3 : 128)
        var generator = Generator(input)
        let whole = decode(rest, .whole, limits, &generator)
        for cut in [Cut.bytes, .random] {
            checkEqual(whole, decode(rest, cut, limits, &generator), "cut \(cut): \(shown(rest))")
        }
        for case .reply(let reply) in whole {
            check(reply.lines.count <= limits.lines && reply.lines.allSatisfy { $0.count <= limits.line }, "over a limit")
            _ = (reply.enhancedCode, reply.text, reply.description, reply.namesUnknownMailbox, Extensions(ehloReply: reply))
            // Word for word.
            let again = reply.wire.withUnsafeBytes { decode($0, .whole, ReplyDecoder.Limits(), &generator) }
            checkEqual(again, [.reply(reply)], "sent on")
        }
    }

    private static func decode(
        _ input: UnsafeRawBufferPointer, _ cut: Cut, _ limits: ReplyDecoder.Limits, _ generator: inout Generator
    ) -> [Outcome] {
        var decoder = ReplyDecoder(limits: limits)
        var outcomes: [Outcome] = []
        cut.forEach(input, &generator) { piece in
            var position = 0
            do throws(ReplyFlaw) {
                while let reply = try decoder.decode(piece, at: &position) { outcomes.append(.reply(reply)) }
                check(position == piece.count, "bytes were left")
                return true
            } catch {
                outcomes.append(.flaw(error))
                return false
            }
        }
        return outcomes
    }
}
