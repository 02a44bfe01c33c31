/// Every attribute of a Postfix policy request, up to Postfix 3.12 (SMTPD_POLICY_README, "Protocol description").
public enum PolicyAttribute: String, CaseIterable, Sendable {
    // Postfix 2.1
    case request
    case protocolState = "protocol_state"
    case protocolName = "protocol_name"
    case heloName = "helo_name"
    case queueID = "queue_id"
    case sender
    case recipient
    case recipientCount = "recipient_count"
    case clientAddress = "client_address"
    case clientName = "client_name"
    case reverseClientName = "reverse_client_name"
    case instance
    // Postfix 2.2
    case saslMethod = "sasl_method"
    case saslUsername = "sasl_username"
    case saslSender = "sasl_sender"
    case size
    case ccertSubject = "ccert_subject"
    case ccertIssuer = "ccert_issuer"
    case ccertFingerprint = "ccert_fingerprint"
    // Postfix 2.3
    case encryptionProtocol = "encryption_protocol"
    case encryptionCipher = "encryption_cipher"
    case encryptionKeysize = "encryption_keysize"
    case etrnDomain = "etrn_domain"
    // Postfix 2.5
    case stress
    // Postfix 2.9
    case ccertPubkeyFingerprint = "ccert_pubkey_fingerprint"
    // Postfix 3.0
    case clientPort = "client_port"
    // Postfix 3.1
    case policyContext = "policy_context"
    // Postfix 3.2
    case serverAddress = "server_address"
    case serverPort = "server_port"
    // Postfix 3.8
    case compatibilityLevel = "compatibility_level"
    case mailVersion = "mail_version"
    // Postfix 3.12
    case tlsSNI = "tls_sni"

    /// Attributes by the length of their name, so that a name is found by comparing with one or two.
    private static let byLength: [[(name: [UInt8], index: Int)]] = {
        var table: [[(name: [UInt8], index: Int)]] = []
        for (index, attribute) in allCases.enumerated() {
            let name = Array(attribute.rawValue.utf8)
            while table.count <= name.count { table.append([]) }
            table[name.count].append((name, index))
        }
        return table
    }()

    /// The place of the attribute of that name among all; `nil` for one we do not know, which is then ignored.
    static func index(ofName name: UnsafeBufferPointer<UInt8>.SubSequence) -> Int? {
        guard name.count < byLength.count else { return nil }
        return byLength[name.count].first { name.elementsEqual($0.name) }?.index
    }

    /// The place of this attribute among all.
    var index: Int { Self.places[self] ?? 0 }

    private static let places = Dictionary(uniqueKeysWithValues: allCases.enumerated().map { ($1, $0) })
}
