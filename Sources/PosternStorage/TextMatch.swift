import PosternCore
import PosternEngine

/// A text to look for in a field, without regard to the case of ASCII letters.
struct TextMatch: Sendable {
    /// In lower case.
    let octets: [UInt8]
    /// Whether it is all of the field.
    private let isWhole: Bool

    init(_ text: String, isWhole: Bool = false) {
        octets = text.utf8.map(Self.fold)
        self.isWhole = isWhole
    }

    func isPart(of text: String) -> Bool {
        var text = text
        return text.withUTF8 { isPart(of: UnsafeRawBufferPointer($0)) }
    }

    func isPart(of bytes: UnsafeRawBufferPointer) -> Bool {
        if isWhole, bytes.count != octets.count { return false }
        guard let first = octets.first else { return true }
        guard bytes.count >= octets.count else { return false }
        return octets.withUnsafeBufferPointer { needle in
            var start = 0
            let last = bytes.count - needle.count
            while start <= last {
                if Self.fold(bytes[start]) == first {
                    var index = 1
                    while index < needle.count, Self.fold(bytes[start + index]) == needle[index] { index += 1 }
                    if index == needle.count { return true }
                }
                start += 1
            }
            return false
        }
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
        address = filter.address.map { TextMatch($0, isWhole: filter.wholes.contains(.address)) }
        sender = filter.sender.map { TextMatch($0, isWhole: filter.wholes.contains(.sender)) }
        recipient = filter.recipient.map { TextMatch($0, isWhole: filter.wholes.contains(.recipient)) }
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
