import PosternCore
import PosternEngine

/// A text to look for in a field, without regard to the case of ASCII letters.
struct TextMatch: Sendable {
    /// In lower case.
    let octets: [UInt8]
    /// What of a field it must be.
    private let extent: Extent

    enum Extent {
        case part
        case all
        /// All of the field, or of one item in it: such as a recipient of a bounce, which stands among others with `, ` between them.
        case item
    }

    init(_ text: String, _ extent: Extent = .part) {
        octets = text.utf8.map(Self.fold)
        self.extent = extent
    }

    func isPart(of text: String) -> Bool {
        var text = text
        return text.withUTF8 { isPart(of: UnsafeRawBufferPointer($0)) }
    }

    func isPart(of bytes: UnsafeRawBufferPointer) -> Bool {
        if extent == .all, bytes.count != octets.count { return false }
        guard let first = octets.first else { return extent == .part || bytes.isEmpty }
        guard bytes.count >= octets.count else { return false }
        return octets.withUnsafeBufferPointer { needle in
            var start = 0
            let last = bytes.count - needle.count
            while start <= last {
                if Self.fold(bytes[start]) == first {
                    var index = 1
                    while index < needle.count, Self.fold(bytes[start + index]) == needle[index] { index += 1 }
                    if index == needle.count, extent != .item || Self.isItem(start..<start + index, of: bytes) { return true }
                }
                start += 1
            }
            return false
        }
    }

    private static func isItem(_ range: Range<Int>, of bytes: UnsafeRawBufferPointer) -> Bool {
        (range.lowerBound == 0 || bytes[..<range.lowerBound].suffix(2).elementsEqual(", ".utf8))
            && (range.upperBound == bytes.count || bytes[range.upperBound...].prefix(2).elementsEqual(", ".utf8))
    }

    @inline(__always)
    private static func fold(_ byte: UInt8) -> UInt8 {
        byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
    }
}

/// A `DecisionFilter`, ready to be tried on many decisions.
struct DecisionMatch: Sendable {
    let reference: Int64?
    let since: Int64
    /// Only references below it.
    let before: Int64?
    let address: TextMatch?
    private let network: Prefix?
    let sender: TextMatch?
    let recipient: TextMatch?

    init(_ filter: DecisionFilter) {
        reference = filter.reference?.value
        since = filter.since?.milliseconds ?? .min
        before = filter.before?.value
        network = filter.network
        address = filter.address.map { TextMatch($0, filter.wholes.contains(.address) ? .all : .part) }
        sender = filter.sender.map { TextMatch($0, filter.wholes.contains(.sender) ? .all : .part) }
        recipient = filter.recipient.map { TextMatch($0, filter.wholes.contains(.recipient) ? .item : .part) }
    }

    func isOfNetwork(_ address: @autoclosure () -> String) -> Bool {
        guard let network else { return true }
        return IPAddress(address()).map(network.contains) ?? false
    }

    func matches(_ decision: StoredDecision) -> Bool {
        if let reference, decision.reference.value != reference { return false }
        if let before, decision.reference.value >= before { return false }
        return decision.time.milliseconds >= since && isOfNetwork(decision.address) && address?.isPart(of: decision.address) ?? true
            && sender?.isPart(of: decision.sender) ?? true && recipient?.isPart(of: decision.recipient) ?? true
    }
}
