import Foundation
import IntegrationSupport
import Testing

/// The dashboard as a person uses it, in a real browser. Pictures of all pages are kept in .build/screenshots.
@Suite(.servers("chromium"), .serialized, .timeLimit(.minutes(10)))
struct DashboardTests {
    private static let pages = [
        ("overview", "/"), ("overview-week", "/?span=7d"), ("find", "/find"), ("find-nothing", "/find?q=nobody@nowhere.example"),
        ("decision", ""), ("decision-gone", "/find/1K4X0M7Q0A0"), ("waiting", "/waiting"), ("lists", "/lists"), ("traps", "/traps"),
        ("throttled", "/throttled"), ("accounts", "/accounts"),
        ("effect", "/effect?since=24h"), ("changes", "/changes"),
    ]

    private static let pictures = ServerRoots.project + "/.build/screenshots"

    private func reference(in door: DashboardUnderTest, sender: String) throws -> String {
        let found = try door.get("/api/v1/decisions?from=\(sender)&limit=1").json() as? [[String: Any]]
        return try #require(found?.first?["reference"] as? String)
    }

    /// Mail of all kinds, some of it odd.
    private func traffic(_ door: DashboardUnderTest) throws {
        for number in 1...12 {
            try door.mail(from: "news\(number)@letters.example", to: "user\(number % 3)@example.test", client: "198.51.100.\(number)")
        }
        try door.mail(from: "", to: "postmaster@example.test")
        try door.mail(
            from: "billing@shop.example", to: "anna@example.test", client: "203.0.113.9",
            helo: "<script>alert(1)</script>" + String(repeating: "x", count: 225))
        try door.mail(
            from: "a-sender-with-a-rather-long-name+and-a-tag@subdomain.of.some.organisation.example", to: "bertha@example.test",
            client: "2001:db8:1:2:3:4:5:6", helo: "[192.0.2.200]")
        _ = try door.post("/api/v1/entries/add", #"[{"list":"block","pattern":"198.51.100.0/24","note":"a test"}]"#)
        _ = try door.post("/api/v1/entries/add", #"[{"list":"allow","kind":"client","pattern":"mail.partner.example","note":""}]"#)
        try door.mail(from: "spam@bots.example", to: "user1@example.test", client: "198.51.100.77")
    }

    private static let limits = """
        greylist: { delay: 1h }
        throttle: { mode: on, limits: ["address attempts 8/1h"], refuse_at: 3 }
        accounts: { mode: on, limits: ["account attempts 10/1h"], suspend: ["account attempts 30/1h"] }
        """

    /// Clients and accounts near a limit and past it, and one that a trap has listed.
    private func limited(_ door: DashboardUnderTest) async throws {
        for (client, count) in [("203.0.113.50", 6), ("203.0.113.51", 10), ("2001:db8:9::1", 40)] {
            for number in 0..<count { try door.mail(from: "a\(number)@much.example", to: "b\(number)@example.test", client: client) }
        }
        for (account, count) in [("ann@example.test", 7), ("berta@example.test", 14), ("carl@example.test", 35)] {
            for number in 0..<count {
                try door.mail(from: account, to: "c\(number)@elsewhere.example", client: "192.0.2.44", account: account)
            }
        }
        #expect(try await door.postern.verb("trap", "add", "old-address@example.test").status == 0)
        for client in ["198.51.100.5", "198.51.100.6"] {
            try door.mail(from: "x@bots.example", to: "old-address@example.test", client: client)
        }
        try await waitUntil("the trap has listed them", within: .seconds(10)) {
            try (door.get("/api/v1/harvest").json() as? [Any])?.count == 2
        }
    }

    @Test func `Every page can be read by everybody, light and dark, on a screen and on a telephone`() async throws {
        let door = try await DashboardUnderTest.start(Self.limits, history: true)
        try traffic(door)
        try await limited(door)
        let reference = try reference(in: door, sender: "billing")
        let address = door.address
        let wrong = try await Chromium.drive { browser in
            var wrong: [String] = []
            for (width, height) in [(1280, 900), (390, 844)] {
                for dark in [false, true] {
                    try browser.look(width: width, height: height, dark: dark)
                    for (name, path) in Self.pages {
                        try browser.open(address + (path.isEmpty ? "/find/\(reference)" : path))
                        let title = "\(name)-\(width < 600 ? "phone" : "screen")-\(dark ? "dark" : "light")"
                        let found = try browser.evaluate(PageRules.script) as? [String] ?? ["the rules did not run"]
                        wrong += found.map { "\(title): \($0)" }
                        for (role, name) in try browser.accessibilityTree()
                        where PageRules.named.subtracting(PageRules.exempt).contains(role) && name.isEmpty {
                            wrong.append("\(title): a \(role) has no name")
                        }
                        try browser.picture(to: "\(Self.pictures)/\(title).png")
                    }
                }
            }
            // A page that is not there any more answers 422, which the browser notes.
            wrong += browser.complaints.filter { !$0.contains("/find/1K4X0M7Q0A0") }
            return wrong
        }
        #expect(wrong.isEmpty, "\(wrong.joined(separator: "\n"))")
        try await door.postern.stop()
    }

    @Test func `Whoever wonders where a message is finds it, lets it through, and takes that back, without a mouse`() async throws {
        let door = try await DashboardUnderTest.start()
        try traffic(door)
        #expect(try door.mail(from: "billing@shop.example", to: "anna@example.test", client: "203.0.113.9").contains("DEFER"))
        let address = door.address
        try await Chromium.drive { browser in
            try browser.look(width: 1280, height: 900, dark: false)
            try browser.open(address)
            // By keyboard alone: the first stop skips the navigation, and each stop is to be seen.
            try browser.press("Tab")
            #expect(try browser.evaluate("document.activeElement.className") as? String == "skip")
            var stops = 0
            while try browser.evaluate("document.activeElement.textContent") as? String != "Find", stops < 10 {
                try browser.press("Tab")
                let outline = try browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") as? String
                #expect(outline == "solid", "the focus is not seen")
                stops += 1
            }
            try browser.press("Enter")
            try browser.await_("location.pathname === '/find'")
            _ = try browser.evaluate("document.getElementById('q').focus()")
            try browser.type("BILLING@shop")
            try browser.press("Enter")
            try browser.await_("location.search.includes('BILLING') && document.querySelectorAll('tbody tr').length === 2")
            _ = try browser.evaluate("document.querySelector('tbody a').click()")
            try browser.await_("document.querySelector('h1').textContent.startsWith('Decision')")
            let page = try browser.text()
            #expect(page.contains("It waits after 2 attempts. A retry passes from"))
            #expect(page.contains("back too early") && page.contains("203.0.113.9"))
            #expect(page.contains("What would happen now"))

            func button(_ label: String) -> String {
                "[...document.querySelectorAll('button')].find(b => b.textContent === \(Self.literal(label)))"
            }
            _ = try browser.evaluate("\(button("Let the next attempt through")).focus()")
            try browser.press("Enter")
            try browser.await_("document.querySelector('.done')")
            #expect(
                try browser.evaluate("document.querySelector('.done').innerText") as? String
                    == "The next attempt from billing@shop.example to anna@example.test passes, for 24 h from now. Undo")
        }
        #expect(try door.mail(from: "billing@shop.example", to: "anna@example.test", client: "192.0.2.99") == "action=DUNNO")
        try await Chromium.drive { browser in
            try browser.open(address + "/changes")
            _ = try browser.evaluate("document.querySelector('tbody button').click()")
            try browser.await_("document.body.innerText.includes('Undone: The next attempt from billing@shop.example')")
        }
        #expect(try door.mail(from: "billing@shop.example", to: "anna@example.test", client: "192.0.2.98").contains("DEFER"))
        try await door.postern.stop()
    }

    private static func literal(_ text: String) -> String { "'\(text)'" }

    @Test func `Numbers change while one looks on, and entries are added, kept longer and removed`() async throws {
        let door = try await DashboardUnderTest.start()
        let address = door.address
        try await Chromium.drive { browser in
            try browser.open(address)
            try browser.await_("document.querySelector('[data-key=deferred]').textContent === '0'")
            try door.mail(from: "a@late.example", to: "b@example.test")
            try browser.await_("document.querySelector('[data-key=deferred]').textContent === '1'", seconds: 5)
            let octets = try browser.evaluate(
                "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation')).filter(e => !e.name.endsWith('/live')).reduce((sum, e) => sum + e.transferSize, 0)"
            )
            #expect((octets as? Int ?? .max) < 200_000, "the overview takes \(octets ?? "")")

            try browser.open(address + "/lists")
            _ = try browser.evaluate("document.getElementById('entry').focus()")
            try browser.type("198.51.100.0/24")
            _ = try browser.evaluate("document.getElementById('list').value = 'block'; document.getElementById('for').value = '7d'")
            try browser.press("Enter")
            try browser.await_("document.querySelector('section[aria-labelledby=block] tbody th')?.textContent === '198.51.100.0/24'")
            #expect(
                try browser.text().contains("Added to the block list: the client 198.51.100.0/24, until "), "what was done, with its undo")
            #expect(try browser.evaluate("document.querySelector('.done button')?.textContent") as? String == "Undo")
            #expect(try door.mail(from: "a@late.example", to: "b@example.test", client: "198.51.100.4").hasPrefix("action=5"))
            _ = try browser.evaluate("document.getElementById('entry').focus()")
            try browser.type("not an address")
            try browser.press("Enter")
            try browser.await_("document.querySelector('.failed')?.textContent.includes('is not an address')")
            _ = try browser.evaluate("document.querySelector('section[aria-labelledby=block] .danger').click()")
            try browser.await_("!document.querySelector('section[aria-labelledby=block] tbody')")
        }
        #expect(try door.mail(from: "a@late.example", to: "b@example.test", client: "198.51.100.4").contains("DEFER"))
        try await door.postern.stop()
    }

