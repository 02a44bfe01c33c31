/// A text with macros (RFC 7208 §7): the target of a mechanism or modifier, or an explanation.
public struct MacroString: Hashable, Sendable {
    enum Piece: Hashable, Sendable {
        case text([UInt8])
        case macro(Macro)
    }

    /// Neighbouring texts are one piece.
    private(set) var pieces: [Piece] = []

    enum Place: Hashable, Sendable {
        /// `c`, `r` and `t` are not allowed (RFC 7208 §7.2).
        case name
        /// Only the grammar counts: what an unknown modifier means is not ours to say.
        case unknownModifier
        /// Spaces are allowed, and all letters.
        case explanation
    }

    /// Whether the target hangs on what the client or whoever writes through it chooses or owns: its address, its
    /// reverse name, its HELO or the local part. Then the domain's record vouches for nobody in particular.
    var isNamedByClient: Bool {
        pieces.contains {
            guard case .macro(let macro) = $0 else { return false }
            return switch macro.letter {
            case .sender, .localPart, .address, .confirmedName, .helo, .readableAddress: true
            case .senderDomain, .domain, .version, .receiver, .time: false
            }
        }
    }
}

/// `"%{" macro-letter transformers *delimiter "}"`
struct Macro: Hashable, Sendable {
    enum Letter: Hashable, Sendable {
        case sender, localPart, senderDomain, domain, address, confirmedName, version, helo, readableAddress, receiver, time

        init?(_ octet: UInt8) {
            switch octet.lowered {
            case UInt8(ascii: "s"): self = .sender
            case UInt8(ascii: "l"): self = .localPart
            case UInt8(ascii: "o"): self = .senderDomain
            case UInt8(ascii: "d"): self = .domain
            case UInt8(ascii: "i"): self = .address
            case UInt8(ascii: "p"): self = .confirmedName
            case UInt8(ascii: "v"): self = .version
            case UInt8(ascii: "h"): self = .helo
            case UInt8(ascii: "c"): self = .readableAddress
            case UInt8(ascii: "r"): self = .receiver
            case UInt8(ascii: "t"): self = .time
            default: return nil
            }
        }

        /// RFC 7208 §7.2: allowed only in an explanation.
        var isForExplanations: Bool {
            switch self {
            case .readableAddress, .receiver, .time: true
            default: false
            }
        }
    }

    var letter: Letter
    /// How many parts are kept, from the right; at least 1. `nil` keeps all.
    var parts: Int?
    var isReversed: Bool
    /// Empty for the dot.
    var delimiters: [UInt8]
    /// A letter in upper case: the value is escaped as in a URL.
    var escapes: Bool

    /// Cuts, turns and escapes a value (RFC 7208 §7.3).
    func transformed(_ value: [UInt8]) -> [UInt8] {
        var value = value
        if parts != nil || isReversed || !delimiters.isEmpty {
            var pieces = value.split(omittingEmptySubsequences: false) {
                delimiters.isEmpty ? $0 == UInt8(ascii: ".") : delimiters.contains($0)
            }
            if isReversed { pieces.reverse() }
            if let parts { pieces = pieces.suffix(parts) }
            value = Array(pieces.joined(separator: [UInt8(ascii: ".")]))
        }
        return escapes ? Self.escaped(value) : value
    }

    /// RFC 3986 §2.1, §2.3.
    private static func escaped(_ value: [UInt8]) -> [UInt8] {
        let hex = Array("0123456789ABCDEF".utf8)
        var escaped: [UInt8] = []
        for octet in value {
            switch octet {
            case _ where octet.isLetter || octet.isDigit, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
                escaped.append(octet)
            default:
                escaped += [UInt8(ascii: "%"), hex[Int(octet >> 4)], hex[Int(octet & 15)]]
            }
        }
        return escaped
    }
}

// MARK: - Reading

extension MacroString {
    /// `macro-string`, or `explain-string` where the place is an explanation. Octets are visible ASCII, or are refused.
    init(_ octets: ArraySlice<UInt8>, in place: Place) throws(SPFSyntaxError.Flaw) {
        _ = try read(octets, in: place)
    }

