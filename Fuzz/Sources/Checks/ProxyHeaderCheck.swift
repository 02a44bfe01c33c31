import SMTPProtocol

enum ProxyHeaderCheck {
    private struct Parsed: Equatable {
        var header: ProxyHeader
        var length: Int
    }

    static func run(_ input: UnsafeRawBufferPointer) {
        var generator = Generator(input)
        let whole = parse(input, .whole, &generator)
        for cut in [Cut.bytes, .random] { checkEqual(whole, parse(input, cut, &generator), "cut \(cut): \(shown(input))") }
        guard case .success(let parsed?) = whole else {
            check(whole != .success(nil) || input.count < ProxyHeader.longestV2, "waits past the limit")
            return
        }
        check(parsed.length <= input.count && parsed.length <= ProxyHeader.longestV2, "longer than its limit")
        for checksum in [false, true] {
            let wire = parsed.header.encodedV2(checksum: checksum)
            let again = wire.withUnsafeBytes { parse($0, .whole, &generator) }
            checkEqual(again, .success(Parsed(header: parsed.header, length: wire.count)), "sent on")
        }
    }

    /// Offers ever longer beginnings until there is a decision.
    private static func parse(_ input: UnsafeRawBufferPointer, _ cut: Cut, _ generator: inout Generator) -> Result<
        Parsed?, ProxyHeaderError
    > {
        var result = Result<Parsed?, ProxyHeaderError>.success(nil)
        var count = 0
        cut.forEach(input, &generator) { piece in
            count += piece.count
            do throws(ProxyHeaderError) {
                result = .success(
                    try ProxyHeader.parse(UnsafeRawBufferPointer(rebasing: input[..<count])).map {
                        Parsed(header: $0.header, length: $0.length)
                    })
            } catch {
                result = .failure(error)
            }
            return result == .success(nil)
        }
        return result
    }
}
