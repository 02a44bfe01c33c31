import PolicyProtocol
import Testing

@Suite("socketmap protocol")
struct SocketmapTests {
    private func requests(_ text: String, pieces: Int) throws -> [SocketmapRequest] {
        var decoder = SocketmapRequestDecoder()
        var found: [SocketmapRequest] = []
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            decoder.feed(rest.prefix(pieces))
            rest = rest.dropFirst(pieces)
            while let request = try decoder.next() { found.append(request) }
        }
        #expect(!decoder.isWithinRequest)
        return found
    }

    @Test("whole, octet by octet, and several at once", arguments: [1, 2, 3, 7, 1000])
    func cuts(_ pieces: Int) throws {
        let text = "25:transport bob@example.com,11:transport *,10:transport ,12:other  a b c,"
        let expected = [
            SocketmapRequest(name: "transport", key: "bob@example.com"), SocketmapRequest(name: "transport", key: "*"),
            SocketmapRequest(name: "transport", key: ""), SocketmapRequest(name: "other", key: " a b c"),
        ]
        #expect(try requests(text, pieces: pieces) == expected)
    }

    @Test(
        "what is no request ends it",
        arguments: [
            ("x", SocketmapError.malformedLength), (":", .malformedLength), ("01:a", .malformedLength), ("00:", .malformedLength),
            ("-1:", .malformedLength), (" 3:a b,", .malformedLength), ("3 :a b,", .malformedLength),
            ("4097:", .requestTooLong(limit: 4096)),
            ("99999999999999999999999999:", .requestTooLong(limit: 4096)), ("3:a bx", .missingComma), ("3:abc,", .missingKey),
            ("0:,", .missingKey), ("2: a,", .missingKey),
        ])
    func malformed(_ text: String, _ error: SocketmapError) {
        for pieces in [1, 1000] { #expect(throws: error) { try requests(text, pieces: pieces) } }
    }

    @Test("the bound is exact, and an unfinished request is held and no more")
    func bound() throws {
        var decoder = SocketmapRequestDecoder(limit: 10)
        decoder.feed("10:ab 4567890".utf8)
        #expect(try decoder.next() == nil && decoder.isWithinRequest)
        decoder.feed(",".utf8)
        #expect(try decoder.next() == SocketmapRequest(name: "ab", key: "4567890"))
        #expect(!decoder.isWithinRequest)
        decoder.feed("11:".utf8)
        #expect(throws: SocketmapError.requestTooLong(limit: 10)) { try decoder.next() }
    }

    @Test("replies as socketmap_table(5) has them")
    func replies() {
        func text(_ reply: SocketmapReply) -> String { String(decoding: reply.encoded, as: UTF8.self) }
        #expect(text(.found("smtp:[mx2.example.com]")) == "25:OK smtp:[mx2.example.com],")
        #expect(text(.notFound) == "9:NOTFOUND ,")
        #expect(text(.temporaryFailure("later")) == "10:TEMP later,")
        #expect(text(.timeout("grüß")) == "14:TIMEOUT grüß,")
        #expect(text(.permanentFailure("no")) == "7:PERM no,")
        #expect(SocketmapReply.found(String(repeating: "a", count: 99_997)).encoded.count == 100_000 + 8)
        #expect(text(.found(String(repeating: "a", count: 99_998))) == "27:PERM the answer is too long,")
    }
}
