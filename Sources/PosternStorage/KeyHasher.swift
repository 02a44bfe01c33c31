import PosternCore
import PosternEngine

/// Turns triplets and identities into 64-bit keys that tell nothing to whoever lacks the secret.
///
/// Two parties' keys compare only under one secret. At ten million rows a new triplet meets another's key with a chance
/// of one in 10¹².
public struct KeyHasher: Sendable {
    /// The octets of a secret: 16 for triplets, 16 for identities and the check value.
    public static let secretLength = 32

    private let triplets: SipHash
    private let identities: SipHash

    /// `nil` unless the secret has `secretLength` octets.
    public init?(secret: some Collection<UInt8>) {
        guard secret.count == Self.secretLength else { return nil }
        var words: [UInt64] = [0, 0, 0, 0]
        for (index, byte) in secret.enumerated() { words[index / 8] |= UInt64(byte) << UInt64(8 * (index % 8)) }
        triplets = SipHash(k0: words[0], k1: words[1])
        identities = SipHash(k0: words[2], k1: words[3])
    }

    /// Every part is led by its length, so that no two triplets have the same octets.
    public func key(of triplet: TripletKey) -> Int64 { withUnsafePointer(to: triplet) { key(at: $0) } }

    /// The same for one where it lies: to take out what holds several references costs more than to hash it.
    func key(at triplet: UnsafePointer<TripletKey>) -> Int64 {
        let texts = triplet.pointee.sender.utf8.count + triplet.pointee.recipient.utf8.count
        let capacity = Self.octets(of: triplet.pointee.identity) + texts + 2 * Self.lengthOctets
        return withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 8) { buffer in
            var position = 0
            Self.append(triplet.pointee.identity, to: buffer, at: &position)
            Self.append(triplet.pointee.sender, to: buffer, at: &position)
            Self.append(triplet.pointee.recipient, to: buffer, at: &position)
            return Int64(bitPattern: triplets.hash(UnsafeRawBufferPointer(rebasing: buffer[..<position])))
        }
    }

    public func key(of identity: Identity) -> Int64 {
        withUnsafeTemporaryAllocation(byteCount: Self.octets(of: identity), alignment: 8) { buffer in
            var position = 0
            Self.append(identity, to: buffer, at: &position)
            return Int64(bitPattern: identities.hash(UnsafeRawBufferPointer(rebasing: buffer[..<position])))
        }
    }

    /// What a database remembers of its secret, to tell a wrong key file from the right one. Starts with an octet that
    /// no identity starts with.
    var check: Int64 {
        let text: StaticString = "\u{0}postern key check"
        return Int64(bitPattern: identities.hash(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)))
    }

    // MARK: - Octets

    private static let lengthOctets = 4

    /// An upper bound.
    private static func octets(of identity: Identity) -> Int {
        switch identity {
        case .spfDomain(let domain), .nameDomain(let domain): 1 + lengthOctets + domain.text.utf8.count
        case .network, .address: 2 + 16
        }
    }

    private static func append(_ identity: Identity, to buffer: UnsafeMutableRawBufferPointer, at position: inout Int) {
        func tag(_ value: UInt8) {
            buffer[position] = value
            position += 1
        }
        switch identity {
        case .spfDomain(let domain):
            tag(1)
            append(domain.text, to: buffer, at: &position)
        case .nameDomain(let domain):
            tag(2)
            append(domain.text, to: buffer, at: &position)
        case .network(let prefix):
            tag(prefix.address.family == .v4 ? 3 : 4)
            append(prefix, to: buffer, at: &position)
        case .address(let prefix):
            tag(prefix.address.family == .v4 ? 5 : 6)
            append(prefix, to: buffer, at: &position)
        }
    }

    private static func append(_ prefix: Prefix, to buffer: UnsafeMutableRawBufferPointer, at position: inout Int) {
        buffer[position] = UInt8(prefix.length)
        position += 1
        // In network order.
        if prefix.address.family == .v4 {
            append(UInt32(truncatingIfNeeded: prefix.address.low).bigEndian, to: buffer, at: &position)
        } else {
            append(prefix.address.high.bigEndian, to: buffer, at: &position)
            append(prefix.address.low.bigEndian, to: buffer, at: &position)
        }
    }

    private static func append(_ text: String, to buffer: UnsafeMutableRawBufferPointer, at position: inout Int) {
        let count = text.utf8.count
        append(UInt32(truncatingIfNeeded: count).littleEndian, to: buffer, at: &position)
        let room = UnsafeMutableRawBufferPointer(rebasing: buffer[position..<position + count])
        let isDone: Void? = text.utf8.withContiguousStorageIfAvailable { room.copyMemory(from: UnsafeRawBufferPointer($0)) }
        if isDone == nil { room.copyBytes(from: text.utf8) }
        position += count
    }

    private static func append(
        _ number: some FixedWidthInteger & BitwiseCopyable, to buffer: UnsafeMutableRawBufferPointer, at position: inout Int
    ) {
        buffer.storeBytes(of: number, toByteOffset: position, as: type(of: number))
        position += number.bitWidth / 8
    }
}
