import PosternCore

/// Tells a name that a provider gave to an address (`p5b2c3d4e.dip0.example.net`, `dsl-1-2-3-4.example.net`) from one
/// that somebody gave to a mail server. Such a name says nothing about who sends: thousands of strangers share its domain.
public enum GenericName {
    /// Labels, or parts of labels set off by hyphens or digits, that providers give to lines of consumers and to rented
    /// machines that nobody has named yet.
    static let consumerWords: Set<String> = [
        "adsl", "broadband", "cable", "catv", "client", "clients", "cpe", "cust", "customer", "customers", "dhcp", "dial", "dialin",
        "dialup", "dip", "dsl", "dyn", "dynamic", "dynamicip", "fiber", "fibra", "fibre", "ftth", "gprs", "home", "hsd", "hwsrv", "lte",
        "mobile", "modem", "pool", "pools", "ppp", "pppoe", "res", "resi", "residential", "sdsl", "user", "users", "vdsl", "vds", "vmi",
        "vps", "vserver", "wifi", "wimax", "wireless", "xdsl",
    ]

    /// Whether `name` bears its own `address`, or is made of words that mark a consumer's line.
    ///
    /// All four octets of an IPv4 address, in order or reversed, or any three neighbours of them, or its eight
    /// hexadecimal digits make a name generic; two octets, four numbers, or a number in the first label do so only
    /// beside a consumer's word. For IPv6 it is the last 64 bits in hexadecimal, in groups, nibbles or as one run.
    public static func matches(_ name: DomainName, address: IPAddress) -> Bool {
        let octets = address.octets
        switch address.family {
        case .v4:
            let numbers = Self.numbers(in: name.text)
            if bears(numbers, octets, run: 3) || bears(numbers, octets.reversed(), run: 3) { return true }
            if hexDigits(octets).contains(where: { name.text.contains($0) }) { return true }
            // Octets padded to three digits and run together: 010020030040.
            let padded = octets.map { String(repeating: "0", count: 3 - String($0).count) + String($0) }
            if name.text.contains(padded.joined()) || name.text.contains(padded.reversed().joined()) { return true }
            guard hasConsumerWord(name) else { return false }
            return bears(numbers, octets, run: 2) || bears(numbers, octets.reversed(), run: 2) || numbers.count >= 4 || isNumbered(name)
        case .v6:
            return bears(name, address) || hasConsumerWord(name) && isNumbered(name)
        }
    }

    /// Whether the name bears the last 64 bits of an IPv6 address, or the whole of it in its short form.
    private static func bears(_ name: DomainName, _ address: IPAddress) -> Bool {
        let short = String(address.description.map { $0 == ":" ? "-" : $0 })
        if address.octets[0] != 0, name.text.contains(short) { return true }
        let tail = address.octets.suffix(8).map(hexPair).joined()
        // Such as ::1, which says nothing.
        guard Set(tail).count > 2 else { return false }
        let compact = String(decoding: name.text.utf8.filter { $0.hexDigitValue != nil }, as: UTF8.self)
        if compact.contains(tail) { return true }
        let parts = name.text.utf8.split { $0.hexDigitValue == nil }.map { String(decoding: $0, as: UTF8.self) }
        let padded = parts.map { String(repeating: "0", count: max(0, 4 - $0.count)) + $0 }.joined()
        if padded.contains(tail) { return true }
        // Nibble by nibble, the last one first, as in ip6.arpa (RFC 3596 §2.5).
        return String(parts.filter { $0.count == 1 }.joined().reversed()).contains(tail)
    }

    /// The decimal numbers of a name up to 255, in order.
    private static func numbers(in text: String) -> [UInt8] {
        var result: [UInt8] = []
        for run in text.utf8.split(whereSeparator: { $0 < UInt8(ascii: "0") || $0 > UInt8(ascii: "9") }) where run.count <= 3 {
            let value = run.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
            if value <= 255 { result.append(UInt8(value)) }
        }
        return result
    }

    /// Whether `run` neighbouring octets stand side by side in `numbers`.
    private static func bears(_ numbers: [UInt8], _ octets: [UInt8], run: Int) -> Bool {
        guard numbers.count >= run else { return false }
        for start in 0...(octets.count - run) {
            let wanted = octets[start..<(start + run)]
            for offset in 0...(numbers.count - run) where numbers[offset..<(offset + run)].elementsEqual(wanted) { return true }
        }
        return false
    }

    private static func hexDigits(_ octets: [UInt8]) -> [String] {
        [octets.map(hexPair).joined(), octets.reversed().map(hexPair).joined()]
    }

    private static func hexPair(_ octet: UInt8) -> String {
        (octet < 16 ? "0" : "") + String(octet, radix: 16)
    }

    private static func words(of label: Substring) -> [Substring] {
        label.split { !($0 >= "a" && $0 <= "z") }
    }

    /// Whether a consumer's word stands in front of the domain, and nothing in the first label says mail server.
    private static func hasConsumerWord(_ name: DomainName) -> Bool {
        let labels = name.labels
        guard labels.count > 2, !words(of: labels[0]).contains(where: isMailWord) else { return false }
        return labels.dropLast(2).contains { words(of: $0).contains { consumerWords.contains(String($0)) } }
    }

    /// `mail`, `webmail`, `mailout`, `smtp`, `mx`, `mta`, `relay` and their like.
    private static func isMailWord(_ word: Substring) -> Bool {
        word.hasPrefix("mail") || word.hasSuffix("mail") || word.hasPrefix("smtp") || word.hasSuffix("smtp") || word.hasSuffix("mx")
            || ["mta", "mout", "out", "outbound", "relay", "newsletter", "bounce", "bounces"].contains(word)
    }

    /// Whether the first label has a number, as names given out one by one have: `dyn-7`, `aazd112`.
    private static func isNumbered(_ name: DomainName) -> Bool {
        name.labels.first?.utf8.contains { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") } ?? false
    }
}
