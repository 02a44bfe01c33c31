import Foundation

/// A message as a server left it in a maildir.
public struct DeliveredMessage: Sendable, Equatable {
    /// The whole file, as it was written.
    public let data: Data
    /// Name and value of each header field, in order, continuation lines joined by one space.
    public let headers: [Header]
    /// What follows the first empty line, with the file's own line ends.
    public let body: Data

    public struct Header: Sendable, Equatable {
        public let name: String
        public let value: String
    }

    public init(_ data: Data) {
        self.data = data
        var headers: [Header] = []
        var rest = data[...]
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            var line = rest[..<end]
            rest = rest[(end + 1)...]
            if line.last == UInt8(ascii: "\r") { line = line.dropLast() }
            if line.isEmpty { break }
            let text = String(decoding: line, as: UTF8.self)
            if text.first == " " || text.first == "\t", let last = headers.popLast() {
                headers.append(Header(name: last.name, value: last.value + " " + text.trimmingCharacters(in: .whitespaces)))
            } else if let colon = text.firstIndex(of: ":") {
                headers.append(
                    Header(
                        name: String(text[..<colon]),
                        value: text[text.index(after: colon)...].trimmingCharacters(in: .whitespaces)))
            }
        }
        self.headers = headers
        body = Data(rest)
    }

    /// The body as text.
    public var text: String { String(decoding: body, as: UTF8.self) }

    /// The first field of that name, whatever its case.
    public subscript(_ name: String) -> String? {
        all(name).first
    }

    /// Every field of that name, whatever its case.
    public func all(_ name: String) -> [String] {
        headers.filter { $0.name.lowercased() == name.lowercased() }.map(\.value)
    }

    /// The recipients that this copy was delivered for: `Delivered-To` of Postfix and OpenSMTPD, `Envelope-to` of Exim.
    public var recipients: [String] {
        (all("Delivered-To") + all("Envelope-to"))
            .flatMap { $0.split(separator: ",") }
            .map { $0.trimmingCharacters(in: .whitespaces) }
    }

    /// The reverse-path, without its angle brackets: empty for the null sender, nil where no `Return-Path` was added.
    public var returnPath: String? {
        self["Return-Path"]?.trimmingCharacters(in: CharacterSet(charactersIn: "<>"))
    }
}

/// The mail that a server delivered: one maildir for all of its mailboxes.
public struct Mailbox: Sendable {
    let root: PrivateRoot
    /// Of the maildir, below the root's folder.
    let path: String

    /// How many messages there are.
    public func count() throws -> Int {
        try names().count
    }

    /// All messages, by the names of their files, which start with the time of delivery.
    public func messages() throws -> [DeliveredMessage] {
        try names().map { name in
            DeliveredMessage(try Data(contentsOf: URL(fileURLWithPath: name)))
        }
    }

    /// Waits until there are at least `count` messages, and returns them.
    public func waitForMessages(_ count: Int = 1, within limit: Duration = .seconds(60)) async throws -> [DeliveredMessage] {
        try await waitUntil("\(count) messages in \(root.name)'s mailbox\n\(logTail)", within: limit) { try self.count() >= count }
        return try messages()
    }

    /// What its server told last, for a failure's text.
    private var logTail: String {
        ["var/log/mail.log", "var/log/exim4/mainlog", "output.log"].map { root.folder.read($0) }.joined().split(separator: "\n").suffix(40)
            .joined(separator: "\n")
    }

    private func names() throws -> [String] {
        let new = root.folder.file(path + "/new")
        guard FileManager.default.fileExists(atPath: root.folder.file(path)) else { return [] }
        // An ordinary user's servers write as subordinate users.
        if geteuid() != 0 { try root.makeReadable(path) }
        guard FileManager.default.fileExists(atPath: new) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: new).sorted().map { "\(new)/\($0)" }
    }
}
