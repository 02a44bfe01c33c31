import AddressTables
import DNSProtocol
import PosternCore
import PosternEngine
import PublishedLists

/// A packet to the DNS service: whatever it is, the reply is a message, within its limit, about the question that was asked.
enum ListServiceCheck {
    private static let responder: ListResponder = {
        func name(_ text: String) -> DNSName { DNSName(text) ?? .root }
        var builder = AddressTableBuilder()
        builder.add(v4: 0xc000_0207, mark: 0, expires: 2000)
        builder.add(Prefix(IPAddress(v4: 0xc633_6400), length: 24), mark: 1)
        builder.add(Prefix(IPAddress(v6High: 0x2001_0db8_0000_0000, low: 0), length: 64), mark: 0)
        let statements = [PublishedStatement(.black, reason: "a reason"), PublishedStatement(.white, reason: "another")]
        let source = PublishedSource(
            name: "own", layers: [builder.table()], statements: statements,
            domains: [[name("spam.example"): AddressListing(mark: 0, length: 0, expires: 0)]])
        var settings = ZoneSettings(name: name("b.example"), nameServers: [name("ns.example.org")], mailbox: name("a.example.org"))
        settings.contact = "dnsbl@example.org"
        var black = settings
        black.name = name("black.b.example")
        black.colours = [.black]
        var domains = settings
        domains.name = name("d.example")
        domains.kind = .domain
        return ListResponder(zones: [settings, black, domains].map { PublishedZone($0, sources: [source], serial: 1) })
    }()

    static func run(_ input: UnsafeRawBufferPointer) {
        guard let (octet, query) = input.settingsAndRest else { return }
        let manner: ListResponder.Manner = octet.has(0) ? .stream : octet.has(1) ? .slip : octet.has(2) ? .stranger : .datagram
        let size = manner == .stream ? 4096 : ListResponder.largestDatagram
        var room = [UInt8](repeating: 0xaa, count: size + 64)
        let response = room.withUnsafeMutableBytes {
            responder.respond(to: query, into: UnsafeMutableRawBufferPointer(rebasing: $0[..<size]), manner, ZoneTime(now: 1000))
        }
        check(response.count <= size && room[size...].allSatisfy { $0 == 0xaa }, "written beyond the end")
        guard response.count > 0 else { return check(query.count < 12 || query[2] & 0x80 != 0, "no answer to a query") }
        check(query[2] & 0x80 == 0, "an answer to an answer")
        let reply = Array(room[..<response.count])
        do throws(DNSFormatError) {
            let message = try DNSMessage(parsing: reply.span)
            check(message.isResponse && reply[0] == query[0] && reply[1] == query[1], "\(message)")
            check(message.answers.count <= 1 && message.authorities.count <= 1 && message.additionals.isEmpty, "\(message)")
            guard let asked = try? DNSMessage(parsing: Array(query).span) else {
                // What we do not even read is malformed to the server too, or it has found nothing to look at behind the question.
                return check(message.answers.isEmpty || message.code == .noError, "\(message)")
            }
            check(message.questions.isEmpty || message.questions == asked.questions, "\(message)\n\(asked)")
            if manner != .stream {
                let limit = max(512, min(Int(asked.extensions?.payloadSize ?? 512), ListResponder.largestDatagram))
                check(reply.count <= limit, "\(reply.count) octets, and \(limit) are allowed")
            }
            if manner == .slip || manner == .stranger { check(message.answers.isEmpty && message.authorities.isEmpty, "\(message)") }
        } catch {
            check(false, "the reply is no message: \(error)")
        }
    }
}

/// Any message: what can be read is written so that it reads the same.
enum DNSMessageCheck {
    static func run(_ input: UnsafeRawBufferPointer) {
        guard let message = try? DNSMessage(parsing: Array(input).span), message.extensions?.options.count ?? 0 < 10_000 else { return }
        let written = message.serialised()
        guard let again = try? DNSMessage(parsing: written.span) else { return check(false, "what was written cannot be read: \(message)") }
        // Where not everything had room it says so.
        if !again.isTruncated { checkEqual(again, message, "written and read again") }
        for limit in [512, 700] {
            let short = message.serialised(limit: limit)
            check(short.count <= max(limit, 23 + (message.extensions?.options.count ?? 0)), "\(short.count) octets")
        }
    }
}

/// A list as somebody may send it: read the same in whatever pieces it comes, and never more entries than lines.
enum ListReaderCheck {
    static func run(_ input: UnsafeRawBufferPointer) {
        guard let (octet, text) = input.settingsAndRest else { return }
        var generator = Generator(input)
        func read(_ cut: Cut) -> ListReader.Outcome {
            var reader = ListReader(octet.has(0) ? .csv : .text, colour: .black, reason: "r", time: ZoneTime(now: 1000))
            cut.forEach(text, &generator) { piece in
                reader.feed(piece)
                return true
            }
            return reader.finish()
        }
        let whole = read(.whole)
        let lines = text.count { $0 == UInt8(ascii: "\n") } + 1
        check(whole.entries + whole.bad + whole.expired <= lines, "\(whole.entries) entries of \(lines) lines")
        for cut in [Cut.bytes, .random] {
            let other = read(cut)
            checkEqual([whole.entries, whole.bad, whole.expired], [other.entries, other.bad, other.expired], "cut \(cut)")
            checkEqual(whole.statements, other.statements, "cut \(cut)")
        }
    }
}
