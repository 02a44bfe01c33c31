/// A reply of an SMTP server (RFC 5321 §4.2): a code and one line of text or several.
///
/// Text is kept as octets, so that a backend's reply goes to the client word for word, whatever its charset.
public struct Reply: Hashable, Sendable {
    /// 200...599.
    public let code: UInt16
    /// As it goes over the wire: `250-` on all lines but the last (RFC 5321 §4.2.1).
    public let wire: [UInt8]

    /// RFC 5321 §4.5.3.1.5: a reply line has at most 512 octets, code and CRLF included.
    public static let longestLine = 512
    /// The longest text that fits a reply line of our own: 512 less code, separator and CRLF.
    static let longestText = longestLine - 6

    /// A reply of which the lines were written by `append`.
    init(code: UInt16, wire: [UInt8]) {
        self.code = code
        self.wire = wire
    }

    /// A reply of our own. The enhanced code stands on every line (RFC 2034 §4). Text is made safe: what is not printable
    /// ASCII becomes `?`, and a line is cut where it would pass 512 octets.
    public init(_ code: UInt16, _ enhanced: EnhancedCode?, _ texts: String...) {
        self.init(code, enhanced, texts: texts)
    }

    /// As above, from an array; an empty array makes one empty line.
    public init(_ code: UInt16, _ enhanced: EnhancedCode?, texts: [String]) {
        precondition((200...599).contains(code), "a reply code lies in 200...599")
        let prefix = enhanced.map { Array("\($0) ".utf8) } ?? []
        let texts = texts.isEmpty ? [""] : texts
        var wire: [UInt8] = []
        for (index, text) in texts.enumerated() {
            let safe = text.utf8.lazy.map { $0 >= 0x20 && $0 < 0x7f ? $0 : UInt8(ascii: "?") }
            Self.append((prefix + safe).prefix(Self.longestText), of: code, isLast: index == texts.count - 1, to: &wire)
        }
        self.init(code: code, wire: wire)
    }

    /// Writes one line. Its text must hold no CR, LF or NUL; `ReplyDecoder` sees to that for a server's.
    static func append(_ text: ArraySlice<UInt8>, of code: UInt16, isLast: Bool, to wire: inout [UInt8]) {
        wire.reserveCapacity(wire.count + text.count + 6)
        wire.append(0x30 + UInt8(truncatingIfNeeded: code / 100))
        wire.append(0x30 + UInt8(truncatingIfNeeded: code / 10 % 10))
        wire.append(0x30 + UInt8(truncatingIfNeeded: code % 10))
        if !isLast {
            wire.append(Octet.hyphen)
        } else if !text.isEmpty {
            wire.append(Octet.space)
        }
        wire.append(contentsOf: text)
        wire.append(Octet.cr)
        wire.append(Octet.lf)
    }

    /// The text of each line, without code, separator and line end; at least one line. An enhanced code is part of the text.
    public var lines: [[UInt8]] {
        wire.split(separator: Octet.lf).map { Array($0.dropLast(1).dropFirst(4)) }
    }

    /// The first digit: 2 done, 3 go on, 4 try later, 5 never.
    public var severity: UInt16 { code / 100 }
    public var isPositive: Bool { severity == 2 }
    public var isTransient: Bool { severity == 4 }
    public var isPermanent: Bool { severity == 5 }

    /// The enhanced code at the start of the first line, if it has the class of the reply (RFC 2034 §4).
    public var enhancedCode: EnhancedCode? {
        guard let code = EnhancedCode(prefixOf: lines[0]), code.status == severity else { return nil }
        return code
    }

    /// The text of the first line after the enhanced code, for logs; octets that are not UTF-8 become U+FFFD.
    public var text: String {
        let line = lines[0]
        guard enhancedCode != nil, let space = line.firstIndex(of: Octet.space) else { return String(decoding: line, as: UTF8.self) }
        return String(decoding: line[(space + 1)...], as: UTF8.self)
    }
}

extension Reply: CustomStringConvertible {
    /// The lines joined by ` / `, for logs.
    public var description: String {
        "\(code) " + lines.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " / ")
    }
}

/// An enhanced status code, such as 4.7.1 (RFC 3463 §2).
public struct EnhancedCode: Hashable, Sendable {
    /// 2, 4 or 5.
    public let status: UInt16
    /// 0...999.
    public let subject: UInt16
    /// 0...999.
    public let detail: UInt16

    public init(_ status: UInt16, _ subject: UInt16, _ detail: UInt16) {
        self.status = status
        self.subject = subject
        self.detail = detail
    }

    /// Reads `4.7.1`, followed by a space or nothing. `nil` when the octets do not start with an enhanced code.
    init?(prefixOf octets: [UInt8]) {
        var numbers: [UInt16] = []
        var value: UInt16 = 0
        var digits = 0
        for octet in octets.prefix(12) {
            if Octet.isDigit(octet), digits < 3 {
                value = value * 10 + UInt16(octet - 0x30)
                digits += 1
                continue
            }
            guard digits > 0 else { return nil }
            numbers.append(value)
            value = 0
            digits = 0
            if octet == Octet.space { break }
            guard octet == Octet.dot, numbers.count < 3 else { return nil }
        }
        if digits > 0 { numbers.append(value) }
        guard numbers.count == 3, numbers[0] == 2 || numbers[0] == 4 || numbers[0] == 5 else { return nil }
        self.init(numbers[0], numbers[1], numbers[2])
    }
}

extension EnhancedCode: CustomStringConvertible {
    public var description: String { "\(status).\(subject).\(detail)" }
}

extension EnhancedCode: ExpressibleByStringLiteral {
    /// `"4.7.1"`; a literal that is no enhanced code is our own slip and traps.
    public init(stringLiteral text: StaticString) {
        guard let code = text.withUTF8Buffer({ EnhancedCode(prefixOf: Array($0)) }) else {
            preconditionFailure("not an enhanced status code: \(text)")
        }
        self = code
    }
}
