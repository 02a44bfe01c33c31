import PolicyProtocol

enum PolicyRequestCheck {
    private struct Request: Equatable {
        var values: [String]
        var size: Int
    }

    private enum Outcome: Equatable {
        case request(Request)
        case error(PolicyRequestError)
    }

    static func run(_ input: UnsafeRawBufferPointer) {
        guard let (octet, rest) = input.settingsAndRest else { return }
        var limits = PolicyLimits()
        if octet.has(0) { limits.line = 40 }
        if octet.has(1) { limits.attributes = 4 }
        if octet.has(2) { limits.request = 120 }
        var generator = Generator(input)
        let whole = decode(rest, .whole, limits, &generator)
        for cut in [Cut.bytes, .random] { checkEqual(whole, decode(rest, cut, limits, &generator), "cut \(cut): \(shown(rest))") }
        for case .error(let error) in whole { _ = error.description }
    }

    private static func decode(
        _ input: UnsafeRawBufferPointer, _ cut: Cut, _ limits: PolicyLimits, _ generator: inout Generator
    ) -> [Outcome] {
        var decoder = PolicyRequestDecoder(limits: limits)
        var outcomes: [Outcome] = []
        cut.forEach(input, &generator) { piece in
            decoder.feed(piece)
            do throws(PolicyRequestError) {
                while let request = try decoder.next() {
                    outcomes.append(
                        .request(Request(values: PolicyAttribute.allCases.map { request[$0] }, size: request.number(.size))))
                }
                return true
            } catch {
                outcomes.append(.error(error))
                return false
            }
        }
        return outcomes
    }
}
