import DNSProtocol

/// A DNS list as an admin writes it: what can be read is written so that it reads the same, and counts the same replies.
enum ZoneCheck {
    static func run(_ input: UnsafeRawBufferPointer) {
        let text = String(decoding: input, as: UTF8.self)
        do throws(ListSyntaxError) {
            let list = try ListSpecification(text)
            check(list.weight.map(ListSpecification.weights.contains) ?? true, "\(list)")
            let again = try? ListSpecification(list.description)
            check(again == list, "\(shown(input)) is written \(list)")
        } catch {
            check(error.offset <= text.utf8.count && !error.description.isEmpty, "\(shown(input)): \(error.offset)")
        }
    }
}
