/// All that a tarpit says, as one run of octets that a client's position moves through.
///
/// The reply to HELO goes on for ever: behind the last keyword it starts again with the first. Which keywords that are
/// differs from start to start, so that no fixed text tells a bot what it talks to.
struct TarpitScript: Equatable {
    let octets: [UInt8]
    /// Where the reply to HELO or EHLO starts; up to here it is the greeting.
    let hello: Int
    /// Where its endless part starts.
    let keywords: Int
    /// Where the reply to anything else starts, all of which is repeated.
    let refusal: Int
    /// To the client that is let go, and to the one that says QUIT.
    let farewell: [UInt8]
    let goodbye: [UInt8]

    /// Lines of invented keywords.
    private static let inventions = 120

    init(hostname: String, random: inout some RandomNumberGenerator) {
        // RFC 5321 §4.2: 220 with our name; ESMTP, or half of all clients would not say EHLO.
        var text = "220 \(hostname) ESMTP\r\n"
        hello = text.utf8.count
        // RFC 5321 §4.1.1.1: any number of lines, each `250-` and a keyword; §4.1.1.1 gives the X to private keywords.
        text += "250-\(hostname)\r\n"
        keywords = text.utf8.count
        for keyword in ["PIPELINING", "SIZE 52428800", "ETRN", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN"] { text += "250-\(keyword)\r\n" }
        let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        for _ in 0..<Self.inventions {
            let word = (0..<Int.random(in: 4...14, using: &random)).map { _ in letters[Int.random(in: 0..<letters.count, using: &random)] }
            text += "250-X\(String(word))\r\n"
        }
        refusal = text.utf8.count
        // RFC 5321 §4.1.4: whoever starts with anything else is answered 503.
        text += "503-5.5.1 Please say EHLO first\r\n"
        octets = Array(text.utf8)
        farewell = Array("421 4.3.2 \(hostname) takes no mail; please use another mail exchanger of the domain\r\n".utf8)
        goodbye = Array("221 2.0.0 \(hostname) closing connection\r\n".utf8)
    }

    /// The octet that follows the one at `position`, in the same reply.
    func position(after position: Int) -> Int {
        let next = position + 1
        if next == refusal { return keywords }
        return next == octets.count ? refusal : next
    }

    /// What is left of the line at `position`; nothing at the start of a line.
    func restOfLine(at position: Int) -> ArraySlice<UInt8> {
        guard position > 0, position < octets.count, octets[position - 1] != UInt8(ascii: "\n") else { return [] }
        let end = octets[position...].firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? octets.count
        return octets[position..<end]
    }
}
