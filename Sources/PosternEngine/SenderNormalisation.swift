import PosternCore

extension ReversePath {
    /// The sender as the greylist keys it: equal for every message of one correspondent to one recipient, whatever
    /// marks its software puts into the local part. Empty for the null sender.
    ///
    /// Taken off or levelled: BATV (draft-levine-smtp-batv-01: `prvs=tag=user`, and the `btv1==` and `msprvs1=` kinds),
    /// SRS hashes and time stamps (`SRS0=hash=tt=domain=user`, libsrs2), `+tags`, VERP recipients (`list-return-12-user=host`)
    /// keep only what does not change, numbers and long hexadecimal runs become `#`.
    public var normalised: String {
        guard let mailbox else { return "" }
        return SenderNormalisation.levelled(mailbox.localPart.lowercasedASCII) + "@" + mailbox.domain
    }
}

enum SenderNormalisation {
    static func levelled(_ localPart: String) -> String {
        let plain = withoutSRS(withoutBATV(localPart[...]))
        return levelNumbers(withoutTag(plain))
    }

    private static func withoutBATV(_ text: Substring) -> Substring {
        if text.hasPrefix("prvs=") {
            let rest = text.dropFirst(5)
            // prvs=0123abcdef=user, and the older prvs=user/0123abcdef.
            if let equals = rest.firstIndex(of: "=") { return rest[rest.index(after: equals)...] }
            if let slash = rest.lastIndex(of: "/") { return rest[..<slash] }
            return rest
        }
        if text.hasPrefix("btv1=="), let end = text.dropFirst(6).firstRange(of: "==") { return text[end.upperBound...] }
        if text.hasPrefix("msprvs1="), let equals = text.dropFirst(8).firstIndex(of: "=") { return text[text.index(after: equals)...] }
        return text
    }

    private static func withoutSRS(_ text: Substring) -> Substring {
        guard text.hasPrefix("srs0") || text.hasPrefix("srs1"), text.utf8.count > 5 else { return text }
        let separators: Set<Character> = ["=", "+", "-"]
        guard separators.contains(text[text.index(text.startIndex, offsetBy: 4)]) else { return text }
        // SRS0=hash=tt=domain=user; SRS1=hash=forwarder==hash=tt=domain=user. What stays is forwarder, domain, user.
        let first = text.hasPrefix("srs0")
        let fields = text.dropFirst(5).split(separator: "=", omittingEmptySubsequences: false)
        if first, fields.count >= 4 { return "srs0=" + fields[2...].joined(separator: "=") }
        if !first, fields.count >= 6 { return "srs1=" + fields[1] + "=" + fields[5...].joined(separator: "=") }
        return text
    }

    private static func withoutTag(_ text: Substring) -> Substring {
        guard let plus = text.dropFirst().firstIndex(of: "+") else { return text }
        return text[..<plus]
    }

    /// Numbers set off from letters, and hexadecimal runs of eight or more with a digit among them, become `#`.
    private static func levelNumbers(_ text: Substring) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count)
        var wordStart = 0
        var digits = 0
        var allHex = true
        func flush() {
            let length = result.count - wordStart
            if digits > 0, digits == length || allHex && length >= 8 {
                result.removeSubrange(wordStart...)
                result.append(UInt8(ascii: "#"))
            }
        }
        for byte in text.utf8 {
            let isDigit = byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
            let isLetter = byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z") || byte >= 0x80
            if isDigit || isLetter {
                result.append(byte)
                digits += isDigit ? 1 : 0
                allHex = allHex && byte.hexDigitValue != nil
            } else {
                flush()
                result.append(byte)
                wordStart = result.count
                digits = 0
                allHex = true
            }
        }
        flush()
        return String(decoding: result, as: UTF8.self)
    }
}

extension Substring {
    /// The first place of `needle`.
    fileprivate func firstRange(of needle: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(needle) { return start..<index(start, offsetBy: needle.count) }
            start = index(after: start)
        }
        return nil
    }
}
