import Testing

@testable import SMTPProtocol

/// Where a lenient server sees the ends of data in what follows DATA. It takes any of the given line ends for one.
private func lenientEnds(_ wire: [UInt8], lineEnds: [[UInt8]]) -> [Int] {
    func lineEnd(at index: Int) -> Int? {
        lineEnds.filter { wire[index...].starts(with: $0) }.map(\.count).max()
    }
    var ends: [Int] = []
    var index = 0
    var atLineStart = true
    while index < wire.count {
        if atLineStart, wire[index] == UInt8(ascii: "."), let length = index + 1 < wire.count ? lineEnd(at: index + 1) : nil {
            ends.append(index + 1 + length)
        }
        if let length = lineEnd(at: index) {
            index += length
            atLineStart = true
        } else {
            index += 1
            atLineStart = false
        }
    }
    return ends
}

private let crlf: [UInt8] = [13, 10]
/// Servers that were or are lenient: a bare LF, a bare CR, or both end a line for them.
private let lenientServers: [[[UInt8]]] = [[crlf, [10]], [crlf, [13]], [crlf, [10], [13]], [[10]], [[13]]]

@Suite("Content framing")
struct ContentTests {
    // MARK: - What DATA means

    @Test("dots are unstuffed, and only CRLF.CRLF ends the content", arguments: Cut.allCases)
    func plain(_ cut: Cut) {
        var generator = SeededGenerator(seed: 1)
        let cases: [(wire: String, message: String)] = [
            (".\r\n", ""),
            ("\r\n.\r\n", "\r\n"),
            ("a\r\n.\r\n", "a\r\n"),
            ("..\r\n.\r\n", ".\r\n"),
            ("...\r\n.\r\n", "..\r\n"),
            (".a\r\n.\r\n", "a\r\n"),
            ("a.\r\n.\r\n", "a.\r\n"),
            ("a\r\n..b\r\n.\r\n", "a\r\n.b\r\n"),
            ("a\r\n\r\n\r\nb\r\n.\r\n", "a\r\n\r\n\r\nb\r\n"),
            ("tab\tvt\u{0b}ff\u{0c}\r\n.\r\n", "tab\tvt\u{0b}ff\u{0c}\r\n"),
        ]
        for (wire, message) in cases {
            for framing in Framing.allCases {
                let result = DecodedContent.data(cut.pieces(bytes(wire), &generator), framing: framing)
                #expect(text(result.message) == message, "\(shown(bytes(wire)))")
                #expect(result.end == wire.utf8.count)
                #expect(result.fault == nil)
                #expect(result.flaws == [])
            }
        }
    }

    @Test("what follows the end is left alone", arguments: Cut.allCases)
    func leavesTheRest(_ cut: Cut) {
        var generator = SeededGenerator(seed: 2)
        let wire = bytes("a\r\n.\r\nQUIT\r\n")
        let result = DecodedContent.data(cut.pieces(wire, &generator), framing: .normalize)
        #expect(result.end == 6)
        #expect(text(result.message) == "a\r\n")
    }

    @Test("normalize repairs bare line feeds and carriage returns, and stuffs dots anew", arguments: Cut.allCases)
    func normalize(_ cut: Cut) {
        var generator = SeededGenerator(seed: 3)
        let cases: [(wire: String, message: String, onward: String)] = [
            ("a\nb\r\n.\r\n", "a\r\nb\r\n", "a\r\nb\r\n.\r\n"),
            ("a\rb\r\n.\r\n", "a b\r\n", "a b\r\n.\r\n"),
            ("a\r\r\n.\r\n", "a \r\n", "a \r\n.\r\n"),
            ("a\n\nb\r\n.\r\n", "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n.\r\n"),
            ("a\n.b\r\n.\r\n", "a\r\n.b\r\n", "a\r\n..b\r\n.\r\n"),
            ("a\n..\r\n.\r\n", "a\r\n..\r\n", "a\r\n...\r\n.\r\n"),
            ("a\r.b\r\n.\r\n", "a .b\r\n", "a .b\r\n.\r\n"),
            ("a\n\r\n.\r\n", "a\r\n\r\n", "a\r\n\r\n.\r\n"),
        ]
        for (wire, message, onward) in cases {
            let result = DecodedContent.data(cut.pieces(bytes(wire), &generator), framing: .normalize)
            #expect(text(result.message) == message, "\(shown(bytes(wire)))")
            #expect(text(result.wire) == onward, "\(shown(bytes(wire)))")
            #expect(result.fault == nil)
            let rejected = DecodedContent.data(cut.pieces(bytes(wire), &generator), framing: .reject)
            #expect(rejected.fault == .bareLF || rejected.fault == .bareCR, "\(shown(bytes(wire)))")
            #expect(rejected.end == wire.utf8.count)
        }
    }

