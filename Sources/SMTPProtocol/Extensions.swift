import PosternCore

/// The service extensions that Postern can carry between a client and a backend.
public struct Extensions: Hashable, Sendable {
    /// RFC 2920.
    public var pipelining: Bool
    /// RFC 1870: `nil` when not offered, 0 without a limit, else the most octets.
    public var size: UInt64?
    /// RFC 6152.
    public var eightBitMIME: Bool
    /// RFC 6531.
    public var smtpUTF8: Bool
    /// RFC 3461.
    public var dsn: Bool
    /// RFC 2034.
    public var enhancedStatusCodes: Bool
    /// RFC 3030, without BINARYMIME: a chunk may have to go on by DATA, which cannot carry binary content.
    public var chunking: Bool
    /// RFC 3207.
    public var startTLS: Bool
    /// XCLIENT_README: the attributes, empty when not offered.
    public var xclient: Set<XClientAttributes.Name>
    /// RFC 4954 §3: those that we know of; empty when AUTH is not offered.
    public var authentication: AuthenticationMechanisms

    public init(
        pipelining: Bool = false, size: UInt64? = nil, eightBitMIME: Bool = false, smtpUTF8: Bool = false, dsn: Bool = false,
        enhancedStatusCodes: Bool = false, chunking: Bool = false, startTLS: Bool = false, xclient: Set<XClientAttributes.Name> = [],
        authentication: AuthenticationMechanisms = []
    ) {
        self.pipelining = pipelining
        self.size = size
        self.eightBitMIME = eightBitMIME
        self.smtpUTF8 = smtpUTF8
        self.dsn = dsn
        self.enhancedStatusCodes = enhancedStatusCodes
        self.chunking = chunking
        self.startTLS = startTLS
        self.xclient = xclient
        self.authentication = authentication
    }

    /// What a server says in its reply to EHLO (RFC 5321 §4.1.1.1); keywords that are not known are passed over.
    public init(ehloReply reply: Reply) {
        self.init()
        for line in reply.lines.dropFirst() {
            let words = line.split(separator: Octet.space)
            guard let keyword = words.first else { continue }
            if keyword.equalsIgnoringCase("PIPELINING") {
                pipelining = true
            } else if keyword.equalsIgnoringCase("SIZE") {
                size = words.count > 1 ? CommandParser.number(words[1]) ?? 0 : 0
            } else if keyword.equalsIgnoringCase("8BITMIME") {
                eightBitMIME = true
            } else if keyword.equalsIgnoringCase("SMTPUTF8") {
                smtpUTF8 = true
            } else if keyword.equalsIgnoringCase("DSN") {
                dsn = true
            } else if keyword.equalsIgnoringCase("ENHANCEDSTATUSCODES") {
                enhancedStatusCodes = true
            } else if keyword.equalsIgnoringCase("CHUNKING") {
                chunking = true
            } else if keyword.equalsIgnoringCase("STARTTLS") {
                startTLS = true
            } else if keyword.equalsIgnoringCase("XCLIENT") {
                xclient = Set(
                    words.dropFirst().compactMap { XClientAttributes.Name(rawValue: String(decoding: $0.map { $0 & 0xdf }, as: UTF8.self)) }
                )
            } else if keyword.equalsIgnoringCase("AUTH") {
                authentication = words.dropFirst().reduce(into: []) { $0.formUnion(AuthenticationMechanisms($1) ?? []) }
            }
        }
    }

    /// What may be offered to clients of a backend with these extensions: what the backend carries end to end (SIZE,
    /// 8BITMIME, SMTPUTF8, DSN, and ENHANCEDSTATUSCODES: RFC 2034 §4 wants a code in each of its replies, which go on as they
    /// are), and what Postern does by itself (PIPELINING, CHUNKING).
    ///
    /// - Parameters:
    ///   - limit: Postern's own limit on a message in octets, 0 for none; the smaller of the two is offered.
    ///   - startTLS: whether a certificate is at hand.
    public func offered(limit: UInt64 = 0, startTLS: Bool = false) -> Extensions {
        var size = size ?? 0
        if limit > 0 { size = size == 0 ? limit : min(size, limit) }
        return Extensions(
            // RFC 6531 §3.1: SMTPUTF8 is never offered without 8BITMIME.
            pipelining: true, size: size, eightBitMIME: eightBitMIME, smtpUTF8: smtpUTF8 && eightBitMIME, dsn: dsn,
            enhancedStatusCodes: enhancedStatusCodes, chunking: true, startTLS: startTLS)
    }

