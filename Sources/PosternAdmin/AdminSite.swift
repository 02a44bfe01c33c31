import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import PosternControl
import PosternCore
import PosternEngine
import PosternMetrics

/// The pages, the JSON interface and the metrics. All that is read or changed goes through the same handler as the verbs of
/// the command line.
public final class AdminSite: Sendable {
    let control: ControlHandler
    let registry: MetricRegistry
    let live: LiveNumbers
    let effects: EffectReports
    /// What the forms of our pages carry: other origins cannot read it.
    let formToken = Secret.make()
    private let logger: Logger

    /// `live` is to be run by the caller.
    public init(control: ControlHandler, registry: MetricRegistry, live: LiveNumbers, logger: Logger) {
        self.control = control
        self.registry = registry
        self.live = live
        effects = EffectReports(control)
        self.logger = logger
    }

    func addRoutes(to router: Router<BasicRequestContext>) {
        router.get("/health") { _, _ in Response.text("ok\n") }
        router.get("/ready") { _, _ in await self.readiness() }
        router.get("/metrics") { _, _ in try await self.metrics() }
        router.get("/live") { request, _ in self.events(request) }
        router.get("/assets/:name") { request, context in
            guard let asset = Asset.named(context.parameters.get("name") ?? "") else { return self.notFound() }
            return asset.response(request)
        }
        addPages(to: router)
        addInterface(to: router)
        router.get("**") { _, _ in self.notFound() }
    }

    /// What the control socket would answer.
    func ask(_ request: ControlRequest) async throws(ControlFailure) -> ControlReply {
        try await control.handle(request, by: "dashboard").get()
    }

    func status() async throws(ControlFailure) -> StatusReport {
        guard case .status(let status) = try await ask(.status) else { throw Self.unexpected }
        return status
    }

    static let unexpected = ControlFailure(.protocolMismatch, "the answer is not to what was asked")

    // MARK: - For programs

    private func readiness() async -> Response {
        do throws(ControlFailure) {
            let status = try await status()
            guard let store = status.store, store.state == "ok" else {
                return .text("the store does not work: \(status.store?.state ?? "")\n", status: .serviceUnavailable)
            }
            return .text("ready\n")
        } catch {
            return .text("\(error.message)\n", status: .serviceUnavailable)
        }
    }

    private func metrics() async throws -> Response {
        let page = MetricsPage(try await status(), registry, viewers: live.viewers)
        return .text(page.text, type: Exposition.contentType)
    }

    /// Server-sent events, one a second, until the viewer leaves or we stop.
    private func events(_ request: Request) -> Response {
        guard live.viewers < LiveNumbers.maximumViewers else {
            return .text("There are \(LiveNumbers.maximumViewers) viewers already.", status: .serviceUnavailable)
        }
        let live = live
        let body = ResponseBody { writer in
            guard let (id, events) = live.join() else { return try await writer.finish(nil) }
            defer { live.leave(id) }
            try await request.body.consumeWithCancellationOnInboundClose { _ in
                for await event in events { try await writer.write(ByteBuffer(string: event)) }
            }
            try await writer.finish(nil)
        }
        return Response(status: .ok, headers: [.contentType: "text/event-stream"], body: body)
    }
}
