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
        let router = Router(context: BasicRequestContext.self)
        site.addRoutes(to: router)
        let pages = router.buildResponder()
        return { request, writer, channel in
            let context = BasicRequestContext(source: .init(channel: channel, logger: self.logger))
            var response: Response
            do {
                if let turnedAway = await self.turnAway(request) {
                    response = turnedAway
                    // Whoever waited for a word before the body may send it all the same, or another request (RFC 9110 §10.1.1).
                    if request.expectsContinue { response.headers[.connection] = "close" }
                } else {
                    if request.expectsContinue { try await writer.writeInformationalHead(HTTPResponse(status: .continue)) }
                    response = try await self.answer(request) { try await pages.respond(to: $0, context: context) }
                }
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

    /// What is answered by the head of a request alone; `nil` where its body is wanted, or a page.
    private func turnAway(_ request: Request) async -> Response? {
        let path = request.uri.path
        // What a load balancer or a monitor asks, by whatever name, says nothing that needs a token.
        let isProbe = path == "/health" || path == "/ready"
        // RFC 9112 §3.2.
        guard let authority = request.head.authority, isProbe || !authority.isEmpty else {
            return refusal(of: request, "A request says by one Host whom it is for.", .badRequest)
        }
        guard (request.head.path ?? "").utf8.count <= AdminSettings.maximumHeader else {
            return refusal(of: request, "A request's target has at most \(AdminSettings.maximumHeader) octets.", .uriTooLong)
        }
        guard request.headers.reduce(0, { $0 + $1.name.rawName.utf8.count + $1.value.utf8.count }) <= AdminSettings.maximumHeader else {
            return refusal(
                of: request, "A request's header fields have at most \(AdminSettings.maximumHeader) octets.", .requestHeaderFieldsTooLarge)
        }
        if isProbe { return wrongMethod(request, of: [.get, .head]) }
        guard isOurs(authority) else {
            return refusal(
                of: request, "This listener is not called that. Open it by its address, or name it in listeners[].hosts.",
                .misdirectedRequest)
        }
        if settings.token != nil, path != "/login", !path.hasPrefix("/assets/"), !isKnown(request) {
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
        return wrongMethod(request, of: [.get, .head, .post]) ?? (request.method == .post ? turnAway(change: request) : nil)
    }

    private func wrongMethod(_ request: Request, of allowed: [HTTPRequest.Method]) -> Response? {
        guard !allowed.contains(request.method) else { return nil }
        let names = allowed.map(\.rawValue).joined(separator: ", ")
        var response = refusal(of: request, "What is known here is \(names).", .methodNotAllowed)
        response.headers[.allow] = names
        return response
    }

    /// A change must come from a page of ours, or from a program that a browser cannot be made to imitate.
    private func turnAway(change request: Request) -> Response? {
        guard isOfOurOrigin(request) else { return refusal(of: request, "This form was not sent from here.", .forbidden) }
        guard let length = request.headers[.contentLength].flatMap({ Int($0) }) else {
            return refusal(of: request, "A request that changes something says by Content-Length how many octets it has.", .lengthRequired)
        }
        let maximum = isLogin(request) ? AdminSettings.maximumLogin : AdminSettings.maximumBody
        guard length <= maximum else {
            return refusal(of: request, "A request has at most \(maximum) octets.", .contentTooLarge)
        }
        guard request.uri.path.hasPrefix("/api/") else { return nil }
        // Neither can be sent to another origin without asking it first, which is never granted (Fetch §4.8).
        guard request.headers[.contentType]?.lowercased().hasPrefix("application/json") == true,
            request.headers[.authorization] != nil || request.headers[Self.marker] != nil
        else {
            return .json(
                APIFailure(error: "a change needs the header X-Postern-Request, or a token, and a body of application/json"),
                status: .forbidden)
        }
        return nil
    }

    private func answer(_ request: Request, _ pages: (Request) async throws -> Response) async throws -> Response {
        guard request.method == .post else {
            if isLogin(request) { return site.loginPage(failed: false) }
            // RFC 9110 §9.3.2: as GET would be answered, without the body.
            var head = request.head
            head.method = .get
            return try await pages(Request(head: head, body: request.body))
        }
        var request = request
        let body = try await request.collectBody(upTo: AdminSettings.maximumBody)
        if isLogin(request) { return await login(FormFields(String(buffer: body))) }
        if !request.uri.path.hasPrefix("/api/") {
            let fields = FormFields(String(buffer: body))
            guard let token = fields["form_token"], Secret.equal(token, site.formToken) else {
                return .text("The form is too old, or not ours: go back, reload the page, and send it again.", status: .forbidden)
            }
        }
        return try await pages(request)
    }

    private func isLogin(_ request: Request) -> Bool { request.uri.path == "/login" && settings.token != nil }

    private static let marker = HTTPField.Name("X-Postern-Request") ?? .userAgent

    // MARK: - Who asks

    /// Whether a Host header names us. Over a UNIX socket there is no name that could lead elsewhere, but a proxy's is checked too.
    private func isOurs(_ authority: String) -> Bool {
        let (host, settings) = (Self.host(of: authority.lowercased()), settings)
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
            return Secret.equal(header.dropFirst(7).drop { $0 == " " }, token)
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

    private func login(_ fields: FormFields) async -> Response {
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

extension Request {
    /// Whether its sender waits for a word before the body (RFC 9110 §10.1.1).
    fileprivate var expectsContinue: Bool { headers[.expect]?.lowercased() == "100-continue" }
}
