import PosternCore

extension ReversePath {
    /// The sender as the greylist keys it: equal for every message of one correspondent to one recipient, whatever
    /// marks its software puts into the local part. Empty for the null sender.
    ///
    /// Taken off or levelled: BATV (draft-levine-smtp-batv-01: `prvs=tag=user`, and the `btv1==` and `msprvs1=` kinds),
    /// SRS hashes and time stamps (`SRS0=hash=tt=domain=user`, libsrs2), `+tags`, VERP recipients (`list-return-12-user=host`)
    /// keep only what does not change, numbers, UUIDs and long tokens become `#`. A local part that is one number stays.
    public var normalised: String {
        guard let mailbox else { return "" }
        return SenderNormalisation.normalised(mailbox.localPart.lowercasedASCII, at: mailbox.domain)
    }
}

/// Works on octets: the local part comes from strangers, and what is one character to Swift may be several of theirs.
enum SenderNormalisation {
    private typealias Octets = Slice<UnsafeBufferPointer<UInt8>>

    /// `localPart` in lower case.
    static func normalised(_ localPart: String, at domain: String) -> String {
        var (localPart, domain) = (localPart, domain)
        return domain.withUTF8 { domain in
            localPart.withUTF8 { text in
                // Every mark has one of these in it; most people's names do not.
                guard text.contains(where: { isDigit($0) || $0 == UInt8(ascii: "=") || $0 == UInt8(ascii: "+") }) else {
                    return joined(text[...], domain)
                }
                let plain = withoutBATV(text[...])
                guard let rewritten = withoutSRS(plain) else { return levelled(withoutTag(plain), at: domain) }
                return rewritten.withUnsafeBufferPointer { levelled(withoutTag($0[...]), at: domain) }
            }
        }
    }

    private static func levelled(_ text: Octets, at domain: UnsafeBufferPointer<UInt8>) -> String {
        // A number that is the whole name is a person's (QQ and telephone numbers), not a mark.
        let digits = text.first == UInt8(ascii: "+") ? text.dropFirst() : text
        if digits.allSatisfy(isDigit) { return joined(text, domain) }
        return String(unsafeUninitializedCapacity: text.count + 1 + domain.count) { out in
            append(domain, to: out, from: levelTokens(of: text, into: out))
        }
    }

    private static func joined(_ text: Octets, _ domain: UnsafeBufferPointer<UInt8>) -> String {
        String(unsafeUninitializedCapacity: text.count + 1 + domain.count) { out in
            append(domain, to: out, from: copy(text, to: out, from: 0))
        }
    }

    /// Writes the `@` and what follows it; returns how much there is now.
    private static func append(_ domain: UnsafeBufferPointer<UInt8>, to out: UnsafeMutableBufferPointer<UInt8>, from start: Int) -> Int {
        out[start] = UInt8(ascii: "@")
        return copy(domain[...], to: out, from: start + 1)
    }

    private static func copy(_ octets: Octets, to out: UnsafeMutableBufferPointer<UInt8>, from start: Int) -> Int {
        _ = UnsafeMutableBufferPointer(rebasing: out[start...]).update(fromContentsOf: octets)
        return start + octets.count
    }

    private static func withoutBATV(_ text: Octets) -> Octets {
        if begins(text, "prvs=") {
            let rest = text.dropFirst(5)
            // prvs=0123abcdef=user, and the older prvs=user/0123abcdef.
            if let equals = rest.firstIndex(of: UInt8(ascii: "=")) { return rest[(equals + 1)...] }
            if let slash = rest.lastIndex(of: UInt8(ascii: "/")) { return rest[..<slash] }
            return rest
        }
        if begins(text, "btv1==") {
            // btv1==0123abcdef==user.
            let rest = text.dropFirst(6)
            let end = rest.indices.dropLast().first { rest[$0] == UInt8(ascii: "=") && rest[$0 + 1] == UInt8(ascii: "=") }
            return end.map { rest[($0 + 2)...] } ?? text
        }
        if begins(text, "msprvs1=") {
            let rest = text.dropFirst(8)
            return rest.firstIndex(of: UInt8(ascii: "=")).map { rest[($0 + 1)...] } ?? text
        }
        return text
    }