    @Test func `Who is limited, suspended or trapped is seen, let through, released or taken off, and that is taken back`() async throws {
        let door = try await DashboardUnderTest.start(Self.limits)
        try await limited(door)
        let address = door.address
        @Sendable func undo(_ browser: Chromium) throws {
            _ = try browser.evaluate("document.querySelector('.done button').click()")
            try browser.await_("location.pathname === '/changes' && document.readyState === 'complete'")
        }
        @Sendable func rows(_ browser: Chromium, _ label: String) throws -> [String] {
            try browser.evaluate(
                "[...document.querySelectorAll('[aria-labelledby=\(label)] tbody tr')].map(r => r.querySelector('th').firstChild.data + ' ' + (r.querySelector('.state')||{textContent:''}).textContent)"
            ) as? [String] ?? []
        }
        @Sendable func press(_ browser: Chromium, _ name: String) throws {
            _ = try browser.evaluate("document.querySelectorAll('.done').forEach(e => e.remove())")
            _ = try browser.evaluate("document.querySelector('button[aria-label=\"\(name)\"]').focus()")
            try browser.press("Enter")
            try browser.await_("document.readyState === 'complete' && document.querySelector('.done')")
        }
        try await Chromium.drive { browser in
            try browser.look(width: 1280, height: 900, dark: false)
            try browser.open(address + "/throttled")
            #expect(try rows(browser, "who") == ["2001:db8:9::/64 refused", "203.0.113.51 held", "203.0.113.50 near"])
            try press(browser, "Forget what 2001:db8:9::/64 has done")
            #expect(try rows(browser, "who") == ["203.0.113.51 held", "203.0.113.50 near"])
            try undo(browser)
            try browser.open(address + "/throttled")
            #expect(try rows(browser, "who").map { $0.split(separator: " ")[0] } == ["2001:db8:9::/64", "203.0.113.51", "203.0.113.50"])
            try press(browser, "Trust 203.0.113.51 for good")
            #expect(try browser.text().contains("Allowed: the client 203.0.113.51, for good."))
            try undo(browser)
            // Whoever comes near while one looks on appears by itself.
            try browser.open(address + "/throttled")
            for number in 0..<6 { try door.mail(from: "x@y.example", to: "z\(number)@example.test", client: "203.0.113.99") }
            try browser.await_("document.body.innerText.includes('203.0.113.99')", seconds: 15)

            try browser.open(address + "/accounts")
            #expect(try rows(browser, "suspended").map { $0.split(separator: " ")[0] } == ["carl@example.test"])
            #expect(try rows(browser, "who") == ["berta@example.test refused", "ann@example.test near"])
            try press(browser, "Release carl@example.test")
            #expect(try rows(browser, "suspended").isEmpty)
            try undo(browser)
            #expect(try (door.get("/api/v1/accounts").json() as? [Any])?.count == 1)

            try browser.open(address + "/traps")
            #expect(try Set(rows(browser, "harvest")) == ["198.51.100.5 black", "198.51.100.6 black"])
            #expect(try browser.text().contains("policy"), "where it was seen")
            try press(browser, "Keep 198.51.100.5 listed for 30 days from now")
            try press(browser, "Take 198.51.100.6 off for good")
            #expect(try rows(browser, "harvest") == ["198.51.100.5 black"])
            try undo(browser)
            let export = try door.get("/traps/export").body
            #expect(export.hasPrefix("entry,list,expires,reason,colour,evidence,seen_at\n"))
            #expect(export.contains("\n198.51.100.6,block,20") && export.contains(",black,1,policy\n"), "\(export)")
        }
        // Trusted for a moment only: it is held again; the account stays stopped; the removed one is listed again.
        #expect(try await door.postern.verb("account", "list").output.contains("carl@example.test"))
        #expect(try await door.postern.verb("throttle", "list").output.contains("203.0.113.51"))
        #expect(try await door.postern.verb("block", "list").output.contains("198.51.100.6"))
        let changes = try door.get("/api/v1/changes").body
        #expect(changes.contains("Released the account authenticated as carl@example.test"))
        try await door.postern.stop()
    }

