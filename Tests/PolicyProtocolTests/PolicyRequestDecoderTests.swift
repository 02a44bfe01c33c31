import Testing

@testable import PolicyProtocol

private let sample = """
    request=smtpd_access_policy
    protocol_state=RCPT
    protocol_name=SMTP
    helo_name=some.domain.tld
    queue_id=8045F2AB23
    sender=foo=bar@bar.tld
    recipient=bar@foo.tld
    recipient_count=0
    client_address=1.2.3.4
    client_name=another.domain.tld
    reverse_client_name=another.domain.tld
    instance=123.456.7
    sasl_method=plain
    sasl_username=you
    sasl_sender=
    size=12345
    ccert_subject=solaris9.porcupine.org
    ccert_issuer=Wietse+20Venema
    ccert_fingerprint=C2:9D:F4:87:71:73:73:D9:18:E7:C2:F3:C1:DA:6E:04
    encryption_protocol=TLSv1/SSLv3
    encryption_cipher=DHE-RSA-AES256-SHA
    encryption_keysize=256
    etrn_domain=
    stress=
    ccert_pubkey_fingerprint=68:B3:29
    client_port=1234
    policy_context=submission
    server_address=10.3.2.1
    server_port=54321
    compatibility_level=3.8
    mail_version=3.8.0
    tls_sni=mx.example.org
    something_new=yes


    """

/// Feeds `text` in pieces of `size` octets and collects requests until the end or an error.
private func decode(_ text: String, pieces size: Int, limits: PolicyLimits = PolicyLimits()) -> (
    requests: [PolicyRequest], error: PolicyRequestError?
) {
    var decoder = PolicyRequestDecoder(limits: limits)
    var requests: [PolicyRequest] = []
    let bytes = Array(text.utf8)
    for start in stride(from: 0, to: bytes.count, by: size) {
        decoder.feed(bytes[start..<min(start + size, bytes.count)])
        do throws(PolicyRequestError) {
            while let request = try decoder.next() { requests.append(request) }
        } catch {
            return (requests, error)
        }
    }
    return (requests, decoder.isWithinRequest ? .truncated : nil)
}

@Suite struct PolicyRequestDecoderTests {
    @Test(arguments: [1, 2, 3, 7, 64, 1000, 100_000])
    func readsEveryAttributeWholeInPiecesAndMerged(size: Int) {
        let (requests, error) = decode(sample + sample + sample, pieces: size)
        #expect(error == nil)
        #expect(requests.count == 3)
        for request in requests {
            for attribute in PolicyAttribute.allCases where ![.saslSender, .etrnDomain, .stress].contains(attribute) {
                #expect(!request.isEmpty(attribute), "\(attribute)")
            }
            #expect(request[.sender] == "foo=bar@bar.tld")
            #expect(request[.tlsSNI] == "mx.example.org")
            #expect(request.number(.size) == 12345)
            #expect(request[.instance] == "123.456.7")
        }
    }

    @Test func missingAttributesAreEmpty() {
        let (requests, error) = decode("request=smtpd_access_policy\nsender=\n\n", pieces: 1000)
        #expect(error == nil)
        #expect(requests.first?[.clientAddress] == "")
        #expect(requests.first?[.sender] == "")
    }

    @Test(arguments: [1, 5, 1000])
    func ofAnAttributeGivenTwiceTheFirstValueCounts(size: Int) {
        let twice = "request=smtpd_access_policy\nrequest=junk\nsender=a\nsender=b\nrecipient=\nrecipient=c\nsender=\nsize=1\n\n"
        let (requests, error) = decode(twice + sample, pieces: size)
        #expect(error == nil)
        #expect(requests.count == 2)
        #expect(requests.first?[.sender] == "a")
        #expect(requests.first?[.recipient] == "")
        #expect(requests.first?[.size] == "1")
        #expect(requests.last?[.sender] == "foo=bar@bar.tld")
    }

