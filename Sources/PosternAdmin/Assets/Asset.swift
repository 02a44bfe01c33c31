import HTTPTypes
import HummingbirdCore
import NIOCore

/// A file of ours that pages refer to. Its name changes with its content, so that browsers may keep it for good.
struct Asset: Sendable {
    let name: String
    private let type: String
    private let body: ByteBuffer

    var path: String { name }

    private init(_ stem: String, _ ending: String, type: String, _ text: String) {
        // FNV-1a: enough to tell one version from the next.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for octet in text.utf8 { hash = (hash ^ UInt64(octet)) &* 0x100_0000_01b3 }
        name = "\(stem)-\(String(hash, radix: 36)).\(ending)"
        self.type = type
        body = ByteBuffer(string: text)
    }

    static let style = Asset("postern", "css", type: "text/css; charset=utf-8", styleText)
    static let script = Asset("postern", "js", type: "text/javascript; charset=utf-8", scriptText)
    static let icon = Asset("postern", "svg", type: "image/svg+xml", iconText)

    static func named(_ name: String) -> Asset? { [style, script, icon].first { $0.name == name } }

    func response(_ request: Request) -> Response {
        Response(
            status: .ok, headers: [.contentType: type, .cacheControl: "public, max-age=31536000, immutable"],
            body: ResponseBody(byteBuffer: body))
    }

    /// A door in a wall, half open.
    private static let iconText = """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="#4a6fa5" d="M2 22V9a10 8 0 0 1 20 0v13z"/><path fill="#f4f1ea" d="M6 22V10a6 5 0 0 1 12 0v12z"/><path fill="#8a5a2b" d="M6 22V10a6 5 0 0 1 6-5l4 3v15l-4-1z"/><circle cx="13.7" cy="15" r="1" fill="#f4f1ea"/></svg>
        """
}
