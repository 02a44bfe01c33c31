/// What can be fuzzed. Raw values name the folders of `Corpus`.
public enum Check: String, CaseIterable, Sendable {
    case serverSession = "server-session"
    case backendSession = "backend-session"
    case command
    case xclient
    case proxyHeader = "proxy-header"
    case reply
    case data
    case chunk
    case policyRequest = "policy-request"
    case socketmap
    case spf
    case listService = "list-service"
    case dnsMessage = "dns-message"
    case listReader = "list-reader"
    case zone
    case mailLog = "mail-log"

    /// Runs one input. Whatever must not be ends the process.
    public func run(_ input: UnsafeRawBufferPointer) {
        switch self {
        case .serverSession: ServerSessionCheck.run(input)
        case .backendSession: BackendSessionCheck.run(input)
        case .command: CommandCheck.run(input)
        case .xclient: XClientCheck.run(input)
        case .proxyHeader: ProxyHeaderCheck.run(input)
        case .reply: ReplyCheck.run(input)
        case .data: DataCheck.run(input)
        case .chunk: ChunkCheck.run(input)
        case .policyRequest: PolicyRequestCheck.run(input)
        case .socketmap: SocketmapCheck.run(input)
        case .spf: SPFRecordCheck.run(input)
        case .listService: ListServiceCheck.run(input)
        case .dnsMessage: DNSMessageCheck.run(input)
        case .listReader: ListReaderCheck.run(input)
        case .zone: ZoneCheck.run(input)
        case .mailLog: MailLogCheck.run(input)
        }
    }
}

/// Ends the process where `condition` does not hold; libFuzzer then keeps the input.
func check(_ condition: Bool, _ what: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line) {
    guard !condition else { return }
    print("FAILED at \(file):\(line): \(what())")
    // Flushed by the trap's handler otherwise never.
    flush()
    fatalError("\(what())")
}

/// The same for what must be the same however the bytes were cut.
func checkEqual<Value: Equatable>(
    _ a: Value, _ b: Value, _ what: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line
) {
    check(a == b, "\(what())\n  \(a)\n  \(b)", file: file, line: line)
}
