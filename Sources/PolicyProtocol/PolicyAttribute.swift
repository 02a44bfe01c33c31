import PosternCore

/// Every attribute of a Postfix policy request, up to Postfix 3.12 (SMTPD_POLICY_README, "Protocol description").
/// Listed in the order in which Postfix sends them.
public enum PolicyAttribute: String, CaseIterable, Sendable {
    case request
    case protocolState = "protocol_state"
    case protocolName = "protocol_name"
    case clientAddress = "client_address"
    case clientName = "client_name"
    case clientPort = "client_port"
    case reverseClientName = "reverse_client_name"
    case serverAddress = "server_address"
    case serverPort = "server_port"
    case heloName = "helo_name"
    case sender
    case recipient
    case recipientCount = "recipient_count"
    case queueID = "queue_id"
    case instance
    case size
    case etrnDomain = "etrn_domain"
    case stress
    case saslMethod = "sasl_method"
    case saslUsername = "sasl_username"
    case saslSender = "sasl_sender"
    case ccertSubject = "ccert_subject"
    case ccertIssuer = "ccert_issuer"
    case ccertFingerprint = "ccert_fingerprint"
    case ccertPubkeyFingerprint = "ccert_pubkey_fingerprint"
    case encryptionProtocol = "encryption_protocol"
    case encryptionCipher = "encryption_cipher"
    case encryptionKeysize = "encryption_keysize"
    case policyContext = "policy_context"
    case compatibilityLevel = "compatibility_level"
    case mailVersion = "mail_version"
    case tlsSNI = "tls_sni"

    /// The place of this attribute among all: cases without a payload are stored as their place.
    var index: Int { Int(unsafeBitCast(self, to: UInt8.self)) }
}

/// The attributes' names as lines begin with them: each with the equals sign behind it.
struct AttributeNames: Sendable {
    static let all = AttributeNames()

    private struct Name {
        /// Where it stands in `octets`, and how many octets it has with its equals sign.
        let start: Int
        let count: Int
        /// Its first and its last eight octets, or four where it has no eight.
        let first: UInt64
        let last: UInt64
    }

    /// One after another in one piece.
    private let octets: [UInt8]
    private let names: [Name]
    /// Attributes by the length of their name, so that a name is found by comparing with one or two.
    private let byLength: [[Int]]

    private init() {
        var octets: [UInt8] = []
        var names: [Name] = []
        var byLength: [[Int]] = []
        for (index, attribute) in PolicyAttribute.allCases.enumerated() {
            let line = Array("\(attribute.rawValue)=".utf8)
            precondition(line.count >= 4)
            names.append(
                line.withUnsafeBytes { line in
                    Name(
                        start: octets.count, count: line.count, first: Self.word(line, at: 0, of: line.count),
                        last: Self.word(line, at: line.count - (line.count < 8 ? 4 : 8), of: line.count))
                })
            octets += line
            while byLength.count < line.count { byLength.append([]) }
            byLength[line.count - 1].append(index)
        }
        (self.octets, self.names, self.byLength) = (octets, names, byLength)
    }

    /// Eight octets from `offset` on, or four where a name has no eight.
    @inline(__always)
    private static func word(_ octets: UnsafeRawBufferPointer, at offset: Int, of count: Int) -> UInt64 {
        count < 8
            ? UInt64(octets.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
            : octets.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    /// The place of the attribute of that name among all; `nil` for one we do not know, which is then ignored.
    func index(of name: UnsafeRawBufferPointer) -> Int? {
        guard name.count < byLength.count else { return nil }
        return byLength[name.count].first { isAt(names[$0], 0, name, length: names[$0].count - 1) }
    }

    /// How long the name of the attribute at `index` is, if a line of `octets` that begins at `start` is that attribute's.
    @inline(__always)
    func length(of index: Int, ifAt start: Int, in octets: UnsafeRawBufferPointer) -> Int? {
        guard index < names.count else { return nil }
        let name = names[index]
        guard name.count <= octets.count - start else { return nil }
        let last = start + name.count - (name.count < 8 ? 4 : 8)
        guard Self.word(octets, at: start, of: name.count) == name.first, Self.word(octets, at: last, of: name.count) == name.last else {
            return nil
        }
        // First and last octets overlap up to there.
        guard name.count <= 16 || isAt(name, start, octets, length: name.count) else { return nil }
        return name.count - 1
    }

    /// Whether the first `length` octets of a name stand at `start`.
    private func isAt(_ name: Name, _ start: Int, _ octets: UnsafeRawBufferPointer, length: Int) -> Bool {
        self.octets.withUnsafeBytes { names in
            octets.holds(UnsafeRawBufferPointer(rebasing: names[name.start..<name.start + length]), at: start)
        }
    }
}
