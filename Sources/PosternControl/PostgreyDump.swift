import PosternCore

/// Reads what postgrey had learnt, line by line: either `key<TAB>value` lines, or the output of Berkeley DB's `db_dump`,
/// with `-p` or without.
///
/// postgrey 1.37 keeps `network/sender/recipient` → `first,last` in `postgrey.db` and `address` → `count,last` in
/// `postgrey_clients.db`, times in Unix seconds. With `--privacy` the keys are SHA-1 hashes, of which nothing can be made.
public struct PostgreyDump: Sendable {
    public enum Record: Equatable, Sendable {
        case triplet(Lessons.Triplet)
        case client(Lessons.Client)
        /// A hash in place of the key.
        case hashed
        case unreadable(String)
    }

    private enum Form {
        case unknown
        case tabbed
        case dumpHeader(isHexadecimal: Bool)
        /// The key, when the next line is its value.
        case dumpData(isHexadecimal: Bool, key: String?)
    }

    /// postgrey's `--delay`, in seconds: what waited less has not passed.
    private let delay: Int64
    private var form = Form.unknown

    public init(delay: WallTime.Span) {
        self.delay = delay.milliseconds / 1000
    }

    /// What a line says, without its line feed; `nil` where it says nothing by itself.
    public mutating func read(_ line: some StringProtocol) -> Record? {
        let line = line.last == "\r" || line.last == "\r\n" ? String(line.dropLast()) : String(line)
        switch form {
        case .unknown, .tabbed:
            if line.hasPrefix("VERSION=") {
                form = .dumpHeader(isHexadecimal: true)
                return nil
            }
            form = .tabbed
            guard !line.isEmpty else { return nil }
            guard let tab = line.firstIndex(of: "\t") else { return .unreadable("there is no tab between key and value") }
            return record(String(line[..<tab]), String(line[line.index(after: tab)...]))
        case .dumpHeader(let isHexadecimal):
            switch line {
            case "format=print": form = .dumpHeader(isHexadecimal: false)
            case "HEADER=END": form = .dumpData(isHexadecimal: isHexadecimal, key: nil)
            default: break
            }
            return nil
        case .dumpData(let isHexadecimal, let key):
            guard line != "DATA=END" else {
                form = .unknown
                return key == nil ? nil : .unreadable("the dump ends within a record")
            }
            guard let text = Self.unescaped(line, isHexadecimal: isHexadecimal) else {
                form = .dumpData(isHexadecimal: isHexadecimal, key: key == nil ? "" : nil)
                return .unreadable("it is not a line of db_dump")
            }
            form = .dumpData(isHexadecimal: isHexadecimal, key: key == nil ? text : nil)
            // An empty key stands for one that could not be read and was told of.
            return key.flatMap { $0.isEmpty ? nil : record($0, text) }
        }
    }

    /// db_dump puts a space before each item; with `-p` a backslash and two hexadecimal digits stand for what is not printable.
    private static func unescaped(_ line: String, isHexadecimal: Bool) -> String? {
        guard line.first == " " else { return nil }
        var bytes: [UInt8] = []
        var rest = line.utf8.dropFirst()
        func pair(_ digits: Substring.UTF8View) -> UInt8? {
            guard digits.count == 2, let high = digits.first?.hexDigitValue, let low = digits.last?.hexDigitValue else { return nil }
            return high << 4 | low
        }
        while let byte = rest.first {
            if isHexadecimal {
                guard let value = pair(rest.prefix(2)) else { return nil }
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else if byte == UInt8(ascii: "\\") {
                rest = rest.dropFirst()
                if rest.first == UInt8(ascii: "\\") {
                    bytes.append(byte)
                    rest = rest.dropFirst()
                } else {
                    guard let value = pair(rest.prefix(2)) else { return nil }
                    bytes.append(value)
                    rest = rest.dropFirst(2)
                }
            } else {
                bytes.append(byte)
                rest = rest.dropFirst()
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func record(_ key: String, _ value: String) -> Record {
        let numbers = value.split(separator: ",", omittingEmptySubsequences: false).map { Int64($0) }
        guard numbers.count == 2, let first = numbers[0], let last = numbers[1], first >= 0, last >= 0 else {
            return .unreadable("the value '\(value.shortened)' is not two numbers")
        }
        guard let slash = key.firstIndex(of: "/") else {
            if key.utf8.count == 40, key.utf8.allSatisfy({ $0.hexDigitValue != nil }) { return .hashed }
            guard IPAddress(key) != nil else { return .unreadable("the key '\(key.shortened)' is not an address") }
            return .client(Lessons.Client(address: key, passes: UInt32(clamping: first), lastSeen: last))
        }
        let address = String(key[..<slash])
        guard IPAddress(address) != nil else { return .unreadable("the key '\(key.shortened)' does not begin with an address") }
        guard let (sender, recipient) = Self.split(key[key.index(after: slash)...]) else {
            return .unreadable("the key '\(key.shortened)' names no sender and recipient")
        }
        return .triplet(
            Lessons.Triplet(
                address: address, sender: sender, recipient: recipient, firstSeen: first, lastSeen: last,
                passed: last >= first && last - first >= delay))
    }

    /// Sender and recipient with a slash between; either may hold slashes of its own (RFC 5321 lets a local part have them).
    private static func split(_ text: Substring) -> (sender: String, recipient: String)? {
        var slashes = text.indices.filter { text[$0] == "/" }
        func halves(_ slash: Substring.Index) -> (String, String) { (String(text[..<slash]), String(text[text.index(after: slash)...])) }
        if slashes.first == text.startIndex {
            let (_, recipient) = halves(text.startIndex)
            return recipient.isEmpty ? nil : ("", recipient)
        }
        // The sender ends where its domain does, and a domain has no slash.
        if slashes.count > 1 { slashes = slashes.filter { text[..<$0].contains("@") && text[$0...].contains("@") } }
        guard let slash = slashes.first else { return nil }
        let (sender, recipient) = halves(slash)
        return recipient.isEmpty ? nil : (sender, recipient)
    }
}
