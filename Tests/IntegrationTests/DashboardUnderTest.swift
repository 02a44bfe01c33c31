import Foundation
import IntegrationSupport
import PosternCore
import PosternEngine
import PosternStorage

/// A daemon with a dashboard, a trap, and a day of history behind it.
struct DashboardUnderTest {
    let postern: PosternProcess
    let port: UInt16

    var address: String { "http://127.0.0.1:\(port)" }

    static func start(_ lines: String = "greylist: { delay: 1h }", admin: String = "", history: Bool = false) async throws
        -> DashboardUnderTest
    {
        let port = try FreePort.next()
        let trap = try FreePort.next()
        let postern = try PosternProcess(
            lines,
            further: [
                "{ name: admin, role: admin, address: \"127.0.0.1:\(port)\"\(admin) }",
                "{ name: trap, role: trap, mode: tarpit, address: \"127.0.0.1:\(trap)\" }",
            ])
        if history { try await Self.fill(postern.folder.path + "/data") }
        try await postern.start()
        return DashboardUnderTest(postern: postern, port: port)
    }

    /// Two days of figures that rise and fall as mail does.
    private static func fill(_ folder: String) async throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let store = try SQLiteStore(path: folder + "/postern.db")
        let now = Int64(Date().timeIntervalSince1970) / 60
        for minute in stride(from: now - 2880, to: now, by: 5) {
            let wave = 1 + sin(Double(minute % 1440) / 1440 * 2 * .pi)
            var figures = HistoryMinute(minute: minute)
            figures.accepted = Int64(20 * wave) + minute % 7
            figures.deferred = Int64(12 * wave) + minute % 5
            figures.rejected = Int64(5 * wave) + minute % 3
            figures.delayed = Int64(3 * wave)
            figures.delayMilliseconds = figures.delayed * (400_000 + minute % 11 * 60_000)
            figures.mostTrapped = 3 + minute % 9
            figures.trapMilliseconds = figures.mostTrapped * 60_000
            try await store.record(figures)
        }
        await store.close()
    }

    /// Asks the policy service, and returns its action.
    @discardableResult
    func mail(
        from sender: String, to recipient: String, client: String = "192.0.2.7", helo: String = "mail.example.org", account: String = ""
    ) throws
        -> String
    {
        let attributes = [
            ("client_address", client), ("helo_name", helo), ("sender", sender), ("recipient", recipient), ("instance", UUID().uuidString),
            ("sasl_username", account),
        ]
        return try postern.client().ask(attributes) ?? ""
    }

    func get(_ path: String, headers: [String: String] = [:]) throws -> WebClient.Answer {
        try WebClient.request("GET", path, port: port, headers: headers)
    }

    /// As a script does it.
    func post(_ path: String, _ json: String, headers: [String: String] = ["X-Postern-Request": "1"]) throws -> WebClient.Answer {
        try WebClient.request(
            "POST", path, port: port, headers: ["content-type": "application/json"].merging(headers) { $1 }, body: json)
    }
}
