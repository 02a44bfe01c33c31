import PosternCore

/// Tells a name that a provider gave to an address (`p5b2c3d4e.dip0.example.net`, `dsl-1-2-3-4.example.net`) from one
/// that somebody gave to a mail server. Such a name says nothing about who sends: thousands of strangers share its domain.
///
/// Asked for each client that has a name, so it works on octets and on the stack.
public enum GenericName {
    /// Labels, or parts of labels set off by hyphens or digits, that providers give to lines of consumers and to rented
    /// machines that nobody has named yet. None is longer than `Word.longest`.
    static let consumerWords: [String] = [
        "adsl", "broadband", "cable", "catv", "client", "clients", "cpe", "cust", "customer", "customers", "dhcp", "dial", "dialin",
        "dialup", "dip", "dsl", "dyn", "dynamic", "dynamicip", "fiber", "fibra", "fibre", "ftth", "gprs", "home", "hsd", "hwsrv", "lte",
        "mobile", "modem", "pool", "pools", "ppp", "pppoe", "res", "resi", "residential", "sdsl", "user", "users", "vdsl", "vds", "vmi",
        "vps", "vserver", "wifi", "wimax", "wireless", "xdsl",
    ]

    /// Whole words that name a mail server; so do words with `mail`, `smtp` or `mx` at an end of theirs.
    static let mailWords: [String] = ["mta", "mout", "out", "outbound", "relay", "newsletter", "bounce", "bounces"]

    private static let packedConsumerWords = WordTable(consumerWords)
    private static let packedMailWords = WordTable(mailWords)

    /// Whether `name` bears its own `address`, or is made of words that mark a consumer's line.
    ///
    /// All four octets of an IPv4 address, in order or reversed, or any three neighbours of them, or its eight
    /// hexadecimal digits make a name generic; two octets, four numbers, or a number in the first label do so only
    /// beside a consumer's word. For IPv6 it is the last 64 bits in hexadecimal, in groups, nibbles or as one run.
    public static func matches(_ name: DomainName, address: IPAddress) -> Bool {
        var text = name.text
        return text.withUTF8 { matches($0, address) }
    }

    private typealias Octets = UnsafeBufferPointer<UInt8>

