extension DNSMessage {
    /// The octets of the message, names compressed (RFC 1035 §4.1.4), at most `limit` of them.
    ///
    /// What has no room is left out from the back, whole records only, and the message says that it is truncated
    /// (RFC 2181 §9); records of the additional section are left out silently. The OPT record always has its place.
    /// `limit` is brought into 512...65535.
    public func serialised(limit: Int = largestSize) -> [UInt8] {
        let limit = min(max(limit, Self.plainPayloadSize), Self.largestSize)
        var writer = MessageWriter(limit: limit - (extensions.map { 11 + $0.options.count } ?? 0))
        writer.uint16(id)
        writer.uint16(0)
        for _ in 0..<4 { writer.uint16(0) }
        var truncated = isTruncated
        var counts = (0, 0, 0, 0)
        for question in questions {
            guard writer.write(question) else {
                truncated = true
                break
            }
            counts.0 += 1
        }
        for record in answers where !truncated {
            if writer.write(record) { counts.1 += 1 } else { truncated = true }
        }
        for record in authorities where !truncated {
            if writer.write(record) { counts.2 += 1 } else { truncated = true }
        }
        if !truncated {
            for record in additionals where writer.write(record) { counts.3 += 1 }
        }
        if let extensions {
            writer.extensions(extensions, code: code)
            counts.3 += 1
        }
        var flags = UInt16(opcode & 0xf) << 11 | code.rawValue & 0xf
        if isResponse { flags |= 0x8000 }
        if isAuthoritative { flags |= 0x0400 }
        if truncated { flags |= 0x0200 }
        if recursionDesired { flags |= 0x0100 }
        if recursionAvailable { flags |= 0x0080 }
        writer.patch(flags, at: 2)
        writer.patch(UInt16(counts.0), at: 4)
        writer.patch(UInt16(counts.1), at: 6)
        writer.patch(UInt16(counts.2), at: 8)
        writer.patch(UInt16(counts.3), at: 10)
        return writer.octets
    }
}

struct MessageWriter {
    private(set) var octets: [UInt8] = []
    private let limit: Int
    /// Where names stand that later ones can point to.
    private var places: [(name: ArraySlice<UInt8>, place: UInt16)] = []
    /// More would cost more than they save.
    private static let mostPlaces = 64

    init(limit: Int) {
        self.limit = limit
        octets.reserveCapacity(min(limit, 512))
    }

    mutating func uint16(_ value: UInt16) {
        octets.append(UInt8(value >> 8))
        octets.append(UInt8(value & 0xff))
    }

    mutating func uint32(_ value: UInt32) {
        uint16(UInt16(value >> 16))
        uint16(UInt16(value & 0xffff))
    }

    mutating func patch(_ value: UInt16, at index: Int) {
        octets[index] = UInt8(value >> 8)
        octets[index + 1] = UInt8(value & 0xff)
    }

    mutating func name(_ name: DNSName, compress: Bool = true) {
        var index = 0
        let wire = name.wire
        while wire[index] != 0 {
            let rest = wire[index...]
            if compress, let known = places.first(where: { $0.name == rest }) {
                uint16(0xc000 | known.place)
                return
            }
            // A pointer has 14 bits.
            if octets.count < 0x4000, places.count < Self.mostPlaces { places.append((rest, UInt16(octets.count))) }
            let end = index + 1 + Int(wire[index])
            octets += wire[index..<end]
            index = end
        }
        octets.append(0)
    }

    /// Writes it where it has room; otherwise leaves everything as it was.
    mutating func write(_ question: Question) -> Bool {
        attempt { writer in
            writer.name(question.name)
            writer.uint16(question.type.rawValue)
            writer.uint16(question.recordClass.rawValue)
            return true
        }
    }

    mutating func write(_ record: ResourceRecord) -> Bool {
        attempt { writer in
            writer.name(record.name)
            writer.uint16(record.type.rawValue)
            writer.uint16(record.recordClass.rawValue)
            writer.uint32(record.timeToLive)
            let length = writer.octets.count
            writer.uint16(0)
            writer.data(record.data)
            let count = writer.octets.count - length - 2
            // More than the field can tell has no room anywhere.
            guard count <= Int(UInt16.max) else { return false }
            writer.patch(UInt16(count), at: length)
            return true
        }
    }

    private mutating func attempt(_ body: (inout MessageWriter) -> Bool) -> Bool {
        let count = octets.count
        let known = places.count
        if body(&self), octets.count <= limit { return true }
        octets.removeLast(octets.count - count)
        places.removeLast(places.count - known)
        return false
    }

    /// RFC 3597 §4: names may be compressed in the data of the types of RFC 1035 only.
    private mutating func data(_ data: RecordData) {
        switch data {
        case .a(let bits): uint32(bits)
        case .aaaa(let high, let low):
            for half in [high, low] {
                uint32(UInt32(truncatingIfNeeded: half >> 32))
                uint32(UInt32(truncatingIfNeeded: half))
            }
        case .ns(let name), .cname(let name), .ptr(let name): self.name(name)
        case .mx(let preference, let exchange):
            uint16(preference)
            name(exchange)
        case .soa(let soa):
            name(soa.primary)
            name(soa.contact)
            for value in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] { uint32(value) }
        case .txt(let strings):
            for string in strings.isEmpty ? [[]] : strings {
                octets.append(UInt8(min(string.count, 255)))
                octets += string.prefix(255)
            }
        case .other(let bytes): octets += bytes
        }
    }

    mutating func extensions(_ extensions: DNSMessage.Extensions, code: ResponseCode) {
        octets.append(0)
        uint16(RecordType.opt.rawValue)
        uint16(extensions.payloadSize)
        uint32(
            UInt32(code.rawValue >> 4) << 24 | UInt32(extensions.version) << 16 | (extensions.dnssecOK ? 0x8000 : 0))
        uint16(UInt16(min(extensions.options.count, 65_535)))
        octets += extensions.options.prefix(65_535)
    }
}