    /// The lines of a reply to EHLO behind the first.
    func keywords(secured: Bool) -> [String] {
        var lines: [String] = []
        if pipelining { lines.append("PIPELINING") }
        if let size { lines.append(size == 0 ? "SIZE" : "SIZE \(size)") }
        // RFC 3207 §4.2: not offered once TLS is active.
        if startTLS, !secured { lines.append("STARTTLS") }
        if !xclient.isEmpty {
            let names = XClientAttributes.Name.allCases.filter(xclient.contains).map(\.rawValue)
            lines.append("XCLIENT \(names.joined(separator: " "))")
        }
        // RFC 4954 §4: mechanisms that show the password are only for where nobody can read along.
        if !authentication.isEmpty, secured { lines.append("AUTH \(authentication.names)") }
        if enhancedStatusCodes { lines.append("ENHANCEDSTATUSCODES") }
        if eightBitMIME { lines.append("8BITMIME") }
        if dsn { lines.append("DSN") }
        if smtpUTF8 { lines.append("SMTPUTF8") }
        if chunking { lines.append("CHUNKING") }
        return lines
    }
}

extension MailCommand {
    /// The first parameter that these extensions do not cover, by name (RFC 5321 §4.1.1.11).
    public func unsupportedParameter(by extensions: Extensions) -> String? {
        if size != nil, extensions.size == nil { return "SIZE" }
        // RFC 3030 §3: BINARYMIME is never offered.
        if body == .binaryMIME || (body != nil && !extensions.eightBitMIME) { return "BODY" }
        if isSMTPUTF8, !extensions.smtpUTF8 { return "SMTPUTF8" }
        if returnedContent != nil, !extensions.dsn { return "RET" }
        if envelopeID != nil, !extensions.dsn { return "ENVID" }
        // RFC 4954 §5: known wherever AUTH is.
        if authenticatedAs != nil, extensions.authentication.isEmpty { return "AUTH" }
        if priority != nil { return "MT-PRIORITY" }
        return nil
    }

    /// The command for a server with these extensions, with CRLF. A parameter that it does not know is left out, and so is AUTH:
    /// who has logged in is not believed to speak for others (RFC 4954 §5).
    public func encoded(for extensions: Extensions) -> [UInt8] {
        var octets: [UInt8] = []
        encode(for: extensions, into: &octets)
        return octets
    }

    func encode(for extensions: Extensions, into octets: inout [UInt8]) {
        octets.append("MAIL FROM:<", wirePath, ">")
        if let size, extensions.size != nil { octets.append(" SIZE=\(size)") }
        if let body, body != .binaryMIME, extensions.eightBitMIME { octets.append(" BODY=\(body.rawValue)") }
        if isSMTPUTF8, extensions.smtpUTF8 { octets.append(" SMTPUTF8") }
        if extensions.dsn {
            if let returnedContent { octets.append(" RET=\(returnedContent.rawValue)") }
            if let envelopeID { octets.append(" ENVID=\(envelopeID)") }
        }
        octets.appendLineEnd()
    }
}

extension RecipientCommand {
    /// As for MAIL.
    public func unsupportedParameter(by extensions: Extensions) -> String? {
        guard !extensions.dsn else { return nil }
        return notify != nil ? "NOTIFY" : originalRecipient != nil ? "ORCPT" : nil
    }

    /// The command for a server with these extensions, with CRLF. A parameter that it does not know is left out.
    public func encoded(for extensions: Extensions) -> [UInt8] {
        var octets: [UInt8] = []
        encode(for: extensions, into: &octets)
        return octets
    }

    func encode(for extensions: Extensions, into octets: inout [UInt8]) {
        octets.append("RCPT TO:<", wirePath, ">")
        if extensions.dsn {
            switch notify {
            case .never: octets.append(" NOTIFY=NEVER")
            case .on(let events):
                let names = [(RecipientCommand.Events.success, "SUCCESS"), (.failure, "FAILURE"), (.delay, "DELAY")]
                octets.append(" NOTIFY=\(names.filter { events.contains($0.0) }.map(\.1).joined(separator: ","))")
            case nil: break
            }
            if let originalRecipient { octets.append(" ORCPT=\(originalRecipient)") }
        }
        octets.appendLineEnd()
    }
}