    @Test func `Away from this machine a token and TLS stand before everything`() async throws {
        let certificate = try await Certificate(hostname: "localhost")
        let folder = try TemporaryFolder("admin-tls")
        try certificate.copy(to: folder, "tls")
        let token = "correct-horse-battery"
        chmod(try folder.write(token + "\n", to: "token"), 0o600)
        let settings =
            ", tls_certificate: \"\(folder.file("tls/certificate.pem"))\", tls_key: \"\(folder.file("tls/key.pem"))\", token_file: \"\(folder.file("token"))\""
        let door = try await DashboardUnderTest.start(admin: settings)
        let address = "https://127.0.0.1:\(door.port)"
        try await Chromium.drive { browser in
            try browser.open(address + "/login")
            try browser.picture(to: "\(Self.pictures)/login.png")
            #expect(try browser.evaluate(PageRules.script) as? [String] == [])
            try browser.go(to: address + "/find")
            try browser.await_("location.pathname === '/login' && document.readyState === 'complete'")
            for (given, page) in [("wrong", "/login"), (token, "/")] {
                _ = try browser.evaluate("document.getElementById('token').focus()")
                try browser.type(given)
                try browser.press("Enter")
                try browser.await_("location.pathname === '\(page)' && document.readyState === 'complete' && document.querySelector('h1')")
                if page == "/login" { try browser.await_("document.querySelector('.failed')") }
            }
            try browser.await_("document.querySelector('h1').textContent === 'Overview'")
            #expect(try browser.evaluate("document.cookie") as? String == "", "a script sees the cookie")
            try browser.await_("document.querySelector('[data-key=deferred]')")
            let metrics = try browser.evaluate("fetch('/metrics').then(r => r.text())") as? String
            #expect(metrics?.contains("postern_decisions_total") == true)
        }
        try await door.postern.stop()
    }
}
