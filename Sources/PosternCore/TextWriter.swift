/// Puts a text together from pieces in memory of a size that is known before: it stands in the way of every answer.
public struct TextWriter: ~Copyable {
    @usableFromInline let memory: UnsafeMutableRawBufferPointer
    @usableFromInline var written = 0

    /// - Parameter memory: as many octets as will be written, or more; beyond it is a mistake of the caller's.
    @inlinable
    public init(_ memory: UnsafeMutableRawBufferPointer) {
        self.memory = memory
    }

    /// Octets written.
    @inlinable public var count: Int { written }

    public mutating func add(_ text: String) {
        let isDone: Void? = text.utf8.withContiguousStorageIfAvailable { add($0) }
        if isDone == nil { for octet in text.utf8 { add(octet) } }
    }

    @inlinable
    public mutating func add(_ octets: UnsafeBufferPointer<UInt8>) {
        guard let source = octets.baseAddress, let target = memory.baseAddress else { return }
        precondition(octets.count <= memory.count - written)
        (target + written).copyMemory(from: source, byteCount: octets.count)
        written += octets.count
    }

    @inlinable
    public mutating func add(_ octet: UInt8) {
        precondition(written < memory.count)
        memory[written] = octet
        written += 1
    }

    /// In decimal digits, with zeros before it up to `width` of them; a sign stands before those.
    public mutating func add(decimal number: Int64, width: Int = 1) {
        if number < 0 { add(UInt8(ascii: "-")) }
        var digits = 1
        var bound: UInt64 = 10
        while digits < Self.mostDigits, number.magnitude >= bound {
            digits += 1
            bound = bound &* 10
        }
        add(number.magnitude, digits: max(digits, width))
    }

    /// The lowest decimal digits, as many as `digits` says.
    @inline(__always)
    mutating func add(_ number: UInt64, digits: Int) {
        precondition(digits <= memory.count - written)
        written += digits
        var rest = number
        for place in 1...digits {
            memory[written &- place] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
    }

    /// Of a number of 64 bits.
    private static let mostDigits = 19
}

/// What has a text of its own: one word, in ASCII, that neither logfmt nor JSON has to escape.
public protocol TextWritable {
    /// Octets of the longest text.
    static var longestText: Int { get }
    func write(to text: inout TextWriter)
}

extension String {
    /// What `write` writes.
    /// - Parameter octets: as many as it writes, or more.
    public init(octets: Int, _ write: (inout TextWriter) -> Void) {
        self.init(unsafeUninitializedCapacity: octets) { memory in
            var writer = TextWriter(UnsafeMutableRawBufferPointer(memory))
            write(&writer)
            return writer.count
        }
    }

    /// With ASCII letters in lower case and all else untouched; what is not UTF-8 becomes U+FFFD.
    init(loweringASCII octets: UnsafeBufferPointer<UInt8>) {
        guard octets.holdsUpperCase else {
            self.init(decoding: octets, as: UTF8.self)
            return
        }
        self.init(unsafeUninitializedCapacity: octets.count) { text in
            for place in octets.indices {
                let octet = octets[place]
                text[place] = octet >= UInt8(ascii: "A") && octet <= UInt8(ascii: "Z") ? octet | 0x20 : octet
            }
            return octets.count
        }
    }
}
