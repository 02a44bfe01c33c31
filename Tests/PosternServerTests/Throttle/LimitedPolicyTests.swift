import Foundation
import IntegrationSupport
import NIOConcurrencyHelpers
import Notices
import PosternConfiguration
import PosternCore
import PosternEngine
import PosternStorage
import Testing

@testable import PosternServer

@Suite("Limits in the policy service", .timeLimit(.minutes(10)))
struct LimitedPolicyTests {
    private func account(_ name: String, _ instance: Int, _ more: [(String, String)] = []) -> [(String, String)] {
        [("sasl_username", name), ("instance", "\(name).\(instance)"), ("recipient", "friend@example.com")] + more
    }

    @Test func `RCPT peeks and END-OF-MESSAGE charges, once`() async throws {
        let test = try await TestService { settings in
            settings.greylist.mode = .off
            settings.throttle.mode = .on
            settings.throttle.limits = [Limit(.address, .recipients, 10, per: .hours(1))]
        }
        let client = try test.client()
        // Asked about and never sent: costs nothing.
        for number in 0..<30 { #expect(try client.ask([("instance", "a\(number)")]) == "action=DUNNO") }
        // Ten in one message, charged once, though the end is told of twice.
        #expect(try client.ask([("instance", "b")]) == "action=DUNNO")
        let end = [("instance", "b"), ("protocol_state", "END-OF-MESSAGE"), ("recipient_count", "10"), ("size", "5000")]
        for _ in 0..<2 { #expect(try client.ask(end) == "action=DUNNO") }
        // The eleventh to the twentieth would be held, which a policy service does not do.
        #expect(try client.ask([("instance", "c")]) == "action=DUNNO")
        #expect(try client.ask([("instance", "c"), ("protocol_state", "END-OF-MESSAGE"), ("recipient_count", "10")]) == "action=DUNNO")
        let deferred = try #require(try client.ask([("instance", "d")]))
        #expect(deferred.hasPrefix("action=451 4.7.1 More mail than a person sends"))
        #expect(try client.ask([("instance", "e"), ("client_address", "198.51.100.9")]) == "action=DUNNO")
        await test.stop()
    }

    @Test func `The largest size that can be written down is a size like any other`() async throws {
        let test = try await TestService { settings in
            settings.throttle.mode = .on
            settings.accounts.mode = .on
        }
        let client = try test.client()
        for size in ["\(Int.max)", "18446744073709551615", "-9223372036854775808"] {
            for stage in ["RCPT", "END-OF-MESSAGE"] {
                let asked = [("protocol_state", stage), ("size", size), ("recipient_count", size), ("instance", size)]
                #expect(try client.ask(asked) != nil)
                #expect(try client.ask(asked + [("sasl_username", "ann")]) != nil)
            }
        }
        await test.stop()
    }

    @Test func `The recipients of one message are counted as they come`() async throws {
        let test = try await TestService { settings in
            settings.greylist.mode = .off
            settings.throttle.mode = .on
            settings.throttle.limits = [Limit(.address, .recipients, 3, per: .hours(1))]
        }
        let client = try test.client()
        var answers: [Bool] = []
        for number in 0..<8 {
            answers.append(
                try #require(try client.ask([("instance", "a"), ("recipient", "u\(number)@example.org")])).hasPrefix("action=451"))
        }
        #expect(answers == [false, false, false, false, false, false, true, true])
        await test.stop()
    }

    private func end(_ client: PolicyClient, _ account: String, _ instance: Int, _ recipients: Int) throws {
        let fields = [("protocol_state", "END-OF-MESSAGE"), ("recipient_count", "\(recipients)")]
        #expect(try client.ask(self.account(account, instance, fields)) == "action=DUNNO")
    }

    @Test func `What was refused here is no guess of the account's, and a recipient that is asked about twice is one`() async throws {
        let test = try await TestService { settings in
            settings.accounts.mode = .on
            settings.ourDomains = [DomainName("example.org")!]
        }
        let limits = try #require(test.limits)
        let client = try test.client()
        // Messages to 150, 100 and 120: of the third 50 pass.
        var passed = 0
        for (instance, count) in [150, 100, 120].enumerated() {
            var taken = 0
            for number in 0..<count {
                // In two lists of restrictions.
                for time in 0..<2 {
                    let answer = try client.ask(account("ann", instance, [("recipient", "u\(instance).\(number % 40)@example.com")]))
                    if answer == "action=DUNNO" {
                        if time == 1 { taken += 1 }
                    } else {
                        #expect(answer?.hasPrefix("action=554 5.7.1 Not sent: your account may send 300 recipients within 1h") == true)
                        break
                    }
                }
            }
            passed += taken
            try end(client, "ann", instance, taken)
        }
        #expect(passed == 300 && limits.suspensionsInForce.isEmpty)
        // What the mail server itself refused is one.
        for number in 0..<61 { #expect(try client.ask(account("bob", 0, [("recipient", "u\(number)@example.com")])) == "action=DUNNO") }
        try end(client, "bob", 0, 1)
        #expect(limits.suspensionsInForce.isEmpty)
        for number in 0..<3 { #expect(try client.ask(account("bob", 1, [("recipient", "u\(number)@example.com")])) == "action=DUNNO") }
        try end(client, "bob", 1, 1)
        #expect(limits.suspensionsInForce.map(\.reason) == ["account refusals 60/1h: 62 where 60 are allowed"])
        // It may write to those whom it is told to write to.
        #expect(try #require(try client.ask(account("bob", 2))).hasPrefix("action=554 5.7.1 This account is suspended"))
        #expect(try client.ask(account("bob", 3, [("recipient", "postmaster@example.org")])) == "action=DUNNO")
        #expect(try client.ask(account("bob", 4, [("recipient", "postmaster")])) == "action=DUNNO")
        #expect(try #require(try client.ask(account("bob", 5, [("recipient", "postmaster@example.com")]))).hasPrefix("action=554"))
        await test.stop()
    }

    @Test func `A message that is too large is not told to come again`() async throws {
        let test = try await TestService { settings in
            settings.accounts.mode = .on
            settings.accounts.limits = [Limit(.account, .bytes, 500 << 10, per: .hours(1))]
        }
        let client = try test.client()
        let answer = try #require(try client.ask(account("ann", 1, [("size", "3000000")])))
        #expect(
            answer.hasPrefix("action=554 5.7.1 Not sent: your account may send 500 KiB within 1h; this message alone is more than that ("))
        await test.stop()
    }

    @Test func `Exempt mail is not charged at its end, and an account among our own networks is`() async throws {
        let friend = ListEntry(.allow, .recipient, Pattern("friend@example.org")!, added: WallTime(seconds: 0))
        let test = try await TestService(lists: Lists(entries: [friend])) { settings in
            settings.greylist.mode = .off
            settings.networks.local = PrefixSet([Prefix("198.51.100.0/24")!])
            settings.throttle.mode = .on
            settings.throttle.limits = [Limit(.address, .messages, 100, per: .hours(1))]
            settings.accounts.mode = .on
            settings.accounts.limits = [Limit(.account, .messages, 100, per: .hours(1))]
            settings.accounts.suspend = []
        }
        let client = try test.client()
        let limits = try #require(test.limits)
        func used(_ address: String, _ account: String? = nil) -> [Double] {
            let attempt = Attempt(stage: .rcpt, client: Client(address: IPAddress(address)), account: account)
            return limits.standings(
                attempt, Engine(settings: EngineSettings(), domains: LastLabelDomains()), now: ServiceClock(after: nil).now().steady
            ).map(\.used)
        }
        let end = [("protocol_state", "END-OF-MESSAGE"), ("recipient_count", "1")]
        for number in 0..<5 {
            #expect(try client.ask([("recipient", "friend@example.org"), ("instance", "\(number)")]) == "action=DUNNO")
            #expect(try client.ask([("recipient", "friend@example.org"), ("instance", "\(number)")] + end) == "action=DUNNO")
        }
        #expect(used("192.0.2.1") == [0])
        // Nothing else is known of these.
        #expect(try client.ask([("instance", "x")] + end) == "action=DUNNO")
        #expect(used("192.0.2.1") == [1])
        #expect(try client.ask(account("ann", 1, end + [("client_address", "198.51.100.1")])) == "action=DUNNO")
        #expect(used("198.51.100.1", "ann") == [1])
        #expect(try client.ask([("instance", "y"), ("client_address", "198.51.100.1")] + end) == "action=DUNNO")
        #expect(used("198.51.100.1") == [0])
        await test.stop()
    }

    @Test func `What a limit by domain means is explained as it is meant`() async throws {
        var findings = Findings()
        findings.spf = SPFFinding(.pass, domain: DomainName("bulk.example"), identifies: true)
        var settings = EngineSettings()
        settings.looksUp = true
        settings.greylist.mode = .off
        settings.throttle.mode = .on
        settings.throttle.limits = [Limit(.identity, .messages, 2, per: .hours(1))]
        let limits = LimitService(throttle: settings.throttle, accounts: settings.accounts, seed: (1, 2))
        let clock = ServiceClock(after: nil)
        let store = MemoryStore()
        let decisions = DecisionService(
            engine: Engine(settings: settings, domains: LastLabelDomains()), store: store, clock: clock,
            log: DecisionLog(writer: try LineCapture().writer, isEnabled: false), counters: Counters(),
            evidence: FixedEvidence(findings: findings), limits: limits)
        let subject = LimitSubject(address: IPAddress("192.0.2.7"), identity: "bulk.example")
        for _ in 0..<6 { limits.accepted(subject, recipients: 1, size: 1, now: clock.now().steady) }
        let asked = Attempt(
            stage: .rcpt, client: Client(address: IPAddress("192.0.2.7")), sender: ReversePath("a@bulk.example"),
            recipient: Mailbox("user@example.org"))
        let (throttled, standings) = await decisions.standing(of: asked)
        #expect(throttled?.grade == .defer && standings.map(\.subject) == ["bulk.example"] && standings.map(\.used) == [6])
        await store.close()
    }

    @Test func `An account past its limit is refused for good, or its mail is held`() async throws {
        for action in AccountSettings.Action.allCases {
            let test = try await TestService { settings in
                settings.accounts.mode = .on
                settings.accounts.limits = [Limit(.account, .messages, 2, per: .hours(1))]
                settings.accounts.suspend = []
                settings.accounts.exempt = ["shop"]
                settings.accounts.action = action
            }
            let client = try test.client()
            for number in 0..<2 {
                #expect(try client.ask(account("ann", number)) == "action=DUNNO")
                #expect(
                    try client.ask(account("ann", number, [("protocol_state", "END-OF-MESSAGE"), ("recipient_count", "1")]))
                        == "action=DUNNO")
            }
            let answer = try #require(try client.ask(account("Ann", 9)))
            #expect(
                answer.hasPrefix(
                    action == .hold
                        ? "action=HOLD Not sent: your account" : "action=554 5.7.1 Not sent: your account may send 2 messages within 1h"))
            // From anywhere, and for nobody else.
            #expect(try #require(try client.ask(account("ann", 10, [("client_address", "198.51.100.1")]))).contains("Not sent"))
            #expect(try client.ask(account("bob", 1)) == "action=DUNNO")
            for number in 0..<5 {
                #expect(
                    try client.ask(account("shop", number, [("protocol_state", "END-OF-MESSAGE"), ("recipient_count", "1")]))
                        == "action=DUNNO")
                #expect(try client.ask(account("shop", number + 10)) == "action=DUNNO")
            }
            await test.stop()
        }
    }

    @Test func `New recipients and those of a domain are peeked at by RCPT and charged at the end, once`() async throws {
        let test = try await TestService { settings in
            settings.greylist.mode = .off
            settings.throttle.mode = .on
            settings.throttle.deferAt = 1
            settings.throttle.limits = [
                Limit(.address, .newRecipients, 3, per: .hours(1)), Limit(.recipientDomain, .recipients, 10, per: .hours(1)),
            ]
        }
        let client = try test.client()
        func ask(_ recipient: String, _ instance: String, from address: String = "192.0.2.7") throws -> Bool {
            let fields = [("instance", instance), ("recipient", recipient), ("client_address", address)]
            return try #require(try client.ask(fields)).hasPrefix("action=451")
        }
        func end(_ instance: String, _ recipients: Int, from address: String = "192.0.2.7") throws {
            let fields = [
                ("instance", instance), ("protocol_state", "END-OF-MESSAGE"), ("recipient_count", "\(recipients)"),
                ("client_address", address),
            ]
            for _ in 0..<2 { #expect(try client.ask(fields) == "action=DUNNO") }
        }
        // Asked about and never sent: costs nothing.
        for number in 0..<20 { #expect(try !ask("u\(number)@example.org", "a\(number)")) }
        // Within one message those before it count.
        for number in 0..<3 { #expect(try !ask("v\(number)@example.org", "b")) }
        #expect(try !ask("v1@example.org", "b"), "no new one")
        #expect(try ask("v3@example.org", "b"))
        try end("b", 3)
        #expect(try !ask("v2@example.org", "c"))
        #expect(try ask("w@example.org", "c"))
        // Three of either message are counted for the domain; whoever it is, four more may be written to.
        for number in 0..<3 { #expect(try !ask("x\(number)@example.org", "d", from: "198.51.100.1")) }
        try end("d", 3, from: "198.51.100.1")
        for number in 0..<5 { #expect(try ask("v\(number % 3)@example.org", "e", from: "198.51.100.2") == (number == 4)) }
        await test.stop()
    }

    @Test func `A message that is held is charged as one that is sent, once`() async throws {
        let lines = try LineCapture()
        let test = try await TestService(lines: lines) { settings in
            settings.accounts.mode = .on
            settings.accounts.limits = [
                Limit(.account, .messages, 1, per: .hours(1)), Limit(.account, .newRecipients, 1000, per: .hours(1)),
            ]
            settings.accounts.suspend = []
            settings.accounts.action = .hold
        }
        let client = try test.client()
        for number in 0..<3 {
            let answer = try #require(try client.ask(account("ann", number, [("recipient", "u\(number)@example.com")])))
            #expect(answer.hasPrefix(number == 0 ? "action=DUNNO" : "action=HOLD"))
            for _ in 0..<2 {
                _ = try client.ask(account("ann", number, [("protocol_state", "END-OF-MESSAGE"), ("recipient_count", "1")]))
            }
        }
        let attempt = Attempt(stage: .rcpt, client: Client(address: IPAddress("192.0.2.1")), account: "ann")
        let limits = try #require(test.limits)
        var settings = EngineSettings()
        settings.accounts.mode = .on
        let engine = Engine(settings: settings, domains: LastLabelDomains())
        let now = ServiceClock(after: nil).now().steady
        #expect(limits.standings(attempt, engine, now: now).map(\.used) == [3, 3])
        // Nobody is told that it was refused.
        let held = lines.lines.filter { $0.contains("reason=account-limit") }
        #expect(held.count == 2 && held.allSatisfy { $0.contains("verdict=hold") }, "\(lines.lines)")
        let counts = test.service.counters.values
        #expect(counts.accepted == 3 && counts.held == 2 && counts.rejected == 0)
        let numbers = limits.report(now: now).numbers
        #expect(numbers.accountsHeld == 2 && numbers.accountsRefused == 0)
        #expect(limits.nearLimits(now: now).map(\.state) == [.held])
        await test.stop()
    }

    @Test func `A bounce that an account hands in is its own, and its neighbours are not charged`() async throws {
        let test = try await TestService { settings in
            settings.greylist.mode = .off
            settings.accounts.mode = .on
            settings.accounts.limits = [Limit(.account, .messages, 1, per: .hours(1))]
            settings.accounts.suspend = []
            settings.throttle.mode = .on
            settings.throttle.limits = [Limit(.address, .messages, 1, per: .hours(1))]
        }
        let client = try test.client()
        #expect(try client.ask(account("ann", 1, [("sender", "")])) == "action=DUNNO")
        #expect(
            try client.ask(account("ann", 1, [("sender", ""), ("protocol_state", "END-OF-MESSAGE"), ("recipient_count", "1")]))
                == "action=DUNNO")
        #expect(try #require(try client.ask(account("ann", 2, [("sender", "")]))).hasPrefix("action=554"))
        // The same address without a log-in has sent nothing.
        #expect(try client.ask([("instance", "x")]) == "action=DUNNO")
        await test.stop()
    }

    @Test func `An account that suddenly writes to everybody is stopped, kept, and told of by webhook and command`() async throws {
        let hook = try ScriptedWebhook()
        let folder = FileManager.default.temporaryDirectory.appending(path: "postern-notice-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "told").path
        let store = MemoryStore()
        var accounts = AccountSettings()
        accounts.mode = .on
        accounts.limits = []
        accounts.suspend = [Limit(.account, .newRecipients, 5, per: .hours(1))]
        accounts.webhook = "http://127.0.0.1:\(hook.port)/hook"
        // A quote, a dollar and a semicolon stay what they are.
        accounts.command = ["/usr/bin/env", "sh", "-c", "cat > \"$0\"", file]
        let test = try await TestService(store: store) { $0.accounts = accounts }
        let limits = try #require(test.limits)
        let settings = accounts
        let upkeep = LimitUpkeep(
            limits: limits, store: store, clock: ServiceClock(after: nil),
            settings: { (settings, Configuration.Firewall(), "mx.example.org") }, logger: LogCapture().logger)
        let running = Task { await upkeep.run() }
        let client = try test.client()
        let name = "ann'; $home \"x"
        for number in 0..<6 { #expect(try client.ask(account(name, 1, [("recipient", "v\(number)@example.com")])) == "action=DUNNO") }
        let refused = try #require(try client.ask(account(name, 2)))
        #expect(refused.hasPrefix("action=554 5.7.1 This account is suspended"))
        try await eventually("told") { hook.bodies.count == 1 && (try? String(contentsOfFile: file, encoding: .utf8))?.isEmpty == false }
        let told = try #require(hook.bodies.first)
        #expect(told.contains("account-suspended") && told.contains("account new-recipients 5/1h"))
        let notice = try JSONDecoder().decode(Notice.self, from: Data(told.utf8))
        #expect(notice.account == name)
        #expect(try String(contentsOfFile: file, encoding: .utf8) == told)
        #expect(try await store.suspensions().map(\.account) == [name])
        #expect(limits.release(name, now: ServiceClock(after: nil).now().steady))
        #expect(try client.ask(account(name, 3)) == "action=DUNNO")
        running.cancel()
        await running.value
        await test.stop()
    }

    @Test func `A command is told while a webhook is still tried`() async throws {
        let hook = try ScriptedWebhook(failures: Webhook.tries)
        let file = FileManager.default.temporaryDirectory.appending(path: "postern-told-\(UUID().uuidString.prefix(8))").path
        defer { try? FileManager.default.removeItem(atPath: file) }
        var accounts = AccountSettings()
        accounts.mode = .on
        accounts.suspend = [Limit(.account, .recipients, 1, per: .hours(1))]
        accounts.webhook = "http://127.0.0.1:\(hook.port)/hook"
        accounts.command = ["/usr/bin/env", "sh", "-c", "cat > \"$0\"", file]
        let limits = LimitService(throttle: ThrottleSettings(), accounts: accounts, seed: (1, 2))
        let store = MemoryStore()
        let settings = accounts
        let upkeep = LimitUpkeep(
            limits: limits, store: store, clock: ServiceClock(after: nil),
            settings: { (settings, Configuration.Firewall(), "mx.example.org") }, logger: LogCapture().logger)
        let running = Task { await upkeep.run() }
        let subject = LimitSubject(address: IPAddress("192.0.2.7"), account: "ann")
        limits.accepted(subject, recipients: 2, size: 1, now: ServiceClock(after: nil).now().steady)
        // Between its tries it waits for six seconds in all.
        try await eventually("told") { (try? String(contentsOfFile: file, encoding: .utf8))?.isEmpty == false }
        #expect(hook.bodies.count < Webhook.tries)
        running.cancel()
        await running.value
        await store.close()
    }

    @Test func `What is left of an account's limits has its address's failed log-ins beside it, and nothing else of that`() async throws {
        var (throttle, accounts) = (ThrottleSettings(), AccountSettings())
        throttle.mode = .on
        accounts.mode = .on
        accounts.limits = [Limit(.account, .messages, 9, per: .hours(1)), Limit(.address, .failures, 5, per: .hours(1))]
        accounts.suspend = []
        let limits = LimitService(throttle: throttle, accounts: accounts, seed: (1, 2))
        let now = ServiceClock(after: nil).now().steady
        limits.failedLogIn(LimitSubject(address: IPAddress("192.0.2.7"), account: "ann"), now: now)
        let engine = Engine(settings: EngineSettings(), domains: LastLabelDomains())
        var attempt = Attempt(stage: .rcpt, client: Client(address: IPAddress("192.0.2.7")), recipient: Mailbox("user@example.org"))
        let ofClient = limits.standings(attempt, engine, now: now)
        #expect(!ofClient.isEmpty && ofClient.allSatisfy { $0.limit.unit != .failures })
        attempt.account = "ann"
        let ofAccount = limits.standings(attempt, engine, now: now)
        #expect(Set(ofAccount.map(\.limit)) == Set(accounts.limits))
        #expect(ofAccount.first { $0.limit.unit == .failures }.map { "\($0.subject) \($0.used)" } == "192.0.2.7 1.0")
    }

    @Test func `A webhook that fails is tried again`() async throws {
        let hook = try ScriptedWebhook(failures: 1)
        let notice = Notice(account: "ann", reason: "x", time: "2026-11-20T00:00:00Z", hostname: "mx")
        try await Webhook.post(notice, to: "http://127.0.0.1:\(hook.port)/")
        #expect(hook.bodies.count == 2 && hook.authorizations.isEmpty)
        try await Webhook.post(notice, to: "HTTP://user:p%40ss@127.0.0.1:\(hook.port)/")
        #expect(hook.authorizations == ["Basic \(Data("user:p@ss".utf8).base64EncodedString())"])
        #expect(await Command(["/bin/false"]).run(input: []) == .ended(status: 1))
        #expect(await Command(["/nowhere/at/all"]).run(input: []).isSuccess == false)
        #expect(await Command(["/bin/true"]).run(input: notice.json) == .ended(status: 0))
    }

    @Test func `Sets for nftables are written as a whole`() throws {
        let now = WallTime(seconds: 1000)
        let text = NftablesSets.text(
            [
                (try #require(Prefix("192.0.2.7")), now + .minutes(15)), (try #require(Prefix("2001:db8::/64")), now + .seconds(90)),
                (try #require(Prefix("192.0.2.8")), now),
            ], now: now)
        #expect(
            text == """
                add table inet postern
                add set inet postern refused4 { type ipv4_addr; flags timeout; }
                flush set inet postern refused4
                add element inet postern refused4 { 192.0.2.7 timeout 900s }
                add set inet postern refused6 { type ipv6_addr; flags interval, timeout; }
                flush set inet postern refused6
                add element inet postern refused6 { 2001:db8::/64 timeout 90s }

                """)
    }

    @Test func `Trusted files are read again when they change`() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "postern-trusted-\(UUID().uuidString.prefix(8))").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try "# ours\n192.0.2.0/24\nexample.org  # a list\n\n2001:db8::1\n".write(toFile: path, atomically: true, encoding: .utf8)
        let log = LogCapture()
        let files = TrustedFiles([path, path + ".missing"], logger: log.logger)
        #expect(files.refresh())
        #expect(!files.refresh())
        #expect(files.trusted.addresses.contains(try #require(IPAddress("192.0.2.9"))))
        #expect(files.trusted.vouches(for: try #require(DomainName("lists.example.org"))))
        try "nonsense line\nexample.net\n".write(toFile: path, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSinceNow: 5)], ofItemAtPath: path)
        #expect(files.refresh())
        #expect(!files.trusted.vouches(for: try #require(DomainName("example.org"))))
        #expect(files.trusted.vouches(for: try #require(DomainName("example.net"))))
        // One that is gone is told of once, and says what it said.
        for _ in 0..<2 {
            let told = log.lines.count
            try FileManager.default.moveItem(atPath: path, toPath: path + ".old")
            for _ in 0..<3 { #expect(!files.refresh()) }
            #expect(files.trusted.vouches(for: try #require(DomainName("example.net"))))
            #expect(log.lines.dropFirst(told).map { $0.contains("cannot be read any more") } == [true], "\(log.lines)")
            try FileManager.default.moveItem(atPath: path + ".old", toPath: path)
            #expect(files.refresh())
        }
        #expect(TrustedFiles.parse("a\n").wrong == 1)

        // As other systems end their lines; and what says nothing that is understood takes nothing away.
        try "example.org\r\n192.0.2.0/24\r\n".write(toFile: path, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSinceNow: 10)], ofItemAtPath: path)
        #expect(files.refresh())
        #expect(files.trusted.domains.count == 1)
        #expect(files.trusted.addresses.contains(try #require(IPAddress("192.0.2.9"))))
        try "<html>not found</html>\n".write(toFile: path, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSinceNow: 15)], ofItemAtPath: path)
        #expect(files.refresh())
        #expect(files.trusted.domains.count == 1)
    }
}

/// An HTTP server that keeps what it is told. One thread a connection.
final class ScriptedWebhook: Sendable {
    let port: UInt16
    private let state: NIOLockedValueBox<(bodies: [String], authorizations: [String], failures: Int)>
    private let descriptor: Int32