    // MARK: - Smuggling

    /// Every mixture of line ends around a dot: before it, after it. Only one of them is an end of data.
    static let mixtures: [(before: String, after: String)] = {
        let lineEnds = ["\n", "\r", "\r\n", "\n\r", "\r\r\n", "\n\n", "\r\r"]
        return lineEnds.flatMap { before in lineEnds.map { (before, $0) } }
    }()

    @Test("the smuggling matrix: no mixture reaches the backend", arguments: Framing.allCases)
    func smugglingMatrix(_ framing: Framing) {
        var generator = SeededGenerator(seed: 4)
        var refused = 0
        for (before, after) in Self.mixtures {
            let smuggled = "MAIL FROM:<a@example.com>"
            let wire = bytes("text\(before).\(after)\(smuggled)\r\n.\r\n")
            for cut in Cut.allCases {
                let result = DecodedContent.data(cut.pieces(wire, &generator), framing: framing)
                let name = "\(shown(bytes(before))) . \(shown(bytes(after))) \(framing) \(cut)"
                // What ends a line strictly: `\r\r\n` does, behind a bare CR. `\r\n\r` and the like begin with an end.
                let startsStrictly = before.hasSuffix("\r\n")
                let endsStrictly = after.hasPrefix("\r\n")
                if startsStrictly && endsStrictly {
                    // The real end: it is taken, and what follows is left to the command parser.
                    #expect(result.end == bytes("text\(before).\r\n").count, "\(name)")
                    #expect(result.fault == (before == "\r\n" || framing == .normalize ? nil : .bareCR), "\(name)")
                } else {
                    refused += 1
                    #expect(result.end == wire.count, "read to its real end: \(name)")
                    let reasons: [ContentFault?] =
                        framing == .normalize ? [.endOfDataLookAlike] : [.endOfDataLookAlike, .bareLF, .bareCR]
                    #expect(reasons.contains(result.fault), "\(name)")
                    #expect(result.flaws.contains(.endOfDataLookAlike), "\(name)")
                }
            }
        }
        // 2 of 7 end a line strictly before the dot, 1 of 7 behind it (`\r\n`; Swift's own `\r\n` is no prefix of others).
        #expect(refused == (49 - 2) * Cut.allCases.count)
    }

    @Test("a look-alike at the very start of the content is refused too")
    func lookAlikeAtStart() {
        for wire in [".\n", ".\ra", ".\r\r\n"] {
            let input = bytes("\(wire)x\r\n.\r\n")
            let result = DecodedContent.data([input], framing: .normalize)
            #expect(result.fault == .endOfDataLookAlike)
            #expect(result.end == input.count)
            #expect(result.message == [])
        }
    }

    @Test("NUL is refused in both ways of framing", arguments: Cut.allCases)
    func nul(_ cut: Cut) {
        var generator = SeededGenerator(seed: 5)
        for wire in ["a\0b\r\n.\r\n", "\0\r\n.\r\n", "\r\n.\0\r\n.\r\n", "\r\0\n.\r\n\r\n.\r\n"] {
            for framing in Framing.allCases {
                let input = bytes(wire)
                let result = DecodedContent.data(cut.pieces(input, &generator), framing: framing)
                #expect(result.fault != nil, "\(shown(input))")
                #expect(result.flaws.contains(.nul), "\(shown(input))")
            }
        }
    }

