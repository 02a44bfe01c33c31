import CMaxMind
import Glibc
import PosternCore
import PosternEngine

/// One file in MaxMind's format, as it was when it was opened.
///
/// The file is copied into memory first: libmaxminddb maps it, and reading a mapped file that somebody cuts short ends the process.
final class NetworkDatabase: Sendable {
    // Changed by its opening and closing only; look-ups do not write to it (libmaxminddb's documentation, "thread safety").
    private nonisolated(unsafe) let database: UnsafeMutablePointer<MMDB_s>
    private let descriptor: Int32

    /// Octets of a file: several times the largest there is.
    static let longestFile = 1 << 30

    enum OpenFailure: Error, Equatable, CustomStringConvertible {
        case unreadable(Int32)
        case tooLong
        /// It was written while it was read: worth another try soon.
        case changing
        case corrupt(String)

        var description: String {
            switch self {
            case .unreadable(let number): String(cString: strerror(number))
            case .tooLong: "it is longer than \(longestFile) octets"
            case .changing: "it is being written"
            case .corrupt(let why): "it is not a database in MaxMind's format, or damaged: \(why)"
            }
        }
    }

    init(path: String) throws(OpenFailure) {
        let copy = try Self.copy(path)
        let database = UnsafeMutablePointer<MMDB_s>.allocate(capacity: 1)
        database.initialize(to: MMDB_s())
        let status = MMDB_open("/proc/self/fd/\(copy)", UInt32(MMDB_MODE_MMAP), database)
        guard status == MMDB_SUCCESS else {
            database.deallocate()
            close(copy)
            throw .corrupt(String(cString: MMDB_strerror(status)))
        }
        self.database = database
        descriptor = copy
    }

    deinit {
        MMDB_close(database)
        database.deallocate()
        close(descriptor)
    }

    private static func copy(_ path: String) throws(OpenFailure) -> Int32 {
        let source = open(path, O_RDONLY | O_CLOEXEC)
        guard source >= 0 else { throw .unreadable(errno) }
        defer { close(source) }
        var before = stat()
        guard fstat(source, &before) == 0 else { throw .unreadable(errno) }
        guard before.st_mode & S_IFMT == S_IFREG else { throw .unreadable(EISDIR) }
        guard before.st_size <= longestFile else { throw .tooLong }
        let target = cmaxmind_memory_file()
        guard target >= 0 else { throw .unreadable(errno) }
        var left = Int(before.st_size)
        while left > 0 {
            let count = sendfile(target, source, nil, left)
            guard count > 0 else {
                let number = errno
                close(target)
                throw count == 0 ? .changing : .unreadable(number)
            }
            left -= count
        }
        var after = stat()
        guard fstat(source, &after) == 0, after.st_size == before.st_size, after.st_mtim.tv_sec == before.st_mtim.tv_sec,
            after.st_mtim.tv_nsec == before.st_mtim.tv_nsec
        else {
            close(target)
            throw .changing
        }
        return target
    }

    // MARK: - Looking up

    /// ISO 3166-1, two capitals; where the address is used, else where it is registered.
    func country(of address: IPAddress) -> String? { entry(of: address).flatMap(country) }

    private func country(_ entry: MMDB_entry_s) -> String? {
        var entry = entry
        for path in [Paths.country, Paths.registeredCountry, Paths.countryCode, Paths.plainCountry] {
            if let code = text(at: path, &entry), code.utf8.count == 2 { return code.uppercased() }
        }
        return nil
    }

    func owner(of address: IPAddress) -> NetworkOwner? { entry(of: address).flatMap(owner) }

    private func owner(_ entry: MMDB_entry_s) -> NetworkOwner? {
        var entry = entry
        if let number = number(at: Paths.systemNumber, &entry), let number = UInt32(exactly: number) {
            return NetworkOwner(number: number, name: text(at: Paths.systemName, &entry) ?? "")
        }
        if let text = text(at: Paths.plainSystem, &entry), text.hasPrefix("AS"), let number = UInt32(text.dropFirst(2)) {
            return NetworkOwner(number: number, name: self.text(at: Paths.plainSystemName, &entry) ?? "")
        }
        return nil
    }