    init(failures: Int = 0) throws {
        let state = NIOLockedValueBox<(bodies: [String], authorizations: [String], failures: Int)>(([], [], failures))
        self.state = state
        let (descriptor, bound) = try ListeningSocket.open(.tcp(IPAddress("127.0.0.1")!, port: 0))
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
        self.descriptor = descriptor
        guard case .tcp(_, let port) = bound else { preconditionFailure() }
        self.port = port
        ScriptedBackend.thread {
            while true {
                let connection = accept(descriptor, nil, nil)
                guard connection >= 0 else { break }
                ScriptedBackend.thread {
                    let stream = BlockingStream(connection)
                    defer { close(connection) }
                    while true {
                        var length = 0
                        guard var line = stream.line() else { return }
                        while !line.isEmpty {
                            if line.lowercased().hasPrefix("content-length:") {
                                length = Int(line.dropFirst(15).trimmingCharacters(in: .whitespaces)) ?? 0
                            }
                            if line.lowercased().hasPrefix("authorization: ") {
                                let value = String(line.dropFirst(15))
                                state.withLockedValue { $0.authorizations.append(value) }
                            }
                            guard let next = stream.line() else { return }
                            line = next
                        }
                        guard let body = stream.bytes(length) else { return }
                        let isOK = state.withLockedValue { state in
                            state.bodies.append(String(decoding: body, as: UTF8.self))
                            state.failures -= 1
                            return state.failures < 0
                        }
                        stream.send("HTTP/1.1 \(isOK ? "204 No Content" : "503 Later")\r\ncontent-length: 0\r\n\r\n")
                    }
                }
            }
            close(descriptor)
        }
    }

    deinit { shutdown(descriptor, Int32(SHUT_RDWR)) }

    var bodies: [String] { state.withLockedValue { $0.bodies } }
    var authorizations: [String] { state.withLockedValue { $0.authorizations } }
}