    /// All content of up to six octets from the alphabet that matters, cut in every way, against a model that knows the
    /// whole text at once; and no lenient server sees an end before the end.
    @Test("every short content, exhaustively")
    func exhaustive() {
        let alphabet: [UInt8] = [13, 10, UInt8(ascii: "."), UInt8(ascii: "a")]
        var generator = SeededGenerator(seed: 6)
        var checked = 0
        for length in 0...6 {
            for number in 0..<(1 << (2 * length)) {
                let content = (0..<length).map { alphabet[number >> (2 * $0) & 3] }
                let wire = content + bytes("\r\n.\r\n")
                let whole = DecodedContent.data([wire], framing: .normalize).comparable
                let split = DecodedContent.data(Cut.bytes.pieces(wire, &generator), framing: .normalize).comparable
                guard whole == split else {
                    Issue.record("differs by cut: \(shown(wire))")
                    return
                }
                guard whole == ContentModel.decode(wire) else {
                    Issue.record("differs from the model: \(shown(wire)): \(whole), \(ContentModel.decode(wire))")
                    return
                }
                if whole.fault == nil {
                    for server in lenientServers {
                        // For a server that knows only LF, or only CR, as a line end, the end is one octet off.
                        guard lenientEnds(whole.wire, lineEnds: server).contains(where: { $0 < whole.wire.count - 1 }) else { continue }
                        Issue.record("smuggled: \(shown(wire)) becomes \(shown(whole.wire))")
                        return
                    }
                }
                checked += 1
            }
        }
        #expect(checked == (0...6).reduce(0) { $0 + (1 << (2 * $1)) })
    }

    @Test("random content of random chunks: one end for every server", arguments: [UInt64](1...20))
    func randomContent(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let alphabet: [UInt8] = [13, 10, 13, 10, UInt8(ascii: "."), UInt8(ascii: "."), UInt8(ascii: "a"), UInt8(ascii: " "), 0xc3]
        for _ in 0..<300 {
            let count = Int.random(in: 0...60, using: &generator)
            var content = (0..<count).map { _ in alphabet.randomElement(using: &generator)! }
            if Bool.random(using: &generator) { content += bytes("plain line\r\n..stuffed\r\n") }
            let wire = content + bytes("\r\n.\r\n")
            let whole = DecodedContent.data([wire], framing: .normalize).comparable
            let cut = DecodedContent.data(Cut.random.pieces(wire, &generator), framing: .normalize).comparable
            #expect(whole == cut, "seed \(seed): \(shown(wire))")
            #expect(whole == ContentModel.decode(wire), "seed \(seed): \(shown(wire))")
            guard whole.fault == nil else { continue }
            for server in lenientServers {
                // For a server that knows only LF, or only CR, as a line end, the end is one octet off.
                let early = lenientEnds(whole.wire, lineEnds: server).filter { $0 < whole.wire.count - 1 }
                #expect(early == [], "seed \(seed): \(shown(whole.wire))")
            }
            // The strict reading of what goes on is the message again.
            let again = DecodedContent.data([whole.wire], framing: .reject)
            #expect(again.message == whole.message || whole.message.suffix(2) != crlf[...])
            #expect(again.end == whole.wire.count)
            #expect(again.fault == nil)
        }
    }

    // MARK: - BDAT

    @Test("chunks: dots mean nothing, lengths rule", arguments: Cut.allCases)
    func chunks(_ cut: Cut) {
        var generator = SeededGenerator(seed: 7)
        let message = bytes("a\r\n.\r\n..b\r\n.c\r\n")
        for sizes in [[message.count], [4, message.count - 4], [3, 1, 1, 1, message.count - 6], [message.count, 0], [0, message.count]] {
            let result = DecodedContent.chunks(sizes, of: message, cut: cut, framing: .normalize, &generator)
            #expect(result.message == message)
            #expect(result.fault == nil)
            // By DATA, the dots are stuffed.
            #expect(text(result.wire) == "a\r\n..\r\n...b\r\n..c\r\n.\r\n")
        }
    }

