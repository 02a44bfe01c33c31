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
    func country(of address: IPAddress) -> String? {
        guard var entry = entry(of: address) else { return nil }
        for path in [Paths.country, Paths.registeredCountry, Paths.countryCode, Paths.plainCountry] {
            if let code = text(at: path, &entry), code.utf8.count == 2 { return code.uppercased() }
        }
        return nil
    }

    func owner(of address: IPAddress) -> NetworkOwner? {
        guard var entry = entry(of: address) else { return nil }
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