    /// What stays of SRS is the forwarder, the domain and the user; of its first separator there are three (`=+-`), and
    /// a second forwarder keeps that of the first: SRS0=hash=tt=domain=user, SRS1=hash=forwarder==hash=tt=domain=user,
    /// SRS1=hash=forwarder=+hash=tt=domain=user. `nil` where there is no SRS.
    private static func withoutSRS(_ text: Octets) -> [UInt8]? {
        let first = begins(text, "srs0")
        guard first || begins(text, "srs1"), let separator = text.dropFirst(4).first, "=+-".utf8.contains(separator) else {
            return nil
        }
        let fields = text.dropFirst(5).split(separator: UInt8(ascii: "="), omittingEmptySubsequences: false)
        func joined(_ prefix: String, _ kept: [Octets]) -> [UInt8] {
            Array(prefix.utf8) + kept.joined(separator: [UInt8(ascii: "=")])
        }
        if first { return fields.count >= 4 ? joined("srs0=", Array(fields[2...])) : nil }
        guard fields.count >= 3 else { return nil }
        // With `=` kept, the field behind the forwarder is empty.
        let domain = fields[2].isEmpty ? 5 : 4
        return fields.count >= domain + 2 ? joined("srs1=", [fields[1]] + fields[domain...]) : nil
    }

    private static func begins(_ text: Octets, _ mark: StaticString) -> Bool {
        mark.withUTF8Buffer { mark in text.count >= mark.count && mark.indices.allSatisfy { text[text.startIndex + $0] == mark[$0] } }
    }

    private static func withoutTag(_ text: Octets) -> Octets {
        guard let plus = text.dropFirst().firstIndex(of: UInt8(ascii: "+")) else { return text }
        return text[..<plus]
    }

    /// UUIDs, numbers set off from letters, hexadecimal runs of eight or more with a digit among them, and long words
    /// in which letters and digits take turns become `#`. Never longer than `text`; returns how long.
    private static func levelTokens(of text: Octets, into out: UnsafeMutableBufferPointer<UInt8>) -> Int {
        var count = 0
        var index = text.startIndex
        func write(_ octet: UInt8) {
            out[count] = octet
            count += 1
        }
        while index < text.endIndex {
            guard isWordOctet(text[index]) else {
                write(text[index])
                index += 1
                continue
            }
            if let end = endOfUUID(in: text[index...]) {
                write(UInt8(ascii: "#"))
                index = end
                continue
            }
            let end = text[index...].firstIndex { !isWordOctet($0) } ?? text.endIndex
            if isToken(text[index..<end]) { write(UInt8(ascii: "#")) } else { count = copy(text[index..<end], to: out, from: count) }
            index = end
        }
        return count
    }

    /// Shorter than this, letters and digits that take turns may be somebody's name.
    private static let shortestMixedToken = 12
    /// How often letters and digits take turns in a token at least.
    private static let fewestTurns = 4

    private static func isToken(_ word: Octets) -> Bool {
        let digits = word.count(where: isDigit)
        if digits == 0 { return false }
        if digits == word.count { return true }
        if word.count >= 8, word.allSatisfy({ $0.hexDigitValue != nil }) { return true }
        guard word.count >= shortestMixedToken else { return false }
        let turns = zip(word, word.dropFirst()).count { isDigit($0.0) != isDigit($0.1) }
        return turns >= fewestTurns
    }

    /// Where a UUID at the start of `text` ends (RFC 9562 §4: 8-4-4-4-12 hexadecimal digits), when one stands there as a word.
    private static func endOfUUID(in text: Octets) -> Int? {
        var index = text.startIndex
        for (part, length) in [8, 4, 4, 4, 12].enumerated() {
            if part > 0 {
                guard index < text.endIndex, text[index] == UInt8(ascii: "-") else { return nil }
                index += 1
            }
            guard text.endIndex - index >= length, text[index..<index + length].allSatisfy({ $0.hexDigitValue != nil }) else { return nil }
            index += length
        }
        return index == text.endIndex || !isWordOctet(text[index]) ? index : nil
    }

    private static func isDigit(_ octet: UInt8) -> Bool { octet >= UInt8(ascii: "0") && octet <= UInt8(ascii: "9") }

    private static func isWordOctet(_ octet: UInt8) -> Bool {
        isDigit(octet) || octet >= UInt8(ascii: "a") && octet <= UInt8(ascii: "z") || octet >= 0x80
    }
}
