import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore
import PosternControl
import PosternCore
import PosternEngine

extension AdminSite {
    func addPages(to router: Router<BasicRequestContext>) {
        @Sendable func fields(_ request: Request) -> FormFields { FormFields(request.uri.query ?? "") }
        @Sendable func form(_ request: Request) async throws -> FormFields {
            FormFields(String(buffer: try await request.body.collect(upTo: AdminSettings.maximumBody)))
        }
        router.get("/") { request, _ in
            await self.page(.overview) { () async throws(ControlFailure) in try await self.overview(ChartSpan(fields(request)["span"])) }
        }
        router.get("/charts") { request, _ in
            await self.answer { () async throws(ControlFailure) in .html(try await self.charts(ChartSpan(fields(request)["span"]))) }
        }
        router.get("/find") { request, _ in
            await self.page(.find) { () async throws(ControlFailure) in try await self.find(fields(request)["q"]) }
        }
        router.get("/find/:reference") { request, context in
            let reference = context.parameters.get("reference") ?? ""
            return await self.page(.find, notice: await self.notice(fields(request))) { () async throws(ControlFailure) in
                try await self.decision(reference)
            }
        }
        router.get("/waiting") { _, _ in await self.page(.waiting) { () async throws(ControlFailure) in try await self.waiting() } }
        router.get("/lists") { request, _ in
            await self.page(.lists, notice: await self.notice(fields(request))) { () async throws(ControlFailure) in try await self.lists()
            }
        }
        router.get("/lists/export/:list") { _, context in
            guard let list = ListEntry.List(rawValue: context.parameters.get("list") ?? "") else { return self.notFound() }
            return await self.answer { () async throws(ControlFailure) in try await self.export(list) }
        }
        router.get("/traps") { request, _ in
            let fields = fields(request)
            return await self.page(.traps, notice: await self.notice(fields)) { () async throws(ControlFailure) in
                try await self.traps(fields["q"])
            }
        }
        router.get("/traps/export") { _, _ in
            await self.answer { () async throws(ControlFailure) in try await self.exportHarvest() }
        }
        router.get("/throttled") { request, _ in
            await self.page(.throttled, notice: await self.notice(fields(request))) { () async throws(ControlFailure) in
                try await self.throttled()
            }
        }
        router.get("/throttled/now") { _, _ in
            await self.answer { () async throws(ControlFailure) in .html(try await self.throttledTable()) }
        }
        router.get("/accounts") { request, _ in
            await self.page(.accounts, notice: await self.notice(fields(request))) { () async throws(ControlFailure) in
                try await self.accounts()
            }
        }
        router.get("/accounts/now") { _, _ in
            await self.answer { () async throws(ControlFailure) in .html(try await self.accountsTable()) }
        }
        router.get("/effect") { request, _ in
            await self.page(.effect) { () async throws(ControlFailure) in
                try await self.effect(ChartSpan(rawValue: fields(request)["since"] ?? "") ?? .week)
            }
        }
        router.get("/changes") { request, _ in
            await self.page(.changes, notice: await self.notice(fields(request))) { () async throws(ControlFailure) in
                try await self.changes()
            }
        }
        router.post("/act") { request, _ in await self.act(try await form(request)) }
        router.post("/lists") { request, _ in await self.changeLists(try await form(request)) }
        router.post("/traps") { request, _ in await self.actOnHarvest(try await form(request)) }
        router.post("/throttled") { request, _ in await self.actOnLimited(try await form(request)) }
        router.post("/accounts") { request, _ in await self.releaseAccount(try await form(request)) }
        router.post("/undo") { request, _ in await self.undo(try await form(request)) }
    }

    /// What was just done, above a page: looked up by the number of the change, so that no link can put words there.
    struct Notice {
        var text: String
        /// The change that a button takes back.
        var undo: Int64?
    }

    func notice(_ fields: FormFields) async -> Notice? {
        if fields["nothing"] != nil { return Notice(text: "There was nothing to change.") }
        guard let number = fields["change"].flatMap({ Int64($0) }), number < .max,
            case .changes(let found)? = try? await ask(.changes(before: number + 1, limit: 1)), let change = found.first,
            change.id == number
        else { return nil }
        return Notice(text: change.what, undo: change.canBeUndone ? change.id : nil)
    }

    /// What stands in the middle of a page.
    struct Content {
        var title: String
        var html: String
        var status = HTTPResponse.Status.ok
    }

    /// A whole page; a failure becomes one that says what is wrong.
    func page(
        _ page: Page, notice: Notice? = nil, failed: String? = nil, _ content: () async throws(ControlFailure) -> Content
    ) async
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
            "pages": Page.allCases.filter { $0.isListed(state) || $0 == page }.map {
                ["href": $0.rawValue, "name": $0.name, "current": $0 == page] as [String: Any]
            },
        ]
        if let host = state?.hostname { values["host"] = host }
        if let notice {
            values["done"] = notice.text
            values["token"] = formToken
            if let undo = notice.undo { values["undo"] = String(undo) }
        }
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
