import PolicyProtocol

enum SocketmapCheck {
    private enum Outcome: Equatable {
        case request(SocketmapRequest)
        case error(SocketmapError)
    }

    static func run(_ input: UnsafeRawBufferPointer) {
        guard let (octet, rest) = input.settingsAndRest else { return }
        let limit = octet.has(0) ? 24 : SocketmapRequestDecoder.longestRequest
        var generator = Generator(input)
        let whole = decode(rest, .whole, limit, &generator)
        for cut in [Cut.bytes, .random] { checkEqual(whole, decode(rest, cut, limit, &generator), "cut \(cut): \(shown(rest))") }
        for outcome in whole {
            switch outcome {
            case .request(let request):
                // An octet that is no UTF-8 becomes three.
                check(request.name.utf8.count + request.key.utf8.count < 3 * limit, "longer than its bound: \(request)")
                check(SocketmapReply.found(request.key).encoded.last == UInt8(ascii: ","), "no netstring")
            case .error(let error): _ = error.description
            }
        }
    }

    private static func decode(_ input: UnsafeRawBufferPointer, _ cut: Cut, _ limit: Int, _ generator: inout Generator) -> [Outcome] {
        var decoder = SocketmapRequestDecoder(limit: limit)
        var outcomes: [Outcome] = []
        cut.forEach(input, &generator) { piece in
            decoder.feed(piece)
            do throws(SocketmapError) {
                while let request = try decoder.next() { outcomes.append(.request(request)) }
                return true
            } catch {
                outcomes.append(.error(error))
                return false
            }
        }
        return outcomes
    }
}
