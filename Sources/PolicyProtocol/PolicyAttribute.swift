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

    /// The place of the attribute of that name among all; `nil` for one we do not know, which is then ignored. `guess` is
    /// tried first: a peer sends its attributes in one order.
    static func index(ofName name: UnsafeRawBufferPointer, guess: Int) -> Int? {
        names.index(of: name, guess: guess)
    }

    private static let names = Names()

    /// The attributes' names, one after another in one piece.
    private struct Names {
        private var octets: [UInt8] = []
        /// Where each begins, and where the last ends.
        private var bounds = [0]
        /// Attributes by the length of their name, so that a name is found by comparing with one or two.
        private var byLength: [[Int]] = []

        init() {
            for (index, attribute) in PolicyAttribute.allCases.enumerated() {
                let name = attribute.rawValue.utf8
                octets += name
                bounds.append(octets.count)
                while byLength.count <= name.count { byLength.append([]) }
                byLength[name.count].append(index)
            }
        }

        func index(of name: UnsafeRawBufferPointer, guess: Int) -> Int? {
            if guess + 1 < bounds.count, matches(name, guess) { return guess }
            guard name.count < byLength.count else { return nil }
            return byLength[name.count].first { matches(name, $0) }
        }

        private func matches(_ name: UnsafeRawBufferPointer, _ index: Int) -> Bool {
            let start = bounds[index]
            let count = bounds[index + 1] - start
            guard count == name.count else { return false }
            return octets.withUnsafeBytes { octets in
                var place = 0
                while place + 8 <= count {
                    guard
                        name.loadUnaligned(fromByteOffset: place, as: UInt64.self)
                            == octets.loadUnaligned(fromByteOffset: start + place, as: UInt64.self)
                    else { return false }
                    place += 8
                }
                while place < count {
                    guard octets[start + place] == name[place] else { return false }
                    place += 1
                }
                return true
            }
        }
    }

    /// The place of this attribute among all: cases without a payload are stored as their place.
    var index: Int { Int(unsafeBitCast(self, to: UInt8.self)) }
}
