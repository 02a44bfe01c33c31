import PosternCore

/// Writes files in MaxMind's format, version 2, with records of 24 bits: as much of it as the tests need.
public struct WrittenDatabase {
    public indirect enum Value {
        case text(String)
        case uint16(UInt16)
        case uint32(UInt32)
        case uint64(UInt64)
        case map([(String, Value)])
        case list([Value])
    }

    /// Each node's two records: `nil` for nothing, a node, or an offset into the data.
    private enum Record {
        case empty
        case node(Int)
        case data(Int)
    }

    private var nodes: [[Record]] = [[.empty, .empty]]
    private var data: [UInt8] = []
    public var type = "GeoLite2-Country"

    public init() {}

    /// Later ones go on top of earlier ones that do not hold them.
    public mutating func add(_ prefix: Prefix, _ value: Value) {
        let offset = data.count
        data += Self.encode(value)
        // An IPv4 address stands at ::/96.
        let octets = (prefix.address.family == .v4 ? [UInt8](repeating: 0, count: 12) : []) + prefix.address.octets
        let length = prefix.length + (prefix.address.family == .v4 ? 96 : 0)
        var node = 0
        for bit in 0..<length {
            let side = Int(octets[bit / 8] >> UInt8(7 - bit % 8) & 1)
            if bit == length - 1 {
                nodes[node][side] = .data(offset)
            } else if case .node(let next) = nodes[node][side] {
                node = next
            } else {
                nodes.append([.empty, .empty])
                nodes[node][side] = .node(nodes.count - 1)
                node = nodes.count - 1
            }
        }
    }

    public var octets: [UInt8] {
        var out: [UInt8] = []
        for node in nodes {
            for record in node {
                let value =
                    switch record {
                    case .empty: nodes.count
                    case .node(let number): number
                    case .data(let offset): nodes.count + 16 + offset
                    }
                out += [UInt8(value >> 16 & 255), UInt8(value >> 8 & 255), UInt8(value & 255)]
            }
        }
        out += [UInt8](repeating: 0, count: 16) + data
        out += [0xab, 0xcd, 0xef] + Array("MaxMind.com".utf8)
        out += Self.encode(
            .map([
                ("node_count", .uint32(UInt32(nodes.count))), ("record_size", .uint16(24)), ("ip_version", .uint16(6)),
                ("database_type", .text(type)), ("languages", .list([.text("en")])), ("binary_format_major_version", .uint16(2)),
                ("binary_format_minor_version", .uint16(0)), ("build_epoch", .uint64(1_790_000_000)),
                ("description", .map([("en", .text("A database of a test"))])),
            ]))
        return out
    }

    private static func encode(_ value: Value) -> [UInt8] {
        func head(_ type: UInt8, _ size: Int) -> [UInt8] {
            let length: [UInt8] = size < 29 ? [] : [UInt8(size - 29)]
            let low = UInt8(min(size, 29))
            return (type < 8 ? [type << 5 | low] : [low, type - 7]) + length
        }
        func number(_ type: UInt8, _ value: UInt64, _ count: Int) -> [UInt8] {
            head(type, count) + (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * (count - 1 - $0))) }
        }
        return switch value {
        case .text(let text): head(2, text.utf8.count) + Array(text.utf8)
        case .uint16(let value): number(5, UInt64(value), 2)
        case .uint32(let value): number(6, UInt64(value), 4)
        case .uint64(let value): number(9, value, 8)
        case .map(let members): head(7, members.count) + members.flatMap { encode(.text($0.0)) + encode($0.1) }
        case .list(let values): head(11, values.count) + values.flatMap { encode($0) }
        }
    }

    public static func country(_ code: String) -> Value { .map([("country", .map([("iso_code", .text(code))]))]) }

    public static func system(_ number: UInt32, _ name: String) -> Value {
        .map([("autonomous_system_number", .uint32(number)), ("autonomous_system_organization", .text(name))])
    }
}
