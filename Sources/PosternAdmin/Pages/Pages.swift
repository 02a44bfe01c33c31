import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore
import PosternControl
import PosternCore

extension AdminSite {
    func addPages(to router: Router<BasicRequestContext>) {
        router.get("/") { _, _ in await self.page(.overview) { () async throws(ControlFailure) in try await self.overview() } }
        router.get("/find") { request, _ in
            let fields = FormFields(request.uri.query ?? "")
            return await self.page(.find) { () async throws(ControlFailure) in try await self.find(fields["q"]) }
        }
        router.get("/find/:reference") { request, context in
            let reference = context.parameters.get("reference") ?? ""
            let fields = FormFields(request.uri.query ?? "")
            return await self.page(.find, done: fields["done"]) { () async throws(ControlFailure) in
                try await self.decision(reference)
            }
        }
        router.post("/act") { request, _ in
            let fields = FormFields(String(buffer: try await request.body.collect(upTo: AdminSettings.maximumBody)))
            return await self.act(fields)
        }
    }

    /// What stands in the middle of a page.
    struct Content {
        var title: String
        var html: String
        var status = HTTPResponse.Status.ok
    }

    /// A whole page; a failure becomes one that says what is wrong.
    func page(_ page: Page, done: String? = nil, failed: String? = nil, _ content: () async throws(ControlFailure) -> Content) async
        -> Response
    {
        let state = try? await status()
        var failed = failed
        var shown: Content
        do throws(ControlFailure) {
            shown = try await content()
        } catch {
            failed = error.message
            shown = Content(title: page.name, html: Template.render("message", ["title": page.name, "text": ""]), status: error.status)
        }
        var values: [String: Any] = [
            "title": shown.title, "content": shown.html, "style": Asset.style.path, "script": Asset.script.path, "icon": Asset.icon.path,
            "version": state?.version ?? "",
            "pages": Page.allCases.map { ["href": $0.rawValue, "name": $0.name, "current": $0 == page] as [String: Any] },
        ]
        if let host = state?.hostname { values["host"] = host }
        if let done { values["done"] = done }
        if let failed { values["failed"] = failed }
        return .html(Template.render("frame", values), status: shown.status)
    }

    func loginPage(failed: Bool) -> Response {
        .html(Template.render("login", ["style": Asset.style.path, "failed": failed]), status: failed ? .forbidden : .ok)
    }

    func notFound() -> Response { .text("There is no such page.\n", status: .notFound) }
}

/// Words and colours for verdicts.
enum Shown {
    /// A class of the style sheet.
    static func tone(_ verdict: String) -> String {
        switch verdict {
        case "accept": "good"
        case "hold", "defer": "wait"
        default: "bad"
        }
    }

    static func verdict(_ verdict: String) -> String {
        switch verdict {
        case "accept": "accepted"
        case "hold": "held"
        case "defer": "deferred"
        case "reject": "rejected"
        case "drop": "dropped"
        default: verdict
        }
    }

    /// `2026-11-20 08:15:30` of an RFC 3339 time.
    static func time(_ text: String) -> String { text.count >= 19 ? String(text.prefix(19).replacing("T", with: " ")) : text }

    static func sender(_ text: String) -> String { text.isEmpty ? "<>" : text }

    /// 12,345 with thin spaces.
    static func count(_ value: some BinaryInteger) -> String {
        let digits = String(value.magnitude)
        var out = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { out += "\u{202f}" }
            out.append(digit)
        }
        return (value < 0 ? "−" : "") + out
    }

    static func decimal(_ value: Double, places: Int = 1) -> String { String(format: "%.\(places)f", value) }

    static func bytes(_ value: Int64) -> String {
        var value = Double(value)
        for unit in ["B", "KiB", "MiB"] {
            if value < 1024 { return unit == "B" ? "\(Int(value)) B" : "\(decimal(value)) \(unit)" }
            value /= 1024
        }
        return "\(decimal(value)) GiB"
    }

    static func span(seconds: Int64) -> String { WallTime.Span.seconds(seconds).spoken }
}