    @Test("chunks: what is held back is handed on at the end of the last", arguments: Cut.allCases)
    func chunkEnds(_ cut: Cut) {
        var generator = SeededGenerator(seed: 8)
        let cases: [(content: String, message: String?, wire: String)] = [
            ("no line end", "no line end", "no line end\r\n.\r\n"),
            ("a\r\n.", "a\r\n.", "a\r\n..\r\n.\r\n"),
            ("a\r", "a ", "a \r\n.\r\n"),
            ("a\n", "a\r\n", "a\r\n.\r\n"),
            ("", "", ".\r\n"),
            ("a\n.", nil, ""),
            ("a\r.", nil, ""),
            ("a\r\n.\r", nil, ""),
            ("a\n.\nb\r\n", nil, ""),
            ("a\r\n.\nb\r\n", nil, ""),
            ("a\0", nil, ""),
        ]
        for (content, message, wire) in cases {
            let input = bytes(content)
            for sizes in [[input.count], [input.count / 2, input.count - input.count / 2], [input.count, 0]] {
                let result = DecodedContent.chunks(sizes, of: input, cut: cut, framing: .normalize, &generator)
                if let message {
                    #expect(text(result.message) == message, "\(shown(input))")
                    #expect(text(result.wire) == wire, "\(shown(input))")
                } else {
                    #expect(result.fault == .endOfDataLookAlike || result.fault == .nul, "\(shown(input))")
                }
            }
        }
    }

    @Test("random chunks never smuggle towards DATA", arguments: [UInt64](1...10))
    func randomChunks(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let alphabet: [UInt8] = [13, 10, UInt8(ascii: "."), UInt8(ascii: "a")]
        for _ in 0..<300 {
            let count = Int.random(in: 0...24, using: &generator)
            let content = (0..<count).map { _ in alphabet.randomElement(using: &generator)! }
            var sizes: [Int] = []
            var rest = count
            while rest > 0 {
                sizes.append(Int.random(in: 0...rest, using: &generator))
                rest -= sizes.last!
            }
            sizes.append(0)
            let result = DecodedContent.chunks(sizes, of: content, cut: .random, framing: .normalize, &generator).comparable
            let whole = DecodedContent.chunks([count], of: content, cut: .whole, framing: .normalize, &generator).comparable
            #expect(result == whole, "seed \(seed): \(shown(content))")
            guard whole.fault == nil else { continue }
            for server in lenientServers {
                let early = lenientEnds(whole.wire, lineEnds: server).filter { $0 < whole.wire.count - 1 }
                #expect(early == [], "seed \(seed): \(shown(content)) becomes \(shown(whole.wire))")
            }
        }
    }

    // MARK: - Limits

    @Test("the size limit counts message octets, and is exact", arguments: Cut.allCases)
    func sizeLimit(_ cut: Cut) {
        var generator = SeededGenerator(seed: 9)
        let wire = bytes("..345678\r\n.\r\n")
        let fits = DecodedContent.data(cut.pieces(wire, &generator), framing: .normalize, limits: ContentLimits(octets: 9))
        #expect(fits.fault == nil)
        #expect(fits.message.count == 9)
        let over = DecodedContent.data(cut.pieces(wire, &generator), framing: .normalize, limits: ContentLimits(octets: 8))
        #expect(over.fault == .tooLarge)
        #expect(over.end == wire.count)
        #expect(over.message.count <= 8)
        #expect(ContentFault.tooLarge.reply.code == 552)
    }

    @Test("Received fields are counted in the header only", arguments: Cut.allCases)
    func hops(_ cut: Cut) {
        var generator = SeededGenerator(seed: 10)
        let header = String(repeating: "Received: by a\r\n\tfor b\r\n", count: 2) + "rEcEiVeD \t: x\r\nReceivedX: y\r\nX-Received: z\r\n"
        let body = "\r\nReceived: in the body\r\n.\r\n"
        for (limit, fault) in [(3, ContentFault?.none), (2, .tooManyHops), (0, nil)] {
            let wire = bytes(header + body)
            let result = DecodedContent.data(cut.pieces(wire, &generator), framing: .normalize, limits: ContentLimits(hops: limit))
            #expect(result.fault == fault, "limit \(limit)")
            #expect(result.end == wire.count)
        }
        // The empty line may also be the very first.
        let headless = bytes("\r\n" + String(repeating: "Received: x\r\n", count: 5) + ".\r\n")
        #expect(DecodedContent.data([headless], framing: .normalize, limits: ContentLimits(hops: 2)).fault == nil)
    }

