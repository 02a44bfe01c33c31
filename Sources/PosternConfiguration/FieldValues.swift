import PosternCore
import PosternEngine

// Values in the field's own forms.

extension Value {
    func domainName() -> DomainName? {
        guard let text = text("a name such as mx1.example.net") else { return nil }
        guard let name = DomainName(text)?.asciiForm, !name.text.contains(where: { $0 == "/" || $0 == ":" || $0 == "*" }) else {
            error("'\(text.shortened)' is not a domain name")
            return nil
        }
        guard !name.hasHyphenAtLabelEnd else {
            error("'\(text.shortened)' is not a domain name: a label neither begins nor ends with a hyphen (RFC 5321 §4.1.2)")
            return nil
        }
        if IPAddress(name.text) != nil {
            error("'\(text)' is an address where a name is wanted")
            return nil
        }
        return name
    }

    /// `otherwise` is what is said of what begins neither with `http://` nor with `https://`.
    func webAddress(_ text: String, otherwise: String = "does not begin with http:// or https://") -> WebAddress? {
        do throws(WebAddressError) {
            return try WebAddress(text)
        } catch {
            // Nothing of it: user and password, the path and the query may all be secret.
            self.error(error == .scheme ? otherwise : error.description)
            return nil
        }
    }

    func prefix() -> Prefix? {
        guard let text = text("a network such as 192.0.2.0/24") else { return nil }
        if let prefix = Prefix(text) { return prefix }
        // The same with its host bits cleared tells what was probably meant.
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        if parts.count == 2, let address = IPAddress(parts[0]), let length = Int(parts[1]), (0...address.family.bits).contains(length) {
            error("'\(text)' has bits set beyond its length; did you mean '\(Prefix(address, length: length))'?")
        } else {
            error("'\(text.shortened)' is not an address or network such as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32")
        }
        return nil
    }

    func prefixes() -> PrefixSet? {
        guard let elements = list(of: "networks") else { return nil }
        var prefixes: [Prefix] = []
        var isComplete = true
        for element in elements {
            guard let prefix = element.prefix() else {
                isComplete = false
                continue
            }
            if prefix.length == 0 {
                element.warning("\(prefix) is every \(prefix.address.family == .v4 ? "IPv4" : "IPv6") address")
            }
            if prefixes.contains(prefix) {
                element.warning("\(prefix) is given twice")
            } else {
                prefixes.append(prefix)
            }
        }
        return isComplete ? PrefixSet(prefixes) : nil
    }

    /// A mailbox, a local part with `@`, or a domain.
    func recipients() -> [(Pattern, Value)]? {
        guard let elements = list(of: "recipients") else { return nil }
        var patterns: [(Pattern, Value)] = []
        for element in elements {
            guard let text = element.text("a mailbox or domain") else { continue }
            switch Pattern(text) {
            case .prefix?: element.error("'\(text)' is a network; a recipient is a mailbox, 'user@' or a domain")
            case let pattern?: patterns.append((pattern, element))
            case nil:
                element.error(
                    "'\(text.shortened)' is neither a mailbox, such as user@example.org, nor 'user@' nor a domain"
                        + Pattern.hint(text.shortened))
            }
        }
        return patterns
    }

    /// `127.0.0.1:10023` or `[::1]:10023`.
    static func hostAndPort(_ text: some StringProtocol) -> (IPAddress, UInt16)? {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let digits = text[text.index(after: colon)...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }), let port = UInt16(digits)
        else {
            return nil
        }
        let host = text[..<colon]
        if host.first == "[", host.last == "]", let address = IPAddress(host.dropFirst().dropLast()), host.contains(":") {
            return (address, port)
        }
        guard !host.contains(":"), let address = IPAddress(host) else { return nil }
        return (address, port)
    }

    func resolver() -> Configuration.DNS.Resolver? {
        guard let text = text("an address") else { return nil }
        if let address = IPAddress(text) { return .init(address: address) }
        if let (address, port) = Self.hostAndPort(text), port > 0 { return .init(address: address, port: port) }
        error("'\(text.shortened)' is not the address of a resolver, such as 192.0.2.53, 127.0.0.1:5353 or [::1]:53")
        return nil
    }

    /// Permissions in octal. Bare `0660` is octal in YAML 1.1 as well, so digits mean the same with and without quotes.
    func permissions() -> UInt16? {
        guard case .scalar(let scalar) = node, (3...4).contains(scalar.string.utf8.count),
            let bits = UInt16(scalar.string, radix: 8), bits <= 0o777, scalar.string.utf8.allSatisfy({ $0 >= UInt8(ascii: "0") })
        else {
            wants("permissions in octal, such as \"0660\",")
            return nil
        }
        return bits
    }

    /// A name that the system knows an account or group by.
    func accountName() -> String? {
        guard let text = text("a name") else { return nil }
        guard text.utf8.count <= 32, text.first != "-", text.utf8.allSatisfy({ $0.isNameCharacter || $0 == UInt8(ascii: "$") }) else {
            error("'\(text.shortened)' is not a name of an account or group")
            return nil
        }
        return text
    }

    func listenerName() -> String? {
        guard let text = text("a name") else { return nil }
        guard text.utf8.count <= 64, text.utf8.allSatisfy(\.isNameCharacter) else {
            error("'\(text.shortened)' is not a name of at most 64 letters, digits, '-', '_' and '.'")
            return nil
        }
        return text
    }
}

extension UInt8 {
    fileprivate var isNameCharacter: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }
}
