import NIOCore
import NIOHTTP1

/// Stands where a request's head is still as it was sent, and answers what is none.
final class RequestHeads: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// Requests that are not answered yet.
    private var open = 0
    private var closesAfterAnswer = false
    /// Whether we have said the last word: whatever still comes is dropped until the client leaves, which so can read that word.
    private var isOver = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isOver else { return }
        guard case .head(var head) = unwrapInboundIn(data) else { return context.fireChannelRead(data) }
        open += 1
        head.normalise()
        context.fireChannelRead(wrapInboundOut(.head(head)))
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        context.write(data, promise: promise)
        switch unwrapOutboundIn(data) {
        case .head(let head): closesAfterAnswer = head.headers.first(name: "Connection") == "close"
        case .body: break
        case .end:
            open -= 1
            if closesAfterAnswer { hangUp(context) }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard !isOver else { return }
        guard open == 0, let error = error as? HTTPParserError else { return context.fireErrorCaught(error) }
        let (status, words): (HTTPResponseStatus, String) =
            switch error {
            case .headerOverflow: (.requestHeaderFieldsTooLarge, "The request's head is too long.")
            case .invalidMethod: (.notImplemented, "GET, HEAD and POST are known here.")
            default: (.badRequest, "That is no request.")
            }
        let fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "\(words.utf8.count)"), ("Connection", "close")]
        context.write(
            wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: status, headers: HTTPHeaders(fields)))), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: words)))), promise: nil)
        context.write(wrapOutboundOut(.end(nil)), promise: nil)
        hangUp(context)
    }

    private func hangUp(_ context: ChannelHandlerContext) {
        isOver = true
        context.flush()
        context.close(mode: .output, promise: nil)
    }
}

extension HTTPRequestHead {
    /// Leaves one Host field, of the server that is meant, or none where the request does not say as it must (RFC 9112 §3.2).
    mutating func normalise() {
        let isOld = version == .http1_0
        // RFC 9110 §10.1.1: who speaks HTTP/1.0 cannot expect it.
        if isOld { headers.remove(name: "Expect") }
        var hosts = headers["Host"]
        // It is meant for whomever it reached: no page in a browser can have sent it.
        if isOld, hosts.isEmpty { hosts = ["localhost"] }
        if hosts.count == 1, let target = uri.absoluteTarget {
            // RFC 9112 §3.2.2: then the Host field says nothing.
            (hosts, uri) = ([target.authority], target.path)
        }
        headers.remove(name: "Host")
        guard hosts.count == 1, !hosts[0].utf8.contains(where: "@/?#\\ ,".utf8.contains) else { return }
        headers.add(name: "Host", value: hosts[0])
    }
}

extension String {
    /// The parts of `http://authority/path?query`; `nil` for other forms.
    fileprivate var absoluteTarget: (authority: String, path: String)? {
        let lowered = prefix(8).lowercased()
        guard let scheme = ["http://", "https://"].first(where: lowered.hasPrefix) else { return nil }
        let rest = dropFirst(scheme.count)
        let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        let path = rest[authority.endIndex...]
        return (String(authority), path.hasPrefix("/") ? String(path) : "/" + path)
    }
}
