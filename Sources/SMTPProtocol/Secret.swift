/// Octets that nobody else shall see, such as a password: never printed, and overwritten once nobody holds them any more.
// The memory is written in `init` and `deinit` alone, so that it may be shared.
public final class Secret: @unchecked Sendable {
    private let memory: UnsafeMutableRawBufferPointer

    public init(_ octets: some Collection<UInt8>) {
        memory = UnsafeMutableRawBufferPointer.allocate(byteCount: octets.count, alignment: 1)
        memory.copyBytes(from: octets)
    }

    deinit {
        Self.wipe(memory)
        memory.deallocate()
    }

    public var count: Int { memory.count }
    public var isEmpty: Bool { memory.isEmpty }

    /// The octets must not be kept beyond `body`.
    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try body(UnsafeRawBufferPointer(memory))
    }

    /// Not optimised, or the compiler would leave out what nobody reads.
    @inline(never) @_optimize(none)
    static func wipe(_ memory: UnsafeMutableRawBufferPointer) {
        for index in memory.indices { memory[index] = 0 }
    }

    static func wipe(_ octets: inout [UInt8]) {
        octets.withUnsafeMutableBytes { wipe($0) }
    }
}

extension Secret: Hashable {
    public static func == (a: Secret, b: Secret) -> Bool { a.memory.elementsEqual(b.memory) }
    /// By its length alone: a hash may end up where a secret must not.
    public func hash(into hasher: inout Hasher) { hasher.combine(count) }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "(secret)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// Ways to log in that are known, as AUTH names them.
public struct AuthenticationMechanisms: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// RFC 4616.
    public static let plain = AuthenticationMechanisms(rawValue: 1)
    /// Of no standard, and what many programs use all the same: name and password, each in reply to a challenge.
    public static let login = AuthenticationMechanisms(rawValue: 2)

    static let named: [(name: StaticString, mechanism: AuthenticationMechanisms)] = [("PLAIN", .plain), ("LOGIN", .login)]

    /// `nil` for one that is not known. Names are read in either case (RFC 4954 §4).
    init?(_ name: some Sequence<UInt8>) {
        guard let known = Self.named.first(where: { name.equalsIgnoringCase($0.name) }) else { return nil }
        self = known.mechanism
    }

    /// As EHLO lists them.
    var names: String { Self.named.filter { contains($0.mechanism) }.map { "\($0.name)" }.joined(separator: " ") }
}

/// What somebody logs in with.
public struct Credentials: Hashable, Sendable {
    /// RFC 4616 §2: a server takes names of 255 octets.
    public static let longestName = 255

    /// As it was given: not empty, without control characters.
    public let name: String
    /// Not empty.
    public let password: Secret

    public init(name: String, password: Secret) {
        self.name = name
        self.password = password
    }

    /// The message of PLAIN, decoded (RFC 4616 §2): authorisation, name and password, parted by NUL.
    enum Plain: Hashable {
        case credentials(Credentials)
        /// It is to act as somebody else.
        case forAnother
        case malformed
    }

    static func plain(_ message: Secret) -> Plain {
        message.withUnsafeBytes { octets in
            let parts = octets.split(separator: Octet.nul, omittingEmptySubsequences: false)
            guard parts.count == 3, let name = name(parts[1]), !parts[2].isEmpty else { return .malformed }
            guard parts[0].isEmpty || parts[0].elementsEqual(parts[1]) else { return .forAnother }
            return .credentials(Credentials(name: name, password: Secret(parts[2])))
        }
    }

    /// `nil` for what is no name.
    static func name(_ octets: some Collection<UInt8>) -> String? {
        guard !octets.isEmpty, octets.count <= longestName, octets.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else { return nil }
        return String(validating: octets, as: UTF8.self)
    }

    /// The message of PLAIN in base64, behind `prefix` and with CRLF.
    func plainLine(_ prefix: String) -> Secret {
        var message: [UInt8] = [0]
        message.reserveCapacity(2 + name.utf8.count + password.count)
        message += name.utf8
        message.append(0)
        password.withUnsafeBytes { message.append(contentsOf: $0) }
        defer { Secret.wipe(&message) }
        return Self.line(prefix, message)
    }

    var nameLine: Secret { Self.line("", name.utf8) }
    var passwordLine: Secret { password.withUnsafeBytes { Self.line("", $0) } }

    private static func line(_ prefix: String, _ octets: some Collection<UInt8>) -> Secret {
        var line = Array(prefix.utf8)
        line.reserveCapacity(line.count + (octets.count + 2) / 3 * 4 + 2)
        Base64.encode(octets, to: &line)
        line += [Octet.cr, Octet.lf]
        defer { Secret.wipe(&line) }
        return Secret(line)
    }
}