    private func entry(of address: IPAddress) -> MMDB_entry_s? {
        var failure: Int32 = 0
        let octets = address.octets
        let result: MMDB_lookup_result_s
        switch address.family {
        case .v4:
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            withUnsafeMutableBytes(of: &name.sin_addr) { $0.copyBytes(from: octets) }
            result = withUnsafePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { MMDB_lookup_sockaddr(database, $0, &failure) }
            }
        case .v6:
            var name = sockaddr_in6()
            name.sin6_family = sa_family_t(AF_INET6)
            withUnsafeMutableBytes(of: &name.sin6_addr) { $0.copyBytes(from: octets) }
            result = withUnsafePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { MMDB_lookup_sockaddr(database, $0, &failure) }
            }
        }
        return failure == MMDB_SUCCESS && result.found_entry ? result.entry : nil
    }

    // MARK: - All networks

    /// What a walk through the whole file is about.
    struct Wanted {
        var countries: Set<String>
        var systems: Set<UInt32>
    }

    /// Every network of the countries and systems, by `"DE"` and `"AS64500"`, as the file has them. `nil` where the file's
    /// tree is damaged.
    func networks(_ wanted: Wanted) -> [String: [Prefix]]? {
        var found: [String: [Prefix]] = [:]
        /// What the entry at a place of the file is wanted for.
        var keys: [UInt32: [String]] = [:]
        let isV6 = database.pointee.metadata.ip_version == 6
        let depth = isV6 ? 128 : 32
        let v4Start = database.pointee.ipv4_start_node
        // A tree has no more paths than nodes; other prefixes lead to its IPv4 part too (6to4, mapped), which is walked once.
        var steps = 8 * Int(database.pointee.metadata.node_count) + 1024
        var stack: [(node: UInt64, high: UInt64, low: UInt64, length: Int)] = [(0, 0, 0, 0)]
        while let (node, high, low, length) = stack.popLast() {
            steps -= 1
            guard steps > 0 else { return nil }
            if isV6, v4Start.netmask == 96, node == UInt64(v4Start.node_value), (high, low) != (0, 0) { continue }
            var record = MMDB_search_node_s()
            guard length < depth, MMDB_read_node(database, UInt32(truncatingIfNeeded: node), &record) == MMDB_SUCCESS else { return nil }
            for side in 0..<2 {
                let (type, value, entry) =
                    side == 0
                    ? (record.left_record_type, record.left_record, record.left_record_entry)
                    : (record.right_record_type, record.right_record, record.right_record_entry)
                let bit = UInt64(side)
                let (nextHigh, nextLow) =
                    length < 64 ? (high | bit << UInt64(63 - length), low) : (high, low | bit << UInt64(127 - length))
                switch Int32(type) {
                case Int32(MMDB_RECORD_TYPE_SEARCH_NODE): stack.append((value, nextHigh, nextLow, length + 1))
                case Int32(MMDB_RECORD_TYPE_DATA):
                    let wantedFor =
                        keys[entry.offset]
                        ?? {
                            var names: [String] = []
                            if let code = country(entry), wanted.countries.contains(code) { names.append(code) }
                            if let owner = owner(entry), wanted.systems.contains(owner.number) { names.append("AS\(owner.number)") }
                            keys[entry.offset] = names
                            return names
                        }()
                    guard !wantedFor.isEmpty else { continue }
                    let prefix: Prefix
                    if !isV6 {
                        prefix = Prefix(IPAddress(v4: UInt32(nextHigh >> 32)), length: length + 1)
                    } else if length + 1 >= 96, nextHigh == 0, nextLow >> 32 == 0 {
                        prefix = Prefix(IPAddress(v4: UInt32(truncatingIfNeeded: nextLow)), length: length + 1 - 96)
                    } else {
                        prefix = Prefix(IPAddress(v6High: nextHigh, low: nextLow), length: length + 1)
                    }
                    for name in wantedFor { found[name, default: []].append(prefix) }
                case Int32(MMDB_RECORD_TYPE_EMPTY): break
                default: return nil
                }
            }
        }
        return found
    }

    private func value(at path: Path, _ entry: inout MMDB_entry_s) -> MMDB_entry_data_s? {
        var data = MMDB_entry_data_s()
        guard MMDB_aget_value(&entry, &data, path.pointers) == MMDB_SUCCESS, data.has_data else { return nil }
        return data
    }

    /// At most 200 octets of it: what an owner is called goes into log lines.
    private func text(at path: Path, _ entry: inout MMDB_entry_s) -> String? {
        guard var data = value(at: path, &entry), data.type == UInt32(MMDB_DATA_TYPE_UTF8_STRING), let start = cmaxmind_text(&data) else {
            return nil
        }
        let octets = UnsafeRawBufferPointer(start: start, count: min(Int(data.data_size), 200))
        return String(decoding: octets, as: UTF8.self)
    }

    private func number(at path: Path, _ entry: inout MMDB_entry_s) -> UInt64? {
        guard var data = value(at: path, &entry) else { return nil }
        return switch Int32(data.type) {
        case MMDB_DATA_TYPE_UINT16: UInt64(cmaxmind_uint16(&data))
        case MMDB_DATA_TYPE_UINT32: UInt64(cmaxmind_uint32(&data))
        case MMDB_DATA_TYPE_UINT64: cmaxmind_uint64(&data)
        default: nil
        }
    }

    /// Keys from an entry to a value, as libmaxminddb wants them: C strings, `nil` last. Lives as long as the process.
    private struct Path: Sendable {
        // Written once, before anyone reads it.
        nonisolated(unsafe) let pointers: UnsafePointer<UnsafePointer<CChar>?>

        init(_ keys: String...) {
            let pointers = UnsafeMutablePointer<UnsafePointer<CChar>?>.allocate(capacity: keys.count + 1)
            for (index, key) in keys.enumerated() { (pointers + index).initialize(to: UnsafePointer(strdup(key))) }
            (pointers + keys.count).initialize(to: nil)
            self.pointers = UnsafePointer(pointers)
        }
    }

    private enum Paths {
        // GeoLite2, GeoIP2 and DB-IP.
        static let country = Path("country", "iso_code")
        static let registeredCountry = Path("registered_country", "iso_code")
        static let systemNumber = Path("autonomous_system_number")
        static let systemName = Path("autonomous_system_organization")
        // IPinfo.
        static let countryCode = Path("country_code")
        static let plainCountry = Path("country")
        static let plainSystem = Path("asn")
        static let plainSystemName = Path("as_name")
    }
}