    @Test("a line limit, where one is set", arguments: Cut.allCases)
    func lineLimit(_ cut: Cut) {
        var generator = SeededGenerator(seed: 11)
        let limits = ContentLimits(line: 10)
        for (wire, fault) in [
            ("12345678\r\n12345678\r\n.\r\n", ContentFault?.none), ("123456789\r\n.\r\n", .lineTooLong),
            ("a\r\n..2345678\r\n.\r\n", nil), ("12345678\n12345678\n\r\n.\r\n", nil),
            (String(repeating: "x", count: 200) + "\r\n.\r\n", .lineTooLong),
        ] {
            let result = DecodedContent.data(cut.pieces(bytes(wire), &generator), framing: .normalize, limits: limits)
            #expect(result.fault == fault, "\(wire)")
            #expect(result.end == wire.utf8.count)
        }
    }

    @Test("of several faults the first counts, however the content is cut", arguments: Cut.allCases)
    func firstFault(_ cut: Cut) {
        var generator = SeededGenerator(seed: 7)
        let x = { String(repeating: "x", count: $0) }
        let cases: [(wire: String, limits: ContentLimits, fault: ContentFault?)] = [
            ("\(x(15))\0", ContentLimits(octets: 10), .tooLarge),
            ("\(x(5))\0\(x(15))", ContentLimits(octets: 10), .nul),
            ("\(x(30))\0", ContentLimits(line: 20), .lineTooLong),
            ("\(x(20))\0\(x(30))", ContentLimits(line: 20), .nul),
            ("\(x(30))", ContentLimits(octets: 25, line: 20), .lineTooLong),
            ("\(x(30))", ContentLimits(octets: 20, line: 25), .tooLarge),
            ("\(x(30))", ContentLimits(octets: 20, line: 20), .lineTooLong),
            ("\(x(8))\r\n", ContentLimits(octets: 9, line: 9), .lineTooLong),
            ("\(x(8))\r\n", ContentLimits(octets: 12, line: 10), nil),
            ("\(x(15))\n.\n", ContentLimits(octets: 10), .tooLarge),
            ("\(x(5))\n.\n\(x(15))", ContentLimits(octets: 10), .endOfDataLookAlike),
            ("Received:\r\nReceived:\r\n\0", ContentLimits(hops: 1), .tooManyHops),
            ("Received:\r\n\0Received:\r\n", ContentLimits(hops: 1), .nul),
            ("Received:\r\nReceived:\(x(30))", ContentLimits(hops: 1, line: 20), .tooManyHops),
            ("Received:\(x(30))\r\nReceived:\r\n", ContentLimits(hops: 1, line: 20), .lineTooLong),
            ("Received:\r\nReceived:\r\n", ContentLimits(octets: 25, hops: 1), .tooManyHops),
            ("Received:\r\nReceived:\r\n", ContentLimits(octets: 15, hops: 1), .tooLarge),
        ]
        for (wire, limits, fault) in cases {
            let result = DecodedContent.data(cut.pieces(bytes(wire + "\r\n.\r\n"), &generator), framing: .normalize, limits: limits)
            #expect(result.fault == fault, "\(shown(bytes(wire))) \(limits)")
        }
    }

    @Test("clean content passes as one piece per read")
    func piecesAreFew() {
        let wire = bytes(String(repeating: "A line of text that is long enough to be real.\r\n", count: 1000) + ".\r\n")
        var decoder = DataDecoder()
        var encoder = DataEncoder()
        wire.withUnsafeBytes { input in
            var position = 0
            var pieces: [ContentPiece] = []
            let ended = decoder.decode(input, at: &position, into: &pieces)
            #expect(ended)
            #expect(pieces == [.input(0..<(wire.count - 3))])
            var onward: [ContentPiece] = []
            encoder.encode(pieces[0], of: input, into: &onward)
            #expect(onward == pieces)
        }
    }

