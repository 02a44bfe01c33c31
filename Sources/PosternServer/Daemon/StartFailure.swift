/// Why the daemon did not start, with the exit code of sysexits(3) that says so.
public struct StartFailure: Error, CustomStringConvertible, Sendable {
    public let code: Int32
    public let description: String
    /// The listener it is about, where it is about one.
    public let listener: String?
    /// And the key of that listener, where it is about one.
    public let key: String?

    public init(_ code: Int32, _ description: String, listener: String? = nil, key: String? = nil) {
        self.code = code
        self.description = description
        self.listener = listener
        self.key = key
    }

    static let configuration: Int32 = 78
    static let unavailable: Int32 = 69
    /// The system does not give what is needed.
    static let system: Int32 = 71
    static let cannotCreate: Int32 = 73
    static let noPermission: Int32 = 77
}
