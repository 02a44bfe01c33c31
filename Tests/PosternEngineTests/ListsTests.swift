import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

@Suite("Lists")
struct ListsTests {
    private func entry(
        _ list: ListEntry.List, _ kind: ListEntry.Kind, _ pattern: String, expires: WallTime? = nil, note: String = ""
    ) throws -> ListEntry {
        ListEntry(list, kind, try #require(Pattern(pattern)), expires: expires, note: note, added: WallTime(seconds: 0))
    }

    /// What a list makes of a first attempt: `allow`, `block`, or nothing.
    private func word(
        _ lists: Lists, _ address: String = "192.0.2.1", name: String? = nil, from sender: String = "alice@example.org",
        to recipient: String = "bob@example.net", at now: WallTime = WallTime(seconds: 1_800_000_000)
    ) -> String? {
        var site = Site()
        site.engine.lists = lists
        site.now = now
        switch site.rcpt(recipient, from: sender, address: address, name: name).causes[0] {
        case .allowed(let entry): return "allow \(entry.pattern)"
        case .blocked(let entry): return "block \(entry.pattern)"
        default: return nil
        }
    }

    @Test("the longest matching prefix decides, for allow and block alike")
    func longestPrefix() throws {
        let lists = Lists(entries: [
            try entry(.block, .client, "0.0.0.0/0"), try entry(.allow, .client, "10.0.0.0/8"), try entry(.block, .client, "10.1.0.0/16"),
            try entry(.allow, .client, "10.1.2.3"), try entry(.block, .client, "::/0"), try entry(.allow, .client, "2001:db8::/32"),
            try entry(.block, .client, "2001:db8:1::1"),
        ])
        for (address, expected) in [
            ("10.1.2.3", "allow 10.1.2.3"), ("10.1.2.4", "block 10.1.0.0/16"), ("10.2.0.1", "allow 10.0.0.0/8"),
            ("11.0.0.1", "block 0.0.0.0/0"),
            ("::ffff:10.1.2.3", "allow 10.1.2.3"), ("2001:db8:1::1", "block 2001:db8:1::1"), ("2001:db8:1::2", "allow 2001:db8::/32"),
            ("2001:db9::1", "block ::/0"),
        ] { #expect(word(lists, address) == expected, "\(address)") }
    }

    @Test("a prefix beats a name; of names the longest counts, and only confirmed ones")
    func names() throws {
        let lists = Lists(entries: [
            try entry(.allow, .client, "example.org"), try entry(.block, .client, "bad.example.org"),
            try entry(.block, .client, "198.51.100.0/24"),
        ])
        #expect(word(lists, name: "mx.example.org") == "allow example.org")
        #expect(word(lists, name: "example.org") == "allow example.org")
        #expect(word(lists, name: "a.bad.example.org") == "block bad.example.org")
        #expect(word(lists, name: "badexample.org") == nil)
        #expect(word(lists, "198.51.100.1", name: "mx.example.org") == "block 198.51.100.0/24")
        // What is merely said in HELO never counts.
        var site = Site()
        site.engine.lists = lists
        #expect(site.rcpt(helo: "mx.example.org").word == "new")
    }

    @Test("of an allow and a block that are equally narrow the allow wins")
    func tie() throws {
        let lists = Lists(entries: [
            try entry(.block, .client, "192.0.2.0/24"), try entry(.allow, .client, "192.0.2.0/24"),
            try entry(.block, .recipient, "bob@example.net"),
            try entry(.allow, .recipient, "bob@example.net"),
        ])
        #expect(lists.count == 4)
        #expect(word(lists) == "allow 192.0.2.0/24")
        #expect(word(lists, "203.0.113.1") == "allow bob@example.net")
    }

    @Test("a mailbox beats a local part beats a domain, the longest first")
    func mailboxes() throws {
        let lists = Lists(entries: [
            try entry(.block, .sender, "example.org"), try entry(.allow, .sender, "news@"),
            try entry(.block, .sender, "news@spam.example.org"),
            try entry(.allow, .sender, "good.example.org"),
        ])
        #expect(word(lists, from: "any@example.org") == "block example.org")
        #expect(word(lists, from: "Any@Deep.Example.ORG") == "block example.org")
        #expect(word(lists, from: "any@good.example.org") == nil)
        #expect(word(lists, from: "news@example.org") == nil)
        #expect(word(lists, from: "NEWS@spam.example.org") == "block news@spam.example.org")
        #expect(word(lists, from: "any@other.example") == nil)
    }

    @Test("an entry that has expired gives way to what lies behind it")
    func expiry() throws {
        let end = WallTime(seconds: 1_800_000_000)
        var lists = Lists(entries: [
            try entry(.allow, .client, "192.0.2.1", expires: end), try entry(.block, .client, "192.0.2.1", expires: end + .seconds(1)),
            try entry(.allow, .client, "192.0.2.0/24", expires: end + .seconds(2)), try entry(.block, .client, "192.0.0.0/16"),
        ])
        for expected in ["allow 192.0.2.1", "block 192.0.2.1", "allow 192.0.2.0/24", "block 192.0.0.0/16"].enumerated() {
            let now = end - .milliseconds(1) + .seconds(Int64(expected.offset))
            #expect(word(lists, at: now) == expected.element)
        }
        #expect(word(lists, at: end) == "block 192.0.2.1")
        lists.removeExpired(at: end + .seconds(1))
        #expect(lists.count == 2)
        lists.removeExpired(at: end + .days(1))
        #expect(lists.count == 1)
        #expect(word(lists, at: end) == "block 192.0.0.0/16")
    }

    @Test("an entry takes the place of one of the same list, kind and pattern, and can be taken out again")
    func insertAndRemove() throws {
        var lists = Lists()
        let pattern = try #require(Pattern("192.0.2.0/24"))
        lists.insert(try entry(.allow, .client, "192.0.2.0/24", note: "old"))
        lists.insert(try entry(.allow, .client, "192.0.2.0/24", note: "new"))
        lists.insert(try entry(.allow, .client, "198.51.100.0/24"))
        lists.insert(try entry(.block, .client, "203.0.113.0/24"))
        #expect(lists.count == 3)
        var removed: [Bool] = []
        removed.append(lists.remove(.block, .client, pattern))
        removed.append(lists.remove(.allow, .recipient, pattern))
        removed.append(lists.remove(.allow, .client, pattern))
        removed.append(lists.remove(.allow, .client, pattern))
        #expect(removed == [false, false, true, false])
        // Others of the same length are still found.
        #expect(word(lists) == nil)
        #expect(word(lists, "198.51.100.1") == "allow 198.51.100.0/24")
        #expect(word(lists, "203.0.113.1") == "block 203.0.113.0/24")
        lists.remove(.allow, .client, try #require(Pattern("198.51.100.0/24")))
        #expect(word(lists, "203.0.113.1") == "block 203.0.113.0/24")
        lists.remove(.block, .client, try #require(Pattern("203.0.113.0/24")))
        #expect(lists.count == 0)
        lists.insert(try entry(.allow, .client, "192.0.2.0/24"))
        #expect(word(lists) == "allow 192.0.2.0/24")
    }

    @Test("says the same as a search through all entries, over many of them")
    func model() throws {
        var random = Seeded(seed: 7)
        var lists = Lists()
        var flat: [ListEntry] = []
        let now = WallTime(seconds: 1_800_000_000)
        for _ in 0..<3000 {
            let address = IPAddress(v4: UInt32(0x0a00_0000) | UInt32(random.below(1 << 12)) << UInt32(random.below(12)))
            if random.chance(40) {
                let prefix = Prefix(address, length: random.pick([0, 8, 16, 20, 24, 28, 32]))
                let entry = ListEntry(
                    random.pick([.allow, .block]), .client, .prefix(prefix), expires: random.chance(30) ? now : nil,
                    added: WallTime(seconds: 0))
                if random.chance(30) {
                    let known = flat.contains { $0.list == entry.list && $0.pattern == entry.pattern }
                    let removed = lists.remove(entry.list, .client, entry.pattern)
                    #expect(removed == known)
                    flat.removeAll { $0.list == entry.list && $0.pattern == entry.pattern }
                } else {
                    lists.insert(entry)
                    flat.removeAll { $0.list == entry.list && $0.pattern == entry.pattern }
                    flat.append(entry)
                }
                #expect(lists.count == flat.count)
            } else {
                func length(_ entry: ListEntry) -> Int { if case .prefix(let prefix) = entry.pattern { prefix.length } else { -1 } }
                let matches = flat.filter { entry in
                    guard case .prefix(let prefix) = entry.pattern, entry.expires == nil else { return false }
                    return prefix.contains(address)
                }
                let best = matches.max { (length($0), $0.list == .allow ? 1 : 0) < (length($1), $1.list == .allow ? 1 : 0) }
                #expect(word(lists, address.description) == best.map { "\($0.list.rawValue) \($0.pattern)" })
            }
        }
    }

    // MARK: Patterns

    @Test(
        "patterns are read and printed",
        arguments: [
            ("192.0.2.1", "192.0.2.1"), ("192.0.2.0/24", "192.0.2.0/24"), ("2001:DB8::/32", "2001:db8::/32"),
            ("Example.ORG", "example.org"),
            (".example.org", "example.org"), ("example.org.", "example.org"), ("@Example.org", "example.org"),
            ("User@Example.org", "user@example.org"),
            ("News@", "news@"), ("@localhost", "localhost"), (#""A@b"@example.org"#, #""a@b"@example.org"#),
            (#""Jo"@example.org"#, "jo@example.org"),
            (#""a b"@example.org"#, #""a b"@example.org"#), (#""a\ b"@"#, #""a b"@"#), (#""*"@example.org"#, #""*"@example.org"#),
            ("a..b@example.org", "a..b@example.org"), ("x--y.example.org", "x--y.example.org"),
            ("user@[192.0.2.1]", "user@[192.0.2.1]"),
            ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"), ("münchen.de", "xn--mnchen-3ya.de"), ("@MÜNCHEN.de", "xn--mnchen-3ya.de"),
            ("Jo@MÜNCHEN.de", "jo@xn--mnchen-3ya.de"), ("_dmarc.example.org", "_dmarc.example.org"),
            ("user@localhost", "user@localhost"),
        ])
    func patterns(text: String, printed: String) throws {
        #expect(try #require(Pattern(text)).description == printed)
    }

    @Test(
        "slips are refused",
        arguments: [
            "", "@", "localhost", "*", "*.example.org", "@*.example.org", "user@*.example.org", "192.0.2.1/24", "192.0.2.0/33", "192.0.2",
            "192.0.2.300",
            "192.0.2.0-255", "2001:db8::/129", "2001:db8::1.example", "fe80::1%eth0.1", "exa mple.org", "example..org", "..example.org",
            "us er@example.org",
            "user@exa mple.org", "user@.example.org", "example.org/24", "example.org,example.com", "<user@example.org>", "example.org:25",
            "192.0.2.1;",
            String(repeating: "a", count: 321), "user@" + String(repeating: "a", count: 64) + ".org", "\"example.org\"", "(example.org)",
            "b\\195\\188cher.example", "ü" + String(repeating: "a", count: 58) + ".org", "u@ü" + String(repeating: "a", count: 58) + ".org",
            "*@example.org", "*@", "news-*@example.org", "a@b@example.org", "a b@example.org", #""a b@example.org"#, #""a"b"@example.org"#,
            #""a\"@example.org"#, "\"\"@example.org", "a,b@example.org", "-x.example.org", "x-.example.org", "example.org-",
            "@-example.org",
            "a@-example.org", "2.\u{fffd}\u{fffd}", "a\u{fffd}@example.org", "a@\u{fffd}.org",
        ])
    func slips(text: String) {
        #expect(Pattern(text) == nil)
    }

    @Test(
        "a slip is told what it may have meant",
        arguments: [
            ("*@example.org", "; write example.org for the whole domain, with all below it"),
            ("*.Example.org", "; write example.org for the whole domain, with all below it"),
            ("news-*@example.org", "; a '*' stands for no other characters"),
            ("a b@example.org", "; a local part with such characters stands in quotes: \"a b\"@"), ("*", ""), ("<a@example.org>", ""),
            ("@", ""), ("no at", ""), ("a@*.example.org", ""),
        ])
    func hints(text: String, hint: String) { #expect(Pattern.hint(text) == hint) }

    @Test("a quoted local part is the same however it is written, in entries, opting out and releases")
    func quotedLocalParts() throws {
        for written in [#""a b"@example.net"#, #""A\ b"@example.net"#, "a b@example.net"] {
            #expect(
                word(Lists(entries: [try entry(.block, .recipient, #""a b"@example.net"#)]), to: written) == #"block "a b"@example.net"#)
            #expect(word(Lists(entries: [try entry(.block, .recipient, #""a b"@"#)]), to: written) == #"block "a b"@"#)
            #expect(word(Lists(entries: [try entry(.block, .sender, #""a b"@example.net"#)]), from: written) == #"block "a b"@example.net"#)
            var site = Site()
            site.engine.lists.insert(Release(recipient: #""a b"@example.net"#, expires: WallTime(seconds: 4_000_000_000)))
            #expect(site.rcpt(written).action == .accept)
            site = Site()
            site.engine.settings.greylist.optOut = [try #require(Pattern(#""a b"@example.net"#))]
            #expect(site.rcpt(written).action == .accept)
            #expect(site.rcpt("other@example.net").action != .accept)
        }
        // Quotes that are not needed are none.
        #expect(word(Lists(entries: [try entry(.block, .sender, #""jo"@example.org"#)]), from: "Jo@example.org") == "block jo@example.org")
    }
}
