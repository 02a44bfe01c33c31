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

    private static let names = allCases.map { Array($0.rawValue.utf8) }

    /// Attributes by the length of their name, so that a name is found by comparing with one or two.
    private static let byLength: [[Int]] = {
        var table: [[Int]] = []
        for (index, name) in names.enumerated() {
            while table.count <= name.count { table.append([]) }
            table[name.count].append(index)
        }
        return table
    }()

    /// The place of the attribute of that name among all; `nil` for one we do not know, which is then ignored. `guess` is
    /// tried first: a peer sends its attributes in one order.
    static func index(ofName name: UnsafeBufferPointer<UInt8>.SubSequence, guess: Int) -> Int? {
        func matches(_ index: Int) -> Bool { names[index].count == name.count && name.elementsEqual(names[index]) }
        if names.indices.contains(guess), matches(guess) { return guess }
        guard name.count < byLength.count else { return nil }
        return byLength[name.count].first(where: matches)
    }

    /// The place of this attribute among all: cases without a payload are stored as their place.
    var index: Int { Int(unsafeBitCast(self, to: UInt8.self)) }
}
