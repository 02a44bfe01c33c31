import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdCore
import PosternControl
import PosternCore
import PosternEngine

/// The JSON interface: what the verbs print with `--json`, over HTTP. docs/dashboard.md lists it.
extension AdminSite {
    func addInterface(to router: Router<BasicRequestContext>) {
        router.get("/api/v1/status") { _, _ in await self.answer { () async throws(ControlFailure) in .json(try await self.status()) } }
        router.get("/api/v1/now") { _, _ in Response.json(self.live.now) }
        router.get("/api/v1/decisions") { request, _ in
            await self.answer { () async throws(ControlFailure) in
                guard case .decisions(let found) = try await self.ask(.decisions(try self.search(request))) else { throw Self.unexpected }
                return .json(found)
            }
        }
        router.get("/api/v1/waiting") { request, _ in
            await self.answer { () async throws(ControlFailure) in
                guard case .waiting(let found) = try await self.ask(.waiting(try self.search(request))) else { throw Self.unexpected }
                return .json(found)
            }
        }
        router.get("/api/v1/explain") { request, _ in
            let fields = FormFields(request.uri.query ?? "")
            let question = Question(
                address: fields["ip"] ?? "", name: fields["name"] ?? "", helo: fields["helo"] ?? "", sender: fields["from"] ?? "",
                recipient: fields["to"] ?? "", account: fields["account"] ?? "")
            return await self.answer { () async throws(ControlFailure) in
                guard case .explanation(let explanation) = try await self.ask(.explain(question)) else { throw Self.unexpected }
                return .json(explanation)
            }
        }
        router.get("/api/v1/entries/:list") { _, context in
            let name = context.parameters.get("list") ?? ""
            return await self.answer { () async throws(ControlFailure) in
                guard let list = ListEntry.List(rawValue: name) else { throw ControlFailure(.badData, "a list is allow, block or trap") }
                guard case .entries(let entries) = try await self.ask(.entries(list: list)) else { throw Self.unexpected }
                return .json(entries)
            }
        }
        router.get("/api/v1/throttled") { request, _ in
            let fields = FormFields(request.uri.query ?? "")
            return await self.answer { () async throws(ControlFailure) in
                let limit = fields["limit"].map { Int($0) ?? 0 } ?? 100
                guard case .limits(let limits) = try await self.ask(.limits(limit: limit)) else { throw Self.unexpected }
                return .json(limits)
            }
        }
        router.get("/api/v1/accounts") { _, _ in
            await self.answer { () async throws(ControlFailure) in .json(try await self.suspendedAccounts()) }
        }
        router.get("/api/v1/harvest") { _, _ in
            await self.answer { () async throws(ControlFailure) in .json(try await self.harvested()) }
        }
        router.get("/api/v1/history") { request, _ in
            let fields = FormFields(request.uri.query ?? "")
            return await self.answer { () async throws(ControlFailure) in
                guard let age = WallTime.Span(fields["since"] ?? "24h"), let step = Int64(fields["step"] ?? "1") else {
                    throw ControlFailure(.badData, "since is a length of time such as 24h, step a number of minutes")
                }
                guard case .history(let history) = try await self.ask(.history(HistoryDraft(age: age, step: step))) else {
                    throw Self.unexpected
                }
                return .json(history)
            }
        }
        router.get("/api/v1/changes") { request, _ in
            let fields = FormFields(request.uri.query ?? "")
            return await self.answer { () async throws(ControlFailure) in
                let request = ControlRequest.changes(
                    before: fields["before"].flatMap { Int64($0) }, limit: fields["limit"].flatMap { Int($0) } ?? 100)
                guard case .changes(let changes) = try await self.ask(request) else { throw Self.unexpected }
                return .json(changes)
            }
        }
        router.get("/api/v1/report") { request, _ in
            let fields = FormFields(request.uri.query ?? "")
            return await self.answer { () async throws(ControlFailure) in
                .json(try await self.effects.report(ChartSpan(rawValue: fields["since"] ?? "") ?? .week))
            }
        }
        router.post("/api/v1/undo") { request, _ in
            await self.change(request, UndoDraft.self) { .undo(change: $0.change) }
        }
        router.post("/api/v1/act") { request, _ in await self.change(request, ActionDraft.self) { .act($0) } }
        router.post("/api/v1/release") { request, _ in await self.change(request, ReleaseDraft.self) { .release($0) } }
        router.post("/api/v1/entries/add") { request, _ in await self.change(request, [EntryDraft].self) { .add(entries: $0) } }
        router.post("/api/v1/entries/remove") { request, _ in await self.change(request, EntryName.self) { .remove($0) } }
        router.post("/api/v1/throttled/act") { request, _ in await self.change(request, LimitedDraft.self) { .actOnLimited($0) } }
        router.post("/api/v1/harvest/act") { request, _ in await self.change(request, HarvestDraft.self) { .actOnHarvest($0) } }
        router.post("/api/v1/accounts/release") { request, _ in
            await self.change(request, AccountDraft.self) { .releaseAccount(name: $0.account) }
        }
        router.post("/api/v1/forget") { request, _ in await self.change(request, Search.self) { .forget($0) } }
    }

    private struct AccountDraft: Decodable {
        var account: String
    }

    private struct UndoDraft: Decodable {
        var change: Int64
    }

    func answer(_ body: () async throws(ControlFailure) -> Response) async -> Response {
        do throws(ControlFailure) {
            return try await body()
        } catch {
            return .json(APIFailure(error: error.message), status: error.status)
        }
    }

    private func search(_ request: Request) throws(ControlFailure) -> Search {
        let fields = FormFields(request.uri.query ?? "")
        var age: WallTime.Span?
        if let text = fields["since"] {
            age = WallTime.Span(text)
            if age == nil { throw ControlFailure(.badData, "since is a length of time such as 2h") }
        }
        var limit = 100
        if let text = fields["limit"] {
            guard let number = Int(text) else { throw ControlFailure(.badData, "limit is a number") }
            limit = number
        }
        return Search(
            reference: fields["reference"], address: fields["ip"], sender: fields["from"], recipient: fields["to"], anywhere: fields["q"],
            age: age, limit: limit)
    }

    private func change<Draft: Decodable>(_ request: Request, _: Draft.Type, _ make: (Draft) -> ControlRequest) async -> Response {
        await answer { () async throws(ControlFailure) in
            let draft: Draft
            do {
                let body = try await request.body.collect(upTo: AdminSettings.maximumBody)
                let decoder = JSONDecoder()
                decoder.keyDecodingStrategy = .convertFromSnakeCase
                draft = try decoder.decode(Draft.self, from: Data(body.readableBytesView))
            } catch {
                throw ControlFailure(.badData, "the body is not what is wanted here: \(error)")
            }
            switch try await self.ask(make(draft)) {
            case .acted(let report): return .json(report)
            case .released(let report): return .json(report)
            case .added(let entries): return .json(entries)
            case .removed(let entry): return .json(entry)
            case .accountReleased(let report): return .json(report)
            case .forgotten(let count): return .json(["forgotten": count])
            default: throw Self.unexpected
            }
        }
    }
}
