/// Why a command line is not a command that can be carried out, with the reply that says so.
public enum CommandError: Error, Hashable, Sendable {
    /// The verb is not known (RFC 5321 §4.2.4).
    case unknownVerb
    /// The line is empty or does not begin with a verb.
    case notACommand
    /// An argument is missing; the verb that lacks it.
    case missingArgument(Verb)
    /// The verb takes no argument (RFC 5321 §4.1.1).
    case unexpectedArgument(Verb)
    /// The path of MAIL or RCPT does not parse (RFC 5321 §4.1.2).
    case badPath(Verb)
    /// A local part, domain or path over its limit (RFC 5321 §4.5.3.1).
    case pathTooLong(Verb)
    /// HELO or EHLO with an argument that leniency does not cover.
    case badHelo
    /// Octets above 127 without SMTPUTF8 (RFC 6531 §3.4).
    case eightBit(Verb)
    /// Octets above 127 that are not UTF-8, which no parameter makes an address (RFC 6531 §3.3).
    case notUTF8(Verb)
    /// A parameter of MAIL or RCPT that is not known or not offered (RFC 5321 §4.1.1.11).
    case unsupportedParameter(Verb)
    /// A parameter whose value does not parse; its name.
    case badParameter(String)
    /// A parameter given twice; its name (RFC 3461 §4, RFC 1870 §6).
    case repeatedParameter(String)
    /// BDAT whose size does not parse. What follows cannot be told from commands: the session must end.
    case badChunk
    /// XCLIENT whose attributes do not parse.
    case badXClient

    public var reply: Reply {
        switch self {
        case .unknownVerb: Reply(500, "5.5.2", "Command not recognized")
        case .notACommand: Reply(500, "5.5.2", "Bad syntax")
        case .missingArgument(let verb): Reply(501, "5.5.4", "Syntax: \(verb.syntax)")
        case .unexpectedArgument(let verb): Reply(501, "5.5.4", "Syntax: \(verb.syntax)")
        case .badPath(.mail): Reply(501, "5.1.7", "Bad sender address syntax")
        case .badPath: Reply(501, "5.1.3", "Bad recipient address syntax")
        case .pathTooLong(.mail): Reply(501, "5.1.7", "Sender address too long")
        case .pathTooLong: Reply(501, "5.1.3", "Recipient address too long")
        case .badHelo: Reply(501, "5.5.4", "A domain name or address literal is required")
        // RFC 6531 §3.5.
        case .eightBit(.mail): Reply(550, "5.6.7", "Address has octets that need SMTPUTF8")
        case .eightBit(.rcpt): Reply(553, "5.6.7", "Address has octets that need SMTPUTF8")
        case .eightBit: Reply(500, "5.5.2", "Octets above 127 in a command")
        case .notUTF8(.mail): Reply(501, "5.1.7", "Sender address has octets that are not UTF-8")
        case .notUTF8(.rcpt): Reply(501, "5.1.3", "Recipient address has octets that are not UTF-8")
        case .notUTF8: Reply(501, "5.5.4", "Argument has octets that are not UTF-8")
        case .unsupportedParameter: Reply(555, "5.5.4", "Parameter not recognized or not implemented")
        case .badParameter(let name): Reply(501, "5.5.4", "Bad value of \(name)")
        case .repeatedParameter(let name): Reply(501, "5.5.4", "\(name) given twice")
        case .badChunk: Reply(421, "4.7.0", "Syntax: \(Verb.bdat.syntax); closing connection")
        case .badXClient: Reply(501, "5.5.4", "Bad XCLIENT attribute")
        }
    }

    /// How the engine shall count it.
    public var violation: Violation {
        switch self {
        case .unknownVerb: .unknownCommand
        case .badHelo: .heloSyntax
        case .eightBit, .notUTF8: .eightBitEnvelope
        case .notACommand, .missingArgument, .unexpectedArgument, .badPath, .pathTooLong, .unsupportedParameter, .badParameter,
            .repeatedParameter, .badChunk, .badXClient:
            .commandSyntax
        }
    }
}

extension Verb {
    /// For replies.
    var syntax: String {
        switch self {
        case .helo, .ehlo: "\(rawValue) hostname"
        case .mail: "MAIL FROM:<address> [parameters]"
        case .rcpt: "RCPT TO:<address> [parameters]"
        case .data, .rset, .quit, .starttls: rawValue
        case .bdat: "BDAT size [LAST]"
        case .noop, .help: "\(rawValue) [string]"
        case .vrfy, .expn, .etrn: "\(rawValue) string"
        case .auth: "AUTH mechanism [initial-response]"
        case .xclient: "XCLIENT attribute=value..."
        }
    }
}