    /// `domain-spec = macro-string domain-end`
    init(domainSpec octets: ArraySlice<UInt8>) throws(SPFSyntaxError.Flaw) {
        guard !octets.isEmpty else { throw .domainMissing }
        let tail = try read(octets, in: .name)
        // A macro at the end is a domain-end by itself.
        guard !tail.isEmpty else { return }
        var name = tail
        if name.last == UInt8(ascii: ".") { name = name.dropLast() }
        guard let dot = name.lastIndex(of: UInt8(ascii: ".")), name[(dot + 1)...].isTopLabel else {
            // Only a text without macros is an address: behind one, digits and dots are the end of a name.
            let isAddress =
                tail.count == octets.count && tail.contains(where: \.isDigit) && tail.allSatisfy { $0.isDigit || $0 == UInt8(ascii: ".") }
            throw isAddress ? .addressForName : .domainEnd
        }
    }

    /// Returns what stands behind the last macro.
    private mutating func read(_ octets: ArraySlice<UInt8>, in place: Place) throws(SPFSyntaxError.Flaw) -> ArraySlice<UInt8> {
        var text: [UInt8] = []
        var index = octets.startIndex
        var tail = index
        while index < octets.endIndex {
            let octet = octets[index]
            index += 1
            guard octet == UInt8(ascii: "%") else {
                // macro-literal = %x21-24 / %x26-7E
                guard octet >= 0x21 && octet <= 0x7e || octet == 0x20 && place == .explanation else { throw .octet }
                text.append(octet)
                continue
            }
            guard index < octets.endIndex else { throw .macro }
            let kind = octets[index]
            index += 1
            switch kind {
            case UInt8(ascii: "%"): text.append(UInt8(ascii: "%"))
            case UInt8(ascii: "_"): text.append(UInt8(ascii: " "))
            case UInt8(ascii: "-"): text += Array("%20".utf8)
            case UInt8(ascii: "{"):
                guard let end = octets[index...].firstIndex(of: UInt8(ascii: "}")) else { throw .macro }
                let macro = try Macro(octets[index..<end], in: place)
                if !text.isEmpty { pieces.append(.text(text)) }
                text = []
                pieces.append(.macro(macro))
                index = end + 1
            default: throw .macro
            }
            tail = index
        }
        if !text.isEmpty { pieces.append(.text(text)) }
        return octets[tail...]
    }
}

extension Macro {
    /// What stands between the braces.
    fileprivate init(_ octets: ArraySlice<UInt8>, in place: MacroString.Place) throws(SPFSyntaxError.Flaw) {
        guard let first = octets.first else { throw .macro }
        guard let letter = Letter(first), place != .name || !letter.isForExplanations else { throw .macroLetter }
        var rest = octets.dropFirst()
        let digits = rest.prefix(while: \.isDigit)
        rest = rest.dropFirst(digits.count)
        // RFC 7208 §7.3: not zero, and more than there are means all; three digits are more than any name has labels.
        var parts: Int?
        if !digits.isEmpty {
            let value = digits.reduce(0) { min($0 * 10 + Int($1 - UInt8(ascii: "0")), 1_000_000) }
            guard value > 0 else { throw .macro }
            parts = value
        }
        let isReversed = rest.first?.lowered == UInt8(ascii: "r")
        if isReversed { rest = rest.dropFirst() }
        let delimiters = Array(".-+,/_=".utf8)
        guard rest.allSatisfy({ delimiters.contains($0) }) else { throw .macro }
        self.init(
            letter: letter, parts: parts, isReversed: isReversed, delimiters: Set(rest).sorted(), escapes: first != first.lowered)
    }
}

extension ArraySlice<UInt8> {
    /// `toplabel`: letters, digits and hyphens, with a letter or a hyphen in it, and no hyphen at either end.
    fileprivate var isTopLabel: Bool {
        guard let first, let last, first != UInt8(ascii: "-"), last != UInt8(ascii: "-") else { return false }
        return allSatisfy { $0.isLetter || $0.isDigit || $0 == UInt8(ascii: "-") } && !allSatisfy(\.isDigit)
    }
}
