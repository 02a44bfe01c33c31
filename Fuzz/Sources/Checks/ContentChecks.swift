import SMTPProtocol

/// What became of message content.
struct DecodedContent: Equatable {
    var message: [UInt8] = []
    /// As it goes to a backend, with its end.
    var wire: [UInt8] = []
    /// Octets of input up to the end of the data; `nil` where it did not come.
    var consumed: Int?
    var fault: ContentFault?
    var flaws: ViolationSet = []

    mutating func take(_ pieces: [ContentPiece], _ input: UnsafeRawBufferPointer, _ encoder: inout DataEncoder) {
        for piece in pieces {
            message += piece.bytes(of: input)
            var encoded: [ContentPiece] = []
            encoder.encode(piece, of: input, into: &encoded)
            for piece in encoded { wire += piece.bytes(of: input) }
        }
    }

    /// Once content is refused, how much had gone on before may depend on how it was cut; it is given up.
    mutating func settle() {
        guard fault != nil else { return }
        message = []
        wire = []
    }

    /// What goes to a backend must mean one message to the most lenient of servers.
    func checkWire() {
        guard fault == nil else { return }
        var previous: UInt8 = 0
        for octet in wire {
            check(octet != 0, "NUL: \(shown(wire))")
            check(octet != 0x0a || previous == 0x0d, "a bare LF: \(shown(wire))")
            check(previous != 0x0d || octet == 0x0a, "a bare CR: \(shown(wire))")
            previous = octet
        }
        let framed = [0x0d, 0x0a] + wire
        let end: [UInt8] = [0x0d, 0x0a, 0x2e, 0x0d, 0x0a]
        var ends = 0
        var index = 0
        while index + end.count <= framed.count {
            if framed[index..<(index + end.count)].elementsEqual(end) { ends += 1 }
            index += 1
        }
        check(ends == 1 && framed.suffix(end.count).elementsEqual(end), "not one end of data at the end: \(shown(wire))")
    }
}

/// Limits and framing chosen by an octet.
private func contentSettings(_ octet: UInt8) -> (Framing, ContentLimits) {
    var limits = ContentLimits(octets: 0, hops: 0, line: 0)
    if octet.has(1) { limits.octets = 40 }
    if octet.has(2) { limits.line = 20 }
    if octet.has(3) { limits.hops = 2 }
    return (octet.has(0) ? .reject : .normalize, limits)
}

enum DataCheck {
    static func run(_ input: UnsafeRawBufferPointer) {
        guard let (octet, rest) = input.settingsAndRest else { return }
        let (framing, limits) = contentSettings(octet)
        var generator = Generator(input)
        let whole = decode(rest, .whole, framing, limits, &generator)
        for cut in [Cut.bytes, .random] {
            checkEqual(whole, decode(rest, cut, framing, limits, &generator), "cut \(cut): \(shown(rest))")
        }
        guard whole.consumed != nil, whole.fault == nil else { return }
        whole.checkWire()
        // A second gateway behind this one sees the same message and nothing wrong with it.
        let again = whole.wire.withUnsafeBytes { decode($0, .whole, .reject, ContentLimits(hops: 0), &generator) }
        var expected = whole.message
        if !expected.isEmpty, !expected.suffix(2).elementsEqual([0x0d, 0x0a]) { expected += [0x0d, 0x0a] }
        checkEqual(again.message, expected, "sent on: \(shown(whole.wire))")
        check(again.fault == nil && again.flaws.isEmpty && again.consumed == whole.wire.count, "sent on: \(again)")
    }

    private static func decode(
        _ input: UnsafeRawBufferPointer, _ cut: Cut, _ framing: Framing, _ limits: ContentLimits, _ generator: inout Generator
    ) -> DecodedContent {
        var decoder = DataDecoder(framing: framing, limits: limits)
        var encoder = DataEncoder()
        var result = DecodedContent()
        var consumed = 0
        cut.forEach(input, &generator) { piece in
            var position = 0
            var pieces: [ContentPiece] = []
            let ended = decoder.decode(piece, at: &position, into: &pieces)
            consumed += position
            result.take(pieces, piece, &encoder)
            check(ended || position == piece.count, "content was left")
            if ended { result.consumed = consumed }
            return !ended
        }
        result.fault = decoder.fault
        result.flaws = decoder.flaws
        result.wire += encoder.finish().bytes
        check(limits.octets == 0 || decoder.octets <= limits.octets || decoder.fault != nil, "more than the limit")
        result.settle()
        return result
    }
}

enum ChunkCheck {
    static func run(_ input: UnsafeRawBufferPointer) {
        guard let (octet, rest) = input.settingsAndRest else { return }
        let (framing, limits) = contentSettings(octet)
        var generator = Generator(input)
        let whole = decode([rest.count], of: rest, .whole, framing, limits, &generator)
        // However the content is divided into chunks, and however those are cut, it is the same message.
        for cut in Cut.allCases {
            checkEqual(
                whole, decode(sizes(rest.count, &generator), of: rest, cut, framing, limits, &generator), "cut \(cut): \(shown(rest))")
        }
        whole.checkWire()
    }

    private static func sizes(_ count: Int, _ generator: inout Generator) -> [Int] {
        var sizes: [Int] = []
        var left = count
        while left > 0, sizes.count < 8 {
            let size = Int(generator.next() % UInt64(left + 1))
            sizes.append(size)
            left -= size
        }
        return sizes + [left]
    }

    private static func decode(
        _ sizes: [Int], of input: UnsafeRawBufferPointer, _ cut: Cut, _ framing: Framing, _ limits: ContentLimits,
        _ generator: inout Generator
    ) -> DecodedContent {
        var decoder = ChunkDecoder(framing: framing, limits: limits)
        var encoder = DataEncoder()
        var result = DecodedContent()
        var start = 0
        for (index, size) in sizes.enumerated() {
            decoder.begin(size: UInt64(size), last: index == sizes.count - 1)
            var complete = false
            func take(_ piece: UnsafeRawBufferPointer) {
                var position = 0
                var pieces: [ContentPiece] = []
                complete = decoder.decode(piece, at: &position, into: &pieces)
                check(position == piece.count, "a chunk was not consumed")
                result.take(pieces, piece, &encoder)
            }
            if size == 0 { take(UnsafeRawBufferPointer(start: nil, count: 0)) }
            cut.forEach(UnsafeRawBufferPointer(rebasing: input[start..<(start + size)]), &generator) {
                take($0)
                return true
            }
            check(complete, "a chunk is not complete")
            start += size
        }
        result.consumed = start
        result.fault = decoder.fault
        result.flaws = decoder.flaws
        result.wire += encoder.finish().bytes
        result.settle()
        return result
    }
}
