import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import PosternCore

/// What stands before every page: who may ask, and what every answer says to a browser.
final class AdminDoor: Sendable {
    /// May change while it runs: a token or a certificate that was renewed.
    private let inForce: NIOLockedValueBox<AdminSettings>
    private var settings: AdminSettings { inForce.withLockedValue { $0 } }
    private let site: AdminSite
    private let logger: Logger
    private let sessions = BrowserSessions()

    init(settings: AdminSettings, site: AdminSite, logger: Logger) {
        inForce = NIOLockedValueBox(settings)
        self.site = site
        self.logger = logger
    }

    /// From here on these count. Browsers that have shown another token are to show the new one.
    func update(_ settings: AdminSettings) {
        let isOther = inForce.withLockedValue { inForce in
            defer { inForce = settings }
            return inForce.token != settings.token
        }
        if isOther { sessions.endAll() }
    }

    /// The cookie that stands for the token once a browser has shown it. The prefix makes browsers insist on TLS and path (RFC 6265bis §4.1.3).
    private static let cookie = "__Host-postern"

    /// No script or style but our own files, no plug-ins, no frames, forms to ourselves alone.
    private static let policy =
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

    func responder() -> HTTPChannelHandler.Responder {
        let router = Router(context: BasicRequestContext.self, options: .autoGenerateHeadEndpoints)
        site.addRoutes(to: router)
        let pages = router.buildResponder()
        return { request, writer, channel in
            let context = BasicRequestContext(source: .init(channel: channel, logger: self.logger))
            var response: Response
            do {
                response = try await self.answer(request) { try await pages.respond(to: $0, context: context) }
            } catch let error as HTTPError {
                response = self.refusal(of: request, error.body ?? error.status.reasonPhrase, error.status)
            } catch let error as HTTPParserError {
                throw error
            } catch {
                self.logger.warning("the dashboard failed", metadata: ["path": "\(request.uri.path)", "error": "\(error)"])
                response = .text("Something went wrong; the log says what.", status: .internalServerError)
            }
            if response.status == .notFound, response.body.contentLength == 0 {
                response = self.refusal(of: request, "There is nothing here by that name.", .notFound)
            }
            self.seal(&response)
            try await writer.write(response: response.head, body: request.method == .head ? ResponseBody() : response.body)
        }
    }

    private func answer(_ request: Request, _ pages: (Request) async throws -> Response) async throws -> Response {
        let path = request.uri.path
        // What a load balancer or a monitor asks, by whatever name, says nothing that needs a token.
        if path == "/health" || path == "/ready" { return try await pages(request) }
        // RFC 9112 §3.2.
        guard request.head.authority?.isEmpty == false else {
            return refusal(of: request, "A request says by Host whom it is for.", .badRequest)
        }
        guard isOurs(request.head.authority) else {
            return refusal(
                of: request, "This listener is not called that. Open it by its address, or name it in listeners[].hosts.",
                .misdirectedRequest)
        }
        if settings.token != nil {
            if path == "/login" { return try await login(request) }
            if path.hasPrefix("/assets/") { return try await pages(request) }
            guard isKnown(request) else {
                if request.headers[.authorization] != nil {
                    logger.warning("a wrong token for the dashboard", metadata: ["path": "\(path)"])
                    try? await Task.sleep(for: Self.penance)
                }
                guard request.method == .get, accepts(request, "text/html") else {
                    var response = refusal(of: request, "A token is needed.", .unauthorized)
                    response.headers[.wwwAuthenticate] = "Bearer"
                    return response
                }
                return .seeOther("/login")
            }
        }
        switch request.method {
        case .get, .head: return try await pages(request)
        case .post: return try await change(request, pages)
        default:
            var response = refusal(of: request, "GET, HEAD and POST are known here.", .methodNotAllowed)
            response.headers[.allow] = "GET, HEAD, POST"
            return response
        }
    }

    /// A change must come from a page of ours, or from a program that a browser cannot be made to imitate.
    private func change(_ request: Request, _ pages: (Request) async throws -> Response) async throws -> Response {
        guard isOfOurOrigin(request) else { return refusal(of: request, "This form was not sent from here.", .forbidden) }
        guard let length = request.headers[.contentLength].flatMap({ Int($0) }) else {
            return refusal(of: request, "A request that changes something says by Content-Length how many octets it has.", .lengthRequired)
        }
        guard length <= AdminSettings.maximumBody else {
            return refusal(of: request, "A request has at most \(AdminSettings.maximumBody) octets.", .contentTooLarge)
        }
        var request = request
        let body = try await request.collectBody(upTo: AdminSettings.maximumBody)
        if !request.uri.path.hasPrefix("/api/") {
            let fields = FormFields(String(buffer: body))
            guard let token = fields["form_token"], Secret.equal(token, site.formToken) else {
                return .text("The form is too old, or not ours: go back, reload the page, and send it again.", status: .forbidden)
            }
        } else {
            // Neither can be sent to another origin without asking it first, which is never granted (Fetch §4.8).
            guard request.headers[.contentType]?.lowercased().hasPrefix("application/json") == true,
                request.headers[.authorization] != nil || request.headers[Self.marker] != nil
            else {
                return .json(
                    APIFailure(error: "a change needs the header X-Postern-Request, or a token, and a body of application/json"),
                    status: .forbidden)
            }
        }
        return try await pages(request)
    }