    @Test(arguments: [
        ("request=smtpd_access_policy\nnonsense\n\n", PolicyRequestError.lineWithoutEquals(line: "nonsense")),
        ("=x\n\n", .emptyName),
        ("\n", .notAnAccessPolicyRequest("")),
        ("sender=a@b.c\n\n", .notAnAccessPolicyRequest("")),
        ("request=junk\n\n", .notAnAccessPolicyRequest("junk")),
        ("request=smtpd_access_policy\nsender=\u{0}\n\n", .nulByte),
        ("\u{1}=x\n\u{0}\n", .nulByte),
        ("request=smtpd_access_policy\n", .truncated),
        ("GET / HTTP/1.1\r\n\r\n", .lineWithoutEquals(line: "GET / HTTP/1.1\r")),
    ])
    func malformedRequestsAreErrors(text: String, expected: PolicyRequestError) {
        for size in [1, 5, 1000] { #expect(decode(text, pieces: size).error == expected) }
    }

    @Test func boundsHold() {
        let limits = PolicyLimits(line: 40, attributes: 4, request: 120)
        let start = "request=smtpd_access_policy\n"
        let atLimit = start + "a=" + String(repeating: "x", count: 38) + "\n\n"
        let overLimit = start + "a=" + String(repeating: "x", count: 39) + "\n\n"
        let unending = String(repeating: "x", count: 100_000)
        for size in [1, 13, 100_000] {
            #expect(decode(atLimit, pieces: size, limits: limits).error == nil)
            #expect(decode(overLimit, pieces: size, limits: limits).error == .lineTooLong(limit: 40))
            #expect(decode(unending, pieces: size, limits: limits).error == .lineTooLong(limit: 40))
            #expect(decode(start + "a=\nb=\nc=\n\n", pieces: size, limits: limits).error == nil)
            #expect(decode(start + "a=\nb=\nc=\nd=\n\n", pieces: size, limits: limits).error == .tooManyAttributes(limit: 4))
            let long = start + (0..<3).map { "a\($0)=" + String(repeating: "x", count: 35) + "\n" }.joined() + "\n"
            #expect(decode(long, pieces: size, limits: limits).error == .requestTooLong(limit: 120))
            // Of both limits the one that is passed first.
            let both = start + (0..<2).map { "a\($0)=" + String(repeating: "x", count: 36) + "\n" }.joined()
            #expect(decode(both + unending, pieces: size, limits: limits).error == .requestTooLong(limit: 120))
        }
    }

    @Test func aHeldRequestDoesNotGrowTheBuffer() {
        var decoder = PolicyRequestDecoder()
        for _ in 0..<10_000 {
            decoder.feed(sample.utf8)
            #expect((try? decoder.next()) != nil)
        }
        #expect(!decoder.isWithinRequest)
    }
}

@Suite struct PolicyReplyTests {
    @Test func repliesAreOneActionAndAnEmptyLine() {
        #expect(PolicyReply.dunno.encoded == "action=DUNNO\n\n")
        #expect(PolicyReply.deferIfPermit("later").encoded == "action=DEFER_IF_PERMIT 4.7.1 later\n\n")
        #expect(PolicyReply.defer(code: 451, enhanced: "4.7.1", text: "later").encoded == "action=451 4.7.1 later\n\n")
        #expect(PolicyReply.reject(code: 554, enhanced: "5.7.1", text: "no").encoded == "action=554 5.7.1 no\n\n")
        #expect(PolicyReply.prepend("X-Greylist: delayed").encoded == "action=PREPEND X-Greylist: delayed\n\n")
    }

    @Test func nothingAClientSentCanEndTheReply() {
        let reply = PolicyReply.deferIfPermit("a\n\naction=OK\r\n\u{0}ü").encoded
        #expect(reply.hasSuffix("\n\n"))
        #expect(reply.dropLast(2).utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f })
        #expect(PolicyReply.deferIfPermit(String(repeating: "x", count: 5000)).encoded.utf8.count < 512)
    }
}
