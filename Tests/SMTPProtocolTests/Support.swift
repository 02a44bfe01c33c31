import Foundation
import PosternCore
import SMTPProtocol

/// SplitMix64 (Steele, Lea, Flood 2014): a generator passed as a value, so that a failure replays from its seed.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}

/// How input is cut before a decoder gets it.
enum Cut: Hashable, CaseIterable {
    case whole
    case bytes
    case random

    func pieces(_ input: [UInt8], _ generator: inout SeededGenerator) -> [[UInt8]] {
        switch self {
        case .whole: return [input]
        case .bytes: return input.map { [$0] }
        case .random:
            var rest = input[...]
            var pieces: [[UInt8]] = []
            while !rest.isEmpty {
                let count = Int.random(in: 1...min(7, rest.count), using: &generator)
                pieces.append(Array(rest.prefix(count)))
                rest = rest.dropFirst(count)
            }
            return pieces
        }
    }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
func text(_ bytes: some Sequence<UInt8>) -> String { String(decoding: Array(bytes), as: UTF8.self) }

/// For messages: printable, with the octets that matter spelt out.
func shown(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map {
        switch $0 {
        case 0x0d: "\\r"
        case 0x0a: "\\n"
        case 0x00: "\\0"
        case 0x20...0x7e: String(Unicode.Scalar($0))
        default: "\\x" + String($0, radix: 16)
        }
    }.joined()
}

/// Reads `\r`, `\n`, `\0`, `\t`, `\\` and `\xHH`.
func unescaped(_ text: some StringProtocol) -> [UInt8] {
    var result: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let first = rest.popFirst() {
        guard first == UInt8(ascii: "\\"), let kind = rest.popFirst() else {
            result.append(first)
            continue
        }
        switch kind {
        case UInt8(ascii: "r"): result.append(13)
        case UInt8(ascii: "n"): result.append(10)
        case UInt8(ascii: "0"): result.append(0)
        case UInt8(ascii: "t"): result.append(9)
        case UInt8(ascii: "x"):
            let digits = String(decoding: rest.prefix(2), as: UTF8.self)
            rest = rest.dropFirst(2)
            result.append(UInt8(digits, radix: 16) ?? UInt8(ascii: "?"))
        default: result.append(kind)
        }
    }
    return result
}

/// Data collected from public projects: `POSTERN_TESTDATA`, or `shared/testdata` beside the project. Tests that need it
/// are skipped where it is absent.
enum TestData {
    static let folder: URL? = {
        if let path = ProcessInfo.processInfo.environment["POSTERN_TESTDATA"] { return existing(URL(fileURLWithPath: path)) }
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        return existing(root.deletingLastPathComponent().appendingPathComponent("shared/testdata"))
    }()

    static var isPresent: Bool { folder != nil }

    private static func existing(_ url: URL) -> URL? {
        FileManager.default.fileExists(atPath: url.path) ? url : nil
    }

    static func lines<Line: Decodable>(_ path: String, as type: Line.Type) throws -> [Line] {
        guard let folder else { return [] }
        let content = try String(contentsOf: folder.appendingPathComponent(path), encoding: .utf8)
        return try content.split(separator: "\n").map { try JSONDecoder().decode(type, from: Data($0.utf8)) }
    }
}

/// Runs one decoder over input cut in some way and gathers the message.
struct DecodedContent: Equatable {
    var message: [UInt8] = []
    /// Octets of input consumed up to the end, or `nil` where there was none.
    var end: Int?
    var fault: ContentFault?
    var flaws: ViolationSet = []
    /// The message as it goes to a backend, ended.
    var wire: [UInt8] = []

    static func data(_ pieces: [[UInt8]], framing: Framing, limits: ContentLimits = ContentLimits()) -> DecodedContent {
        var decoder = DataDecoder(framing: framing, limits: limits)
        var encoder = DataEncoder()
        var result = DecodedContent()
        var consumed = 0
        for piece in pieces {
            guard result.end == nil else { break }
            piece.withUnsafeBytes { input in
                var position = 0
                var decoded: [ContentPiece] = []
                let ended = decoder.decode(input, at: &position, into: &decoded)
                consumed += position
                if ended { result.end = consumed }
                result.take(decoded, input, &encoder)
            }
        }
        result.fault = decoder.fault
        result.flaws = decoder.flaws
        result.wire += encoder.finish().bytes
        return result
    }

    static func chunks(_ sizes: [Int], of input: [UInt8], cut: Cut, framing: Framing, _ generator: inout SeededGenerator) -> DecodedContent
    {
        var decoder = ChunkDecoder(framing: framing)
        var encoder = DataEncoder()
        var result = DecodedContent()
        var rest = input[...]
        for (index, size) in sizes.enumerated() {
            decoder.begin(size: UInt64(size), last: index == sizes.count - 1)
            var complete = false
            let pieces = size == 0 ? [[]] : cut.pieces(Array(rest.prefix(size)), &generator)
            for piece in pieces {
                piece.withUnsafeBytes { input in
                    var position = 0
                    var decoded: [ContentPiece] = []
                    complete = decoder.decode(input, at: &position, into: &decoded)
                    precondition(position == input.count, "a chunk decoder consumes all of its chunk")
                    result.take(decoded, input, &encoder)
                }
            }
            precondition(complete, "the chunk is complete")
            rest = rest.dropFirst(size)
        }
        result.end = input.count
        result.fault = decoder.fault
        result.flaws = decoder.flaws
        result.wire += encoder.finish().bytes
        return result
    }

    private mutating func take(_ pieces: [ContentPiece], _ input: UnsafeRawBufferPointer, _ encoder: inout DataEncoder) {
        for piece in pieces {
            message += piece.bytes(of: input)
            var encoded: [ContentPiece] = []
            encoder.encode(piece, of: input, into: &encoded)
            for piece in encoded { wire += piece.bytes(of: input) }
        }
    }
}