    private static func matches(_ text: Octets, _ address: IPAddress) -> Bool {
        guard address.family == .v4 else {
            return bearsV6(Array(text), address, address.octets) || hasConsumerWord(text) && isNumbered(text)
        }
        let octets = UInt32(truncatingIfNeeded: address.low)
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: text.count / 2 + 1) { buffer in
            let numbers = Octets(rebasing: buffer[..<writeNumbers(of: text, into: buffer)])
            if bears(numbers, octets, run: 3) || bears(numbers, octets.byteSwapped, run: 3) { return true }
            if longestRun(in: text, where: { $0.hexDigitValue != nil }) >= 8, bearsDigits(Array(text), address.octets) { return true }
            guard hasConsumerWord(text) else { return false }
            return isNumbered(text) || numbers.count >= 4 || bears(numbers, octets, run: 2) || bears(numbers, octets.byteSwapped, run: 2)
        }
    }

    // MARK: - Addresses in names

    /// The decimal numbers of a name up to 255, in order, of which there are no more than half its octets; returns how many.
    private static func writeNumbers(of text: Octets, into numbers: UnsafeMutableBufferPointer<UInt8>) -> Int {
        var count = 0
        var value = 0
        var digits = 0
        func end() {
            if digits > 0, digits <= 3, value <= 255 {
                numbers[count] = UInt8(value)
                count += 1
            }
            (value, digits) = (0, 0)
        }
        for octet in text {
            if isDigit(octet) {
                digits += 1
                if digits <= 3 { value = value * 10 + Int(octet - UInt8(ascii: "0")) }
            } else if digits > 0 {
                end()
            }
        }
        end()
        return count
    }

    /// Whether `run` neighbouring octets of an IPv4 address stand side by side in `numbers`.
    private static func bears(_ numbers: Octets, _ octets: UInt32, run: Int) -> Bool {
        guard numbers.count >= run else { return false }
        for offset in 0...(numbers.count - run) {
            let found = numbers[offset..<offset + run].reduce(0) { $0 << 8 | UInt32($1) }
            for start in 0...(4 - run) where found == (octets << UInt32(8 * start)) >> UInt32(8 * (4 - run)) { return true }
        }
        return false
    }

    /// Whether the name bears an IPv4 address in hexadecimal, or its octets padded to three digits and run together: 010020030040.
    private static func bearsDigits(_ text: [UInt8], _ octets: [UInt8]) -> Bool {
        [octets, octets.reversed()].contains { octets in
            contains(text, octets.flatMap(hexPair)) || contains(text, octets.flatMap(threeDigits))
        }
    }

    /// Whether the name bears the last 64 bits of an IPv6 address, or the whole of it in its short form.
    private static func bearsV6(_ text: [UInt8], _ address: IPAddress, _ octets: [UInt8]) -> Bool {
        // The shortest spelling of what is not all zeros has no fewer hexadecimal digits than this.
        guard text.count(where: { $0.hexDigitValue != nil }) >= 4 else { return false }
        if octets[0] != 0, text.contains(UInt8(ascii: "-")) {
            let short = address.description.utf8.map { $0 == UInt8(ascii: ":") ? UInt8(ascii: "-") : $0 }
            if contains(text, short) { return true }
        }
        let tail = octets.suffix(8).flatMap(hexPair)
        // Such as ::1, which says nothing.
        guard Set(tail).count > 2 else { return false }
        if contains(text.filter { $0.hexDigitValue != nil }, tail) { return true }
        let parts = text.split { $0.hexDigitValue == nil }
        let padded = parts.flatMap { [UInt8](repeating: UInt8(ascii: "0"), count: max(0, 4 - $0.count)) + $0 }
        if contains(padded, tail) { return true }
        // Nibble by nibble, the last one first, as in ip6.arpa (RFC 3596 §2.5).
        return contains(parts.filter { $0.count == 1 }.joined().reversed(), tail)
    }

    private static func contains(_ text: [UInt8], _ wanted: [UInt8]) -> Bool {
        guard let first = wanted.first, text.count >= wanted.count else { return false }
        return (0...(text.count - wanted.count)).contains { start in
            text[start] == first && wanted.indices.allSatisfy { text[start + $0] == wanted[$0] }
        }
    }

    private static func longestRun(in text: Octets, where belongs: (UInt8) -> Bool) -> Int {
        var longest = 0
        var run = 0
        for octet in text {
            run = belongs(octet) ? run + 1 : 0
            longest = max(longest, run)
        }
        return longest
    }

    private static func hexPair(_ octet: UInt8) -> [UInt8] {
        [octet >> 4, octet & 15].map { $0 + ($0 < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") - 10) }
    }

    private static func threeDigits(_ octet: UInt8) -> [UInt8] {
        [octet / 100, octet / 10 % 10, octet % 10].map { $0 + UInt8(ascii: "0") }
    }

    private static func isDigit(_ octet: UInt8) -> Bool { octet >= UInt8(ascii: "0") && octet <= UInt8(ascii: "9") }

    // MARK: - Words

    /// A run of letters, packed: looking it up costs no string.
    private struct Word {
        static let longest = 16

        private(set) var packed: UInt128 = 0
        private(set) var count = 0
        /// The first four letters.
        private var head: UInt32 = 0

        mutating func append(_ letter: UInt8) {
            packed = packed << 8 | UInt128(letter)
            count += 1
            if count == 4 { head = UInt32(truncatingIfNeeded: packed) }
        }

        /// `mail`, `webmail`, `mailout`, `smtp`, `mx`, `mta`, `relay` and their like.
        var namesMailServer: Bool {
            let tail = UInt32(truncatingIfNeeded: packed)
            // The ASCII octets of "mx", "mail" and "smtp".
            let (mx, mail, smtp): (UInt16, UInt32, UInt32) = (0x6d78, 0x6d61_696c, 0x736d_7470)
            if count >= 4, head == mail || head == smtp || tail == mail || tail == smtp { return true }
            return count >= 2 && UInt16(truncatingIfNeeded: tail) == mx || GenericName.packedMailWords.contains(self)
        }

        var namesConsumer: Bool { GenericName.packedConsumerWords.contains(self) }
    }

    /// Words in the order of their packed form.
    private struct WordTable {
        private let words: [UInt128]

        init(_ words: [String]) {
            self.words = words.map { $0.utf8.reduce(0) { $0 << 8 | UInt128($1) } }.sorted()
        }

        func contains(_ word: Word) -> Bool {
            guard word.count <= Word.longest else { return false }
            var (low, high) = (0, words.count)
            while low < high {
                let middle = (low + high) / 2
                if words[middle] < word.packed { low = middle + 1 } else { high = middle }
            }
            return low < words.count && words[low] == word.packed
        }
    }

    /// Whether a consumer's word stands in front of the domain, and nothing in the first label says mail server.
    private static func hasConsumerWord(_ text: Octets) -> Bool {
        let dot = UInt8(ascii: ".")
        // The domain is taken to be the last two labels.
        let front = text.count { $0 == dot } - 1
        guard front > 0 else { return false }
        var isFound = false
        var label = 0
        var word = Word()
        for octet in text {
            if octet >= UInt8(ascii: "a") && octet <= UInt8(ascii: "z") {
                word.append(octet)
                continue
            }
            if word.count > 0 {
                if label == 0, word.namesMailServer { return false }
                if !isFound { isFound = word.namesConsumer }
                word = Word()
            }
            if octet == dot {
                label += 1
                if label == front { break }
            }
        }
        return isFound
    }

    /// Whether the first label has a number, as names given out one by one have: `dyn-7`, `aazd112`.
    private static func isNumbered(_ text: Octets) -> Bool {
        text.prefix { $0 != UInt8(ascii: ".") }.contains(where: isDigit)
    }
}