    private static let marker = HTTPField.Name("X-Postern-Request") ?? .userAgent

    // MARK: - Who asks

    /// Whether a Host header names us. Over a UNIX socket there is no name that could lead elsewhere, but a proxy's is checked too.
    private func isOurs(_ authority: String?) -> Bool {
        guard let authority = authority?.lowercased(), !authority.isEmpty else { return false }
        let (host, settings) = (Self.host(of: authority), settings)
        return settings.hosts.contains(host) || settings.takesAnyAddress && Self.isAddress(host)
    }

    /// Without its port.
    static func host(of authority: String) -> String {
        if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") { return String(authority[...end]) }
        return String(authority.prefix { $0 != ":" })
    }

    private static func isAddress(_ host: String) -> Bool {
        IPAddress(host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host) != nil
    }

    private func isOfOurOrigin(_ request: Request) -> Bool {
        if let site = request.headers[.secFetchSite], site != "same-origin", site != "none" { return false }
        guard let origin = request.headers[.origin] else { return true }
        guard let scheme = origin.range(of: "://") else { return false }
        return String(origin[scheme.upperBound...]).lowercased() == request.head.authority?.lowercased()
    }

    private func isKnown(_ request: Request) -> Bool {
        guard let token = settings.token else { return true }
        if let header = request.headers[.authorization], header.lowercased().hasPrefix("bearer ") {
            return Secret.equal(header.dropFirst(7), token)
        }
        return cookie(of: request).map(sessions.holds) ?? false
    }

    private func cookie(of request: Request) -> String? {
        for pair in (request.headers[.cookie] ?? "").split(separator: ";") {
            let parts = pair.split(separator: "=", maxSplits: 1).map { $0.trimmingPrefix(while: \.isWhitespace) }
            if parts.count == 2, parts[0] == Self.cookie { return String(parts[1]) }
        }
        return nil
    }

    private func accepts(_ request: Request, _ type: String) -> Bool { request.headers[.accept]?.contains(type) ?? false }

    /// After a wrong token: guessing is slow, whoever guesses.
    private static let penance = Duration.seconds(1)

    private func login(_ request: Request) async throws -> Response {
        guard request.method == .post else { return site.loginPage(failed: false) }
        guard isOfOurOrigin(request), let length = request.headers[.contentLength].flatMap({ Int($0) }), length <= 4096 else {
            return .text("This form was not sent from here.", status: .forbidden)
        }
        var request = request
        let fields = FormFields(String(buffer: try await request.collectBody(upTo: 4096)))
        guard let given = fields["token"], let token = settings.token, Secret.equal(given, token) else {
            logger.warning("a wrong token for the dashboard")
            try? await Task.sleep(for: Self.penance)
            return site.loginPage(failed: true)
        }
        var response = Response.seeOther("/")
        let seconds = BrowserSessions.lifetime.components.seconds
        response.headers[.setCookie] = "\(Self.cookie)=\(sessions.begin()); Path=/; Max-Age=\(seconds); HttpOnly; Secure; SameSite=Strict"
        return response
    }

    // MARK: - Answers

    /// To a program in its own form, to a browser in words.
    private func refusal(of request: Request, _ words: String, _ status: HTTPResponse.Status) -> Response {
        request.uri.path.hasPrefix("/api/") ? .json(APIFailure(error: words), status: status) : .text(words, status: status)
    }

    private func seal(_ response: inout Response) {
        response.headers[.contentSecurityPolicy] = Self.policy
        response.headers[.xContentTypeOptions] = "nosniff"
        response.headers[Self.referrerPolicy] = "same-origin"
        response.headers[Self.openerPolicy] = "same-origin"
        response.headers[Self.resourcePolicy] = "same-origin"
        if response.headers[.cacheControl] == nil { response.headers[.cacheControl] = "no-store" }
        if settings.tls != nil { response.headers[.strictTransportSecurity] = "max-age=31536000" }
    }

    private static let referrerPolicy = HTTPField.Name("Referrer-Policy") ?? .userAgent
    private static let openerPolicy = HTTPField.Name("Cross-Origin-Opener-Policy") ?? .userAgent
    private static let resourcePolicy = HTTPField.Name("Cross-Origin-Resource-Policy") ?? .userAgent
}
