import Foundation
import IntegrationSupport
import Testing

/// What programs and strangers meet at the admin listener.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct AdminOverTheWireTests {
    @Test func `A page elsewhere can neither read nor change anything`() async throws {
        let door = try await DashboardUnderTest.start()
        try door.mail(from: "a@late.example", to: "b@example.test")
        let page = try door.get("/")
        #expect(page.status == 200)
        #expect(page.headers["content-security-policy"]?.contains("default-src 'none'") == true)
        #expect(page.headers["content-security-policy"]?.contains("unsafe") == false)
        #expect(!page.body.contains("style=\"") && !page.body.contains("onclick"), "nothing inline, which the policy forbids")
        #expect(page.headers["cache-control"] == "no-store")

        // A name that was made to lead here (DNS rebinding).
        for host in ["evil.example", "127.0.0.1.evil.example:\(door.port)", "localhost.evil.example"] {
            #expect(try door.get("/", headers: ["Host": host]).status == 421, "\(host)")
        }
        for host in ["localhost", "localhost:\(door.port)", "mx.example.test", "[::1]:1"] {
            #expect(try door.get("/health", headers: ["Host": host]).status == 200, "\(host)")
        }
        // Forms without our token, with another, from another origin.
        let form = "list=block&entry=192.0.2.0/24"
        func send(_ body: String, _ headers: [String: String] = [:]) throws -> Int {
            try WebClient.request(
                "POST", "/lists", port: door.port,
                headers: ["content-type": "application/x-www-form-urlencoded"].merging(headers) { $1 }, body: body
            ).status
        }
        #expect(try send(form) == 403)
        #expect(try send(form + "&form_token=00") == 403)
        let lists = try door.get("/lists").body
        let token = try #require(lists.firstMatch(of: /name="form_token" value="([0-9a-f]+)"/)?.1)
        #expect(try send(form + "&form_token=\(token)", ["Origin": "http://evil.example"]) == 403)
        #expect(try send(form + "&form_token=\(token)", ["Sec-Fetch-Site": "cross-site"]) == 403)
        #expect(try door.post("/api/v1/entries/add", #"[{"list":"block","pattern":"192.0.2.0/24","note":""}]"#, headers: [:]).status == 403)
        #expect(
            try door.post(
                "/api/v1/entries/add", #"[{"list":"block","pattern":"192.0.2.0/24","note":""}]"#,
                headers: ["X-Postern-Request": "1", "content-type": "text/plain"]
            ).status == 403)
        #expect(try door.get("/api/v1/entries/block").json() as? [[String: Any]] == nil || door.get("/api/v1/entries/block").body == "[]\n")
        #expect(try send(form + "&form_token=\(token)", ["Origin": "http://127.0.0.1:\(door.port)"]) == 303)
        #expect(try door.get("/api/v1/entries/block").body.contains("192.0.2.0/24"))

        // RFC 9112 §3.2.
        #expect(try door.get("/", headers: ["Host": ""]).status == 400)

        // A monitor may come by any name; it learns nothing.
        #expect(try door.get("/health", headers: ["Host": "probe.example"]).status == 200)

        #expect(try send(String(repeating: "a", count: 70_000)) == 413)
        #expect(try WebClient.request("DELETE", "/", port: door.port).status == 405)
        #expect(try door.get("/nothing").status == 404)
        #expect(try WebClient.request("HEAD", "/", port: door.port).body.isEmpty)
        try await door.postern.stop()
        // To be stopped is no failure.
        #expect(!door.postern.log.contains("failed"), "\(door.postern.log)")
    }

    @Test func `A head that cannot be meant is refused, and whoever waits before the body gets a word`() async throws {
        let door = try await DashboardUnderTest.start()
        /// The status of the answer to a head as it is.
        func status(_ lines: String...) throws -> String {
            let client = try PolicyClient(port: door.port)
            client.send(lines.map { $0 + "\r\n" }.joined() + "\r\n")
            return String(try client.read(until: "\r\n\r\n").dropFirst("HTTP/1.1 ".count).prefix(3))
        }
        let (host, evil, long) = ("Host: 127.0.0.1", "Host: evil.example", String(repeating: "a", count: 60_000))
        // RFC 9112 §3.2, §3.2.2.
        #expect(try status("GET /api/v1/now HTTP/1.1", host) == "200")
        #expect(try status("GET /api/v1/now HTTP/1.1", host, evil) == "400")
        #expect(try status("GET /health HTTP/1.1") == "400")
        #expect(try status("GET /api/v1/now HTTP/1.0") == "200")
        #expect(try status("GET http://evil.example/api/v1/now HTTP/1.1", host) == "421")
        #expect(try status("GET http://localhost@evil.example/api/v1/now HTTP/1.1", host) == "400")
        #expect(try status("GET HTTP://localhost/api/v1/now HTTP/1.1", evil) == "200")
        #expect(try status("GET http://localhost HTTP/1.1", host) == "200")

        #expect(try status("GET /\(long) HTTP/1.1", host) == "414")
        #expect(try status("GET /health HTTP/1.1", host, "X: \(long)") == "431")
        #expect(try status("GET /health HTTP/1.1", host, "X: \(long)", "Y: \(long)") == "431")
        #expect(try status("NONSENSE / HTTP/1.1", host) == "501")
        #expect(try status("GET /", host) == "400")
        for method in ["OPTIONS", "PUT", "DELETE", "POST"] {
            let answer = try WebClient.request(method, "/ready", port: door.port)
            #expect(answer.status == 405 && answer.headers["allow"] == "GET, HEAD", "\(method)")
        }
        for path in ["/", "/nothing", "/find/1K4X0M7Q0A0", "/api/v1/nothing"] {
            let (head, get) = (try WebClient.request("HEAD", path, port: door.port), try door.get(path))
            #expect(head.status == get.status && head.headers["content-length"] == get.headers["content-length"], "\(path)")
            #expect(head.body.isEmpty, "\(path)")
        }

        // RFC 9110 §10.1.1.
        let body = #"{"recipient":"b@example.test"}"#
        let expecting =
            "\(host)\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\nExpect: 100-continue\r\n"
        let waiting = try PolicyClient(port: door.port)
        waiting.send("POST /api/v1/release HTTP/1.1\r\n\(expecting)X-Postern-Request: 1\r\n\r\n")
        #expect(try waiting.read(until: "\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n")
        waiting.send(body)
        #expect(try waiting.read(until: "\r\n\r\n").hasPrefix("HTTP/1.1 200 "))
        let refused = try PolicyClient(port: door.port)
        refused.send("POST /api/v1/release HTTP/1.1\r\n\(expecting)\r\n")
        #expect(try refused.read(until: "\r\n\r\n").hasPrefix("HTTP/1.1 403 "))
        #expect(refused.isClosedByPeer(within: 20))
        try await door.postern.stop()
    }

    @Test func `What the JSON interface refuses it says in JSON, by the names of its fields`() async throws {
        let door = try await DashboardUnderTest.start()
        let ours = ["X-Postern-Request": "1", "content-type": "application/json"]
        func failure(_ method: String, _ path: String, _ body: String = "", _ headers: [String: String]) throws -> String {
            let response = try WebClient.request(method, path, port: door.port, headers: headers, body: body)
            let object = try JSONSerialization.jsonObject(with: Data(response.body.utf8)) as? [String: Any]
            return "\(response.status) \(object?["error"] as? String ?? "?")"
        }
        #expect(try failure("POST", "/api/v1/release", "{}", ours) == "422 the body is not what is wanted here: recipient is missing")
        #expect(
            try failure("POST", "/api/v1/entries/add", #"[{"list":"block","pattern":3}]"#, ours)
                == "422 the body is not what is wanted here: [0].pattern is not such as it may be")
        #expect(try failure("POST", "/api/v1/act", "{", ours) == "422 the body is not JSON")
        #expect(try failure("GET", "/api/v1/nothing", "", [:]).hasPrefix("404 "))
        #expect(try failure("GET", "/api/v1/changes?before=x", "", [:]) == "422 before is the number of a change")
        for span in ["8d", "abc"] {
            #expect(try failure("GET", "/api/v1/report?since=\(span)", "", [:]) == "422 since is one of 1h, 24h, 7d, 30d")
        }
        let gone = try door.get("/find/1K4X0M7Q0A0")
        #expect(gone.status == 404 && gone.body.contains("There is no decision 1K4X0M7Q0A0 any more"))
        #expect(try failure("DELETE", "/api/v1/status", "", [:]).hasPrefix("405 "))
        #expect(try failure("GET", "/api/v1/status", "", ["Host": "evil.example"]).hasPrefix("421 "))
        // What has a meaning when it is left out may be left out.
        let released = try WebClient.request(
            "POST", "/api/v1/release", port: door.port, headers: ours, body: #"{"recipient": "b@example.test"}"#)
        #expect(released.status == 200, "\(released.body)")
        let added = try WebClient.request(
            "POST", "/api/v1/entries/add", port: door.port, headers: ours, body: #"[{"list": "block", "pattern": "192.0.2.9"}]"#)
        #expect(added.status == 200, "\(added.body)")
        try await door.postern.stop()
    }

    @Test func `The JSON interface says what the verbs say, and changes are noted and undone`() async throws {
        let door = try await DashboardUnderTest.start()
        try door.mail(from: "billing@shop.example", to: "anna@example.test")
        let found = try #require(try door.get("/api/v1/decisions?q=BILLING%40shop").json() as? [[String: Any]])
        #expect(found.map { $0["verdict"] as? String } == ["defer"])
        let reference = try #require(found.first?["reference"] as? String)
        let verb = try await door.postern.verb("decisions", "--reference", reference, "--json")
        #expect(try JSONSerialization.jsonObject(with: Data(verb.output.utf8)) as? [[String: String]] == found as? [[String: String]])
        #expect(try (door.get("/api/v1/waiting").json() as? [Any])?.count == 1)
        #expect(
            try door.get("/api/v1/explain?ip=192.0.2.7&from=billing@shop.example&to=anna@example.test").body.contains(#""verdict":"defer""#)
        )
        #expect(try door.get("/api/v1/explain?ip=nonsense&to=x@y.example").status == 422)

        let forgotten = try #require(
            try door.post("/api/v1/act", #"{"reference":"\#(reference)","action":"forget","note":""}"#).json() as? [String: Any])
        #expect(try (door.get("/api/v1/waiting").json() as? [Any])?.isEmpty == true)
        let change = try #require(forgotten["change"] as? Int)
        #expect(try door.post("/api/v1/undo", #"{"change":\#(change)}"#).status == 200)
        #expect(try (door.get("/api/v1/waiting").json() as? [Any])?.count == 1)
        #expect(try door.post("/api/v1/undo", #"{"change":\#(change)}"#).status == 422)
        // What the command line changes stands in the same log.
        _ = try await door.postern.verb("block", "add", "203.0.113.5")
        let changes = try #require(try door.get("/api/v1/changes").json() as? [[String: Any]])
        #expect(changes.map { $0["who"] as? String } == ["command line", "dashboard", "dashboard"])
        #expect(changes[0]["what"] as? String == "Added to the block list: the client 203.0.113.5.")
        #expect(try door.get("/lists/export/block").body == "entry,list,expires,reason,source,as\n203.0.113.5,block,,,own,client\n")
        _ = try await door.postern.verb("allow", "add", "--as", "recipient", "--note", "=1+1", "+noc@example.test")
        let export = try door.get("/lists/export/allow").body
        #expect(export == "entry,list,expires,reason,source,as\n'+noc@example.test,allow,,'=1+1,own,recipient\n")
        #expect(export == (try await door.postern.verb("export", "csv", "--colour", "white", "--source", "own").output))
        #expect(try door.get("/ready").status == 200)
        try await door.postern.stop()
    }

    @Test func `Where the log is redacted nobody is named here either`() async throws {
        let door = try await DashboardUnderTest.start(
            "greylist: { delay: 1h }\nlog: { redact: true }\naccounts: { mode: on, suspend: [account attempts 2/1h] }")
        try door.mail(from: "billing@shop.example", to: "anna@example.test")
        let reference = try #require(
            (try door.get("/api/v1/decisions?from=billing").json() as? [[String: Any]])?.first?["reference"] as? String)
        _ = try door.post("/api/v1/act", #"{"reference":"\#(reference)","action":"pass","note":""}"#)
        for number in 0..<4 {
            try door.mail(from: "billing@shop.example", to: "x\(number)@far.example", account: "billing@shop.example")
            if number < 2 { try door.mail(from: "billing@shop.example", to: "y@far.example", account: "anna@example.test") }
        }
        for path in [
            "/find?q=billing%40", "/find/\(reference)", "/waiting", "/changes", "/find/\(reference)?change=1", "/api/v1/decisions",
            "/api/v1/waiting", "/api/v1/changes", "/effect?since=24h", "/api/v1/report?since=24h", "/metrics",
            "/accounts", "/api/v1/accounts", "/api/v1/throttled", "/throttled", "/traps",
        ] {
            let answer = try door.get(path)
            // What was typed into the search is shown as it was typed.
            let body = answer.body.replacing("value=\"billing@\"", with: "")
            #expect(answer.status == 200 && !body.contains("billing") && !body.contains("anna"), "\(path)")
        }
        #expect(try door.get("/find/\(reference)").body.contains("…@shop.example"))
        // Whoever has no name to say releases by the id.
        let account = try #require(try (door.get("/api/v1/accounts").json() as? [[String: Any]])?.first)
        #expect(account["account"] as? String == "…@shop.example")
        let id = try #require(account["id"] as? String)
        #expect(try door.post("/api/v1/accounts/release", #"{"account":"\#(id)"}"#).status == 200)
        #expect(try door.get("/api/v1/accounts").body == "[]\n" && !door.get("/changes").body.contains("billing"))
        #expect(try door.mail(from: "billing@shop.example", to: "anna@example.test") == "action=DUNNO", "released all the same")
        // Nor does a search that is part of an address.
        try door.mail(from: "billing@shop.example", to: "carl@example.test")
        #expect(
            try door.post("/api/v1/forget", #"{"sender":"billing","recipient":"carl@"}"#).body == "{\"forgotten\":1}\n"
                && door.get("/changes").body.contains("Forgot one triplet from … to …@."))
        #expect(try !door.get("/changes").body.contains("billing"))
        // Neither what a client calls itself nor what is wrong with a request lets an address through.
        try door.mail(from: "shop@shop.example", to: "x@far.example", helo: "billing@shop.example")
        let client = try door.postern.client()
        client.send("request=smtpd_access_policy\nbilling@shop.example\n\n")
        #expect(client.isClosedByPeer(within: 20))
        let log = door.postern.log
        #expect(log.contains("malformed policy request") && log.contains(/helo="?…@shop\.example/))
        #expect(log.contains("msg=decision") && !log.contains("billing") && !log.contains("anna"))
        try await door.postern.stop()
    }

    @Test(.servers("swaks")) func `A certificate and a token that were renewed count after SIGHUP, and a broken one changes nothing`()
        async throws
    {
        let folder = try TemporaryFolder("admin-renewed")
        try await Certificate(hostname: "one.example").copy(to: folder, "tls")
        chmod(try folder.write("the-first-token-of-all\n", to: "token"), 0o600)
        let door = try await DashboardUnderTest.start(
            "greylist: { delay: 1s }",
            admin:
                ", tls_certificate: \"\(folder.file("tls/certificate.pem"))\", tls_key: \"\(folder.file("tls/key.pem"))\", token_file: \"\(folder.file("token"))\""
        )
        // What openssl's client gets to see: the certificate's name, and the status of the answer.
        func visit(_ token: String) async throws -> String {
            let root = try PrivateRoot("swaks", folder: TemporaryFolder("openssl"))
            let result = try await root.run(
                ["/usr/bin/openssl", "s_client", "-connect", "127.0.0.1:\(door.port)", "-ign_eof"],
                input: "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer \(token)\r\n\r\n")
            let subject = result.output.firstMatch(of: /subject=CN = ([a-z.]+)/)?.1 ?? "none"
            let status = result.output.firstMatch(of: /HTTP\/1\.1 ([0-9]+)/)?.1 ?? "none"
            return "\(subject) \(status)"
        }
        func reload(_ word: String) async throws {
            let before = door.postern.log.ranges(of: word).count
            door.postern.signal(SIGHUP)
            try await waitUntil("it says \(word)\n\(door.postern.log)", within: .seconds(10)) {
                door.postern.log.ranges(of: word).count > before
            }
        }
        #expect(try await visit("the-first-token-of-all") == "one.example 200")
        #expect(try await visit("another-one-altogether") == "one.example 401")
        try await Certificate(hostname: "two.example").copy(to: folder, "tls")
        try folder.write("another-one-altogether\n", to: "token")
        try await reload("reloaded")
        #expect(try await visit("the-first-token-of-all") == "two.example 401")
        #expect(try await visit("another-one-altogether") == "two.example 200")
        // RFC 9110 §11.4: one space or more.
        #expect(try await visit("  another-one-altogether") == "two.example 200")
        try folder.write("no certificate\n", to: "tls/certificate.pem")
        try await reload("was not reloaded")
        #expect(try await visit("another-one-altogether") == "two.example 200")
        // The review of the configuration stood in the log from the start, once, with its place and what to do.
        let findings = door.postern.log.split(separator: "\n").filter { $0.contains("level=warning") && $0.contains("postern.yaml:") }
        #expect(findings.contains { $0.contains("delay") }, "\(door.postern.log)")
        #expect(Set(findings.map { $0.drop { $0 != " " } }).count == findings.count, "each once")
        try await door.postern.stop()
    }

    @Test func `A viewer sees a number each second, and too many are turned away`() async throws {
        let door = try await DashboardUnderTest.start()
        let answer = try WebClient.request("GET", "/live", port: door.port, atMost: 1200)
        #expect(answer.headers["content-type"] == "text/event-stream")
        #expect(answer.body.hasPrefix("retry: 3000\nevent: now\ndata: {\"accepted\":0,"))
        #expect(answer.body.ranges(of: "event: now").count >= 2)
        // Whoever left is not counted for long.
        try await waitUntil("the viewer is gone") {
            try door.get("/metrics").body.contains("postern_dashboard_viewers 0\n")
        }
        try await door.postern.stop()
    }
}
