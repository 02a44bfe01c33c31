import Foundation
import IntegrationSupport
import Testing

/// A real Prometheus takes what `/metrics` prints, and its rules.
@Suite(.servers("prometheus"), .timeLimit(.minutes(10)))
struct PrometheusTests {
    @Test func `Prometheus scrapes it, keeps it, and finds nothing to complain of`() async throws {
        let door = try await DashboardUnderTest.start()
        try door.mail(from: "a@late.example", to: "b@example.test")
        let root = try PrivateRoot("prometheus", folder: TemporaryFolder("prometheus"))
        let port = try FreePort.next()
        try root.folder.write(
            """
            global: { scrape_interval: 250ms, scrape_timeout: 250ms }
            scrape_configs:
              - job_name: postern
                static_configs: [{ targets: ["127.0.0.1:\(door.port)"] }]
            rule_files: [/etc/prometheus/postern.rules.yml]

            """, to: "etc/prometheus/prometheus.yml")
        let rules = try String(contentsOfFile: ServerRoots.project + "/packaging/prometheus/postern.rules.yml", encoding: .utf8)
        try root.folder.write(rules, to: "etc/prometheus/postern.rules.yml")
        let checked = try await root.run(["/usr/bin/promtool", "check", "rules", "/etc/prometheus/postern.rules.yml"])
        #expect(checked.succeeded, "\(checked.output)")
        #expect(checked.output.contains("SUCCESS: 15 rules found"))

        let page = try door.get("/metrics")
        #expect(page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
        let linted = try await root.run(["/usr/bin/promtool", "check", "metrics"], input: page.body)
        #expect(linted.succeeded && linted.output.isEmpty, "\(linted.output)")

        let prometheus = try root.start([
            "/usr/bin/prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/var/data",
            "--web.listen-address=127.0.0.1:\(port)",
        ])
        defer { prometheus.kill() }
        func query(_ expression: String) throws -> [[String: Any]] {
            let encoded = expression.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
            let answer = try? WebClient.request("GET", "/api/v1/query?query=\(encoded)", port: port)
            let data = (try? answer?.json() as? [String: Any])?["data"] as? [String: Any]
            return data?["result"] as? [[String: Any]] ?? []
        }
        func value(_ expression: String) throws -> String? { (try query(expression).first?["value"] as? [Any])?.last as? String }
        try await waitUntil("Prometheus has scraped\n\(prometheus.logTail)") {
            try value(#"postern_decisions_total{verdict="defer"}"#) == "1"
        }
        #expect(try value(#"up{job="postern"}"#) == "1")
        #expect(try value("postern_decision_duration_seconds_count{verdict=\"defer\"}") == "1")
        try door.mail(from: "c@late.example", to: "d@example.test")
        try await waitUntil("the next scrape", within: .seconds(60)) { try value(#"postern_decisions_total{verdict="defer"}"#) == "2" }
        // Every rule of ours is evaluated without an error.
        let listed = try #require(
            try WebClient.request("GET", "/api/v1/rules", port: port).json() as? [String: Any])
        #expect(!"\(listed)".contains("lastError"))
        try await door.postern.stop()
    }

    @Test func `Every metric is documented, and every documented one is known to the program`() async throws {
        let text = try String(contentsOfFile: ServerRoots.project + "/docs/metrics.md", encoding: .utf8)
        let documented = Set(text.matches(of: /\| `((?:postern|process)_[a-z_]+)` \|/).map { String($0.1) })
        let door = try await DashboardUnderTest.start(
            "greylist: { delay: 1h }\ndns: { resolvers: [\"127.0.0.1:1\"] }\ndns_lists: [bl.example.test]")
        try door.mail(from: "a@late.example", to: "b@example.test", helo: "[192.0.2.1]")
        let page = try door.get("/metrics").body
        let printed = Set(page.matches(of: #/\x23 TYPE ([a-z_]+) /#).map { String($0.1) })
        #expect(printed.subtracting(documented).isEmpty)
        // Those of a gateway and of an inner door are there where one is.
        let elsewhere = ["postern_gateway_", "postern_backend_", "postern_inner_"]
        let missing = documented.subtracting(printed).filter { name in !elsewhere.contains { name.hasPrefix($0) } }
        #expect(missing.isEmpty, "\(missing)")
        // Rules and Grafana's dashboard name only metrics that there are.
        for file in ["prometheus/postern.rules.yml", "grafana/postern.json"] {
            let source = try String(contentsOfFile: ServerRoots.project + "/packaging/" + file, encoding: .utf8)
            for match in source.matches(of: /(postern_[a-z_]+|process_[a-z_]+)[{\[ =)]/) {
                var name = String(match.1)
                for suffix in ["_bucket", "_sum", "_count"] where name.hasSuffix(suffix) && !documented.contains(name) {
                    name.removeLast(suffix.count)
                }
                #expect(documented.contains(name), "\(file): \(name)")
            }
        }
        #expect(
            try JSONSerialization.jsonObject(with: Data(contentsOf: URL(filePath: ServerRoots.project + "/packaging/grafana/postern.json")))
                is [String: Any])
        try await door.postern.stop()
    }
}