    @Test("the scan finds every octet at every offset")
    func scan() {
        var wrong: [String] = []
        // Shorter and longer than what is looked at in one step, and than two steps.
        for length in [Int](0...82) + [127, 128, 129, 145] {
            for place in 0..<max(1, length) {
                for octet: UInt8 in [0, 9, 10, 13, 14, 0x2e, 0x80, 0x8d, 0xae, 0xff] {
                    var input = [UInt8](repeating: 0x8a, count: length)
                    if place < length { input[place] = octet }
                    input.withUnsafeBytes { buffer in
                        let control = octet < 14 && length > 0 ? place : length
                        let feed = octet == 10 && length > 0 ? place : length
                        let found = [
                            ByteScan.firstControl(buffer, from: 0), ByteScan.firstControl(buffer, from: place),
                            ByteScan.firstLF(buffer, from: 0),
                        ]
                        if found != [control, control, feed] { wrong.append("octet \(octet) at \(place) of \(length): \(found)") }
                    }
                }
            }
        }
        #expect(wrong == [])
    }

    @Test("whatever is not plain counts wherever it stands among plain lines, before and behind them")
    func plainBlocks() {
        let alphabet: [UInt8] = [13, 10, UInt8(ascii: "."), UInt8(ascii: "a")]
        // Neither the lines nor what is put into them fit the steps in which plain lines are passed over.
        let plain = bytes(String(repeating: String(repeating: "x", count: 35) + "\r\n", count: 8))
        var generator = SeededGenerator(seed: 7)
        for place in 0..<150 {
            for number in 0..<64 {
                let odd = (0..<3).map { alphabet[number >> (2 * $0) & 3] }
                let wire = plain[..<place] + odd + plain[place...] + bytes(".\r\n")
                let whole = DecodedContent.data([Array(wire)], framing: .normalize).comparable
                guard whole == ContentModel.decode(Array(wire)) else {
                    Issue.record("differs from the model: \(shown(odd)) at \(place)")
                    return
                }
            }
            let wire = plain[..<place] + [0] + plain[place...] + bytes(".\r\n")
            let whole = DecodedContent.data([Array(wire)], framing: .normalize)
            #expect(whole.fault == .nul && whole.end == wire.count, "NUL at \(place)")
            #expect(whole.comparable == DecodedContent.data(Cut.bytes.pieces(Array(wire), &generator), framing: .normalize).comparable)
        }
    }
}

/// DATA by definition, for clarity and not for speed: knows all of the input at once.
enum ContentModel {
    static func decode(_ wire: [UInt8]) -> DecodedContent {
        var result = DecodedContent()
        var lineStart: Character? = "s"
        var index = 0
        let dot = UInt8(ascii: ".")
        func at(_ index: Int) -> UInt8? { index < wire.count ? wire[index] : nil }
        while index < wire.count {
            let octet = wire[index]
            let isCRLF = octet == 13 && at(index + 1) == 10
            if let kind = lineStart, octet == dot, let next = at(index + 1), next == 13 || next == 10 {
                let strictEnd = next == 13 && at(index + 2) == 10
                if kind == "s", strictEnd {
                    result.end = index + 3
                    break
                }
                result.flaws.insert(.endOfDataLookAlike)
                result.fault = result.fault ?? .endOfDataLookAlike
                index += 1
                lineStart = nil
            } else if lineStart == "s", octet == dot {
                index += 1
                lineStart = nil
            } else if isCRLF {
                result.message += [13, 10]
                index += 2
                lineStart = "s"
            } else if octet == 10 {
                result.flaws.insert(.bareLF)
                result.message += [13, 10]
                index += 1
                lineStart = "l"
            } else if octet == 13 {
                result.flaws.insert(.bareCR)
                result.message.append(32)
                index += 1
                lineStart = "c"
            } else {
                result.message.append(octet)
                index += 1
                lineStart = nil
            }
        }
        var atLineStart = true
        for octet in result.message {
            if atLineStart, octet == dot { result.wire.append(dot) }
            result.wire.append(octet)
            atLineStart = octet == 10
        }
        result.wire += (atLineStart ? [] : [13, 10]) + [dot, 13, 10]
        return result.comparable
    }
}

extension DecodedContent {
    /// What was handed on before a fault depends on the cut, and does not matter.
    fileprivate var comparable: DecodedContent {
        guard fault != nil else { return self }
        var copy = self
        copy.message = []
        copy.wire = []
        return copy
    }
}
