/// Which replies of a DNS list count, octet by octet, as postscreen(8) has it: `127.0.0.[2..11]`, `127.0.[0..255].[1;3]`.
public struct ReplyFilter: Hashable, Sendable {
    /// Four sets of octets.
    private var octets: [OctetSet]

    struct OctetSet: Hashable, Sendable {
        private var bits = SIMD4<UInt64>(repeating: 0)

        mutating func insert(_ octets: ClosedRange<UInt8>) {
            for octet in octets { bits[Int(octet >> 6)] |= 1 << UInt64(octet & 63) }
        }

        func contains(_ octet: UInt8) -> Bool { bits[Int(octet >> 6)] >> UInt64(octet & 63) & 1 == 1 }
    }

    init(octets: [OctetSet]) {
        self.octets = octets
    }

    public func matches(_ reply: UInt32) -> Bool {
        for index in 0..<4 where !octets[index].contains(UInt8(truncatingIfNeeded: reply >> UInt32(24 - 8 * index))) { return false }
        return true
    }

    /// Reads four octets with dots between them, each a number, or in brackets numbers and `low..high` ranges with
    /// semicolons between them.
    public init(_ text: some StringProtocol) throws(ListSyntaxError) {
        var scanner = ListScanner(text)
        self = try scanner.filter()
        guard scanner.atEnd else { throw scanner.error("four octets are wanted, and then nothing more") }
    }
}

extension ReplyFilter: CustomStringConvertible {
    /// The shortest spelling that reads back as the same filter.
    public var description: String {
        octets.map { set in
            var items: [String] = []
            var start = 0
            while start < 256 {
                guard set.contains(UInt8(start)) else {
                    start += 1
                    continue
                }
                var end = start
                while end < 255, set.contains(UInt8(end + 1)) { end += 1 }
                items.append(end == start ? "\(start)" : "\(start)..\(end)")
                start = end + 1
            }
            return items.count == 1 && !items[0].contains(".") ? items[0] : "[\(items.joined(separator: ";"))]"
        }.joined(separator: ".")
    }
}

/// Why a text does not name a DNS list.
public struct ListSyntaxError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Octets into the text.
    public var offset: Int
    public var description: String
}

/// Reads the parts of a list's specification.
struct ListScanner {
    private let octets: [UInt8]
    private(set) var index = 0

    init(_ text: some StringProtocol) {
        octets = Array(text.utf8)
    }

    var atEnd: Bool { index == octets.count }

    func error(_ message: String) -> ListSyntaxError { ListSyntaxError(offset: index, description: message) }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard index < octets.count, octets[index] == UInt8(ascii: character) else { return false }
        index += 1
        return true
    }

    /// Everything up to one of `ends`.
    mutating func text(until ends: String) -> String {
        let start = index
        while index < octets.count, !ends.utf8.contains(octets[index]) { index += 1 }
        return String(decoding: octets[start..<index], as: UTF8.self)
    }

    mutating func filter() throws(ListSyntaxError) -> ReplyFilter {
        var sets: [ReplyFilter.OctetSet] = []
        for position in 0..<4 {
            if position > 0, !take(".") { throw error("a reply has four octets with dots between them, such as 127.0.0.[2..11]") }
            sets.append(try octetSet())
        }
        return ReplyFilter(octets: sets)
    }

    private mutating func octetSet() throws(ListSyntaxError) -> ReplyFilter.OctetSet {
        var set = ReplyFilter.OctetSet()
        guard take("[") else {
            let octet = try octet()
            set.insert(octet...octet)
            return set
        }
        repeat {
            let start = index
            let low = try octet()
            guard take(".") else {
                set.insert(low...low)
                continue
            }
            guard take(".") else { throw error("a range is written with two dots, such as [2..11]") }
            let high = try octet()
            guard low <= high else {
                index = start
                throw error("a range begins with its smaller number")
            }
            set.insert(low...high)
        } while take(";")
        guard take("]") else { throw error("a bracket is closed by ], and in it numbers and ranges are parted by semicolons") }
        return set
    }

    private mutating func octet() throws(ListSyntaxError) -> UInt8 {
        let start = index
        var value = 0
        while index < octets.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(octets[index]), index - start < 4 {
            value = value * 10 + Int(octets[index] - UInt8(ascii: "0"))
            index += 1
        }
        guard index > start, let octet = UInt8(exactly: value) else {
            index = start
            throw error("a number from 0 to 255 is wanted")
        }
        return octet
    }
}
