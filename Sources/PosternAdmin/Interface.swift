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
                let before = fields["before"].flatMap { Int64($0) }
                guard before != nil || (fields["before"] ?? "").isEmpty else {
                    throw ControlFailure(.badData, "before is the number of a change")
                }
                let request = ControlRequest.changes(before: before, limit: try Self.limit(fields))
                guard case .changes(let changes) = try await self.ask(request) else { throw Self.unexpected }
                return .json(changes)
            }
        }
        router.get("/api/v1/report") { request, _ in
            let fields = FormFields(request.uri.query ?? "")
            return await self.answer { () async throws(ControlFailure) in
                guard let span = ChartSpan(rawValue: fields["since"] ?? ChartSpan.week.rawValue) else {
                    throw ControlFailure(.badData, "since is one of \(ChartSpan.allCases.map(\.rawValue).joined(separator: ", "))")
                }
                return .json(try await self.effects.report(span))
            }
        }
        router.post("/api/v1/undo") { request, _ in
            await self.change(request, UndoDraft.self) { .undo(change: $0.change) }
        }
        router.post("/api/v1/act") { request, _ in await self.change(request, ActionDraft.self, optional: ["note"]) { .act($0) } }
        router.post("/api/v1/release") { request, _ in
            await self.change(request, ReleaseDraft.self, optional: ["milliseconds"]) { .release($0) }
        }
        router.post("/api/v1/entries/add") { request, _ in
            await self.change(request, [EntryDraft].self, optional: ["note"]) { .add(entries: $0) }
        }
        router.post("/api/v1/entries/remove") { request, _ in await self.change(request, EntryName.self) { .remove($0) } }
        router.post("/api/v1/throttled/act") { request, _ in await self.change(request, LimitedDraft.self) { .actOnLimited($0) } }
        router.post("/api/v1/harvest/act") { request, _ in await self.change(request, HarvestDraft.self) { .actOnHarvest($0) } }
        router.post("/api/v1/accounts/release") { request, _ in
            await self.change(request, AccountDraft.self) { .releaseAccount(name: $0.account) }
        }
        router.post("/api/v1/forget") { request, _ in await self.change(request, Search.self, optional: ["limit"]) { .forget($0) } }
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
        let limit = try Self.limit(fields)
        return Search(
            reference: fields["reference"], address: fields["ip"], sender: fields["from"], recipient: fields["to"], anywhere: fields["q"],
            age: age, limit: limit)
    }

    private static func limit(_ fields: FormFields) throws(ControlFailure) -> Int {
        guard let text = fields["limit"], !text.isEmpty else { return 100 }
        guard let number = Int(text) else { throw ControlFailure(.badData, "limit is a number") }
        return number
    }

    /// What a body may leave out.
    private static var leftOut: [String: Any] { ["note": "", "limit": 100, "milliseconds": WallTime.Span.minutes(10).milliseconds] }

    /// Reads a body; the keys in `optional` may be left out of it, or of each of its elements.
    private func draft<Draft: Decodable>(_ body: Data, optional: [String]) throws(ControlFailure) -> Draft {
        let defaults = Self.leftOut.filter { optional.contains($0.key) }
        func filled(_ value: Any) -> Any {
            if let list = value as? [Any] { return list.map(filled) }
            guard let object = value as? [String: Any] else { return value }
            return object.merging(defaults) { given, _ in given }
        }
        do {
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            let value = try JSONSerialization.jsonObject(with: body)
            return try decoder.decode(Draft.self, from: JSONSerialization.data(withJSONObject: filled(value), options: .fragmentsAllowed))
        } catch let error as DecodingError {
            throw ControlFailure(.badData, "the body is not what is wanted here: \(error.words)")
        } catch {
            throw ControlFailure(.badData, "the body is not JSON")
        }
    }

    private func change<Draft: Decodable>(
        _ request: Request, _: Draft.Type, optional: [String] = [], _ make: (Draft) -> ControlRequest
    ) async -> Response {
        await answer { () async throws(ControlFailure) in
            let body: ByteBuffer
            do {
                body = try await request.body.collect(upTo: AdminSettings.maximumBody)
            } catch {
                throw ControlFailure(.badData, "the body has more than \(AdminSettings.maximumBody) octets, or did not come whole")
            }
            let draft: Draft = try self.draft(Data(body.readableBytesView), optional: optional)
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

extension DecodingError {
    /// For whoever wrote the body.
    fileprivate var words: String {
        func place(_ context: Context, _ key: (any CodingKey)? = nil) -> String {
            (context.codingPath + (key.map { [$0] } ?? [])).map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ".")
        }
        switch self {
        case .keyNotFound(let key, let context): return "\(place(context, key)) is missing"
        case .valueNotFound(_, let context): return "\(place(context)) is empty"
        case .typeMismatch(_, let context), .dataCorrupted(let context):
            let place = place(context)
            return place.isEmpty ? "it is of another form" : "\(place) is not such as it may be"
        @unknown default: return "it is of another form"
        }
    }
}
