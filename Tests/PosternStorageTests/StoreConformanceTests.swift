import Foundation
import NIOConcurrencyHelpers
import PosternCore
import PosternStorage
import Testing

@testable import PosternEngine

/// What every store keeps to.
@Suite(.timeLimit(.minutes(10)))
struct StoreConformanceTests {
    // MARK: - Transactions

    @Test(arguments: StoreKind.allCases)
    func `Nothing is known of what was never written`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let evidence = try await store.read(Needs(triplets: [triplet(1), triplet(2)], identities: [.network(1)]))
            #expect(evidence == Evidence(triplets: [nil, nil], identities: [nil]))
            #expect(try await store.read(Needs()) == Evidence())
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Rows come back as they were written, in the order they are asked for`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let waiting = row(deferrals: 7)
            let passed = row(at: noon + .milliseconds(1), passed: true, expires: noon + .days(36))
            let extreme = TripletRow(
                firstSeen: noon, lastSeen: noon - .days(3), passedAt: noon - .seconds(1), deferrals: .max, passes: .max,
                expires: noon - .milliseconds(1))
            let identity = IdentityRow(passes: .max, lastSeen: noon, expires: noon + .days(36))
            let domain = try Identity.spfDomain(#require(DomainName("example.org")))
            try await store.commit(
                triplets: [triplet(1): waiting, triplet(2): passed, triplet(3): extreme], identities: [domain: identity])
            let evidence = try await store.read(
                Needs(triplets: [triplet(3), triplet(9), triplet(1), triplet(2), triplet(1)], identities: [.network(1), domain]))
            #expect(evidence == Evidence(triplets: [extreme, nil, waiting, passed, waiting], identities: [nil, identity]))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `A row is written in place of what was there`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            try await store.commit(
                triplets: [triplet(1): row(passed: true)], identities: [.network(1): IdentityRow(passes: 1, lastSeen: noon, expires: noon)])
            let later = row(at: noon + .hours(1))
            let identity = IdentityRow(passes: 2, lastSeen: noon + .hours(1), expires: noon + .days(1))
            try await store.commit(triplets: [triplet(1): later], identities: [.network(1): identity])
            #expect(
                try await store.read(Needs(triplets: [triplet(1)], identities: [.network(1)]))
                    == Evidence(triplets: [later], identities: [identity]))
            let statistics = try await store.statistics()
            #expect(statistics.triplets == 1)
            #expect(statistics.identities == 1)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Triplets differ by identity, sender and recipient, and by where one ends and the next begins`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let name = try #require(DomainName("example.org"))
            let keys = [
                TripletKey(identity: .spfDomain(name), sender: "ab", recipient: "c"),
                TripletKey(identity: .nameDomain(name), sender: "ab", recipient: "c"),
                TripletKey(identity: .spfDomain(name), sender: "a", recipient: "bc"),
                TripletKey(identity: .spfDomain(name), sender: "", recipient: "abc"),
                TripletKey(identity: .spfDomain(name), sender: "abc", recipient: ""),
                TripletKey(identity: .network(Prefix(IPAddress(v4: 0), length: 24)), sender: "ab", recipient: "c"),
                TripletKey(identity: .network(Prefix(IPAddress(v4: 0), length: 16)), sender: "ab", recipient: "c"),
                TripletKey(identity: .network(Prefix(IPAddress(v6High: 0, low: 0), length: 24)), sender: "ab", recipient: "c"),
            ]
            for (index, key) in keys.enumerated() { try await store.commit(triplets: [key: row(deferrals: UInt32(index))]) }
            let rows = try await store.read(Needs(triplets: keys)).triplets
            #expect(rows.map { $0?.deferrals } == keys.indices.map { UInt32($0) })
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `A decision sees the rows it needs, once, and its answer comes after`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            try await store.commit(triplets: [triplet(1): row(deferrals: 4)])
            let calls = NIOLockedValueBox(0)
            let verdict = Verdict(.accept, [.greylistKnown])
            var memory = MessageMemory()
            memory.counted = true
            let expected = Decision(verdict: verdict, memory: memory)
            let needs = Needs(triplets: [triplet(2), triplet(1)], identities: [.network(1)])
            let decision = try await store.commit(needs) { [memory] evidence in
                calls.withLockedValue { $0 += 1 }
                #expect(evidence == Evidence(triplets: [nil, row(deferrals: 4)], identities: [nil]))
                return (Decision(verdict: verdict, memory: memory), nil)
            }
            #expect(decision == expected)
            #expect(calls.withLockedValue { $0 } == 1)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Transactions on one triplet that wait together see one another, in order`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let count = 2000
            let answers = NIOLockedValueBox<[UInt32]>([])
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                for _ in 0..<count {
                    store.submit(
                        BlockTransaction(
                            needs: Needs(triplets: [triplet(1)]),
                            decide: { evidence in
                                let before = evidence.triplets[0]?.deferrals ?? 0
                                return (.writing([triplet(1): row(deferrals: before + 1)]), nil)
                            },
                            completion: { result in
                                let deferrals = (try? result.get())?.0.changes.triplets[0].row.deferrals
                                let done = answers.withLockedValue { answers in
                                    answers.append(deferrals ?? 0)
                                    return answers.count
                                }
                                if done == count { continuation.resume() }
                            }))
                }
            }
            #expect(answers.withLockedValue { $0 } == Array(1...UInt32(count)))
            let statistics = try await store.statistics()
            #expect(statistics.triplets == 1)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Many submit at once and nothing is lost or seen half done`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let submitters = 8
            let each = kind == .sqliteFullSync ? 50 : 400
            try await withThrowingTaskGroup(of: Void.self) { group in
                for submitter in 0..<submitters {
                    group.addTask {
                        for number in 0..<each {
                            // Two rows that every transaction changes together.
                            try await store.commit(Needs(triplets: [triplet(0), triplet(1)])) { evidence in
                                #expect(evidence.triplets[0] == evidence.triplets[1])
                                let next = row(deferrals: (evidence.triplets[0]?.deferrals ?? 0) + 1)
                                let reference = Int64(submitter * each + number + 1)
                                return (.writing([triplet(0): next, triplet(1): next]), record(reference))
                            }
                        }
                    }
                    group.addTask {
                        for _ in 0..<each / 4 {
                            let rows = try await store.read(Needs(triplets: [triplet(0), triplet(1)])).triplets
                            #expect(rows[0] == rows[1])
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await store.row(triplet(0))?.deferrals == UInt32(submitters * each))
            #expect(try await store.statistics().decisions == submitters * each)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `What was answered is seen by every read after it`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            for number in 1...50 {
                try await store.commit(triplets: [triplet(number): row()], record: record(Int64(number), triplets: [triplet(number)]))
                #expect(try await store.row(triplet(number)) != nil)
                #expect(try await store.decisions(DecisionFilter(limit: 1)).first?.reference.value == Int64(number))
                #expect(try await store.statistics().triplets == number)
            }
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `A search that may look at so many looks at the newest`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            for number in 1...30 { try await store.commit(triplets: [triplet(number): row()], record: record(Int64(number))) }
            let found = try await store.decisions(DecisionFilter(limit: 100, mostSeen: 7)).map(\.reference.value)
            #expect(found == (Int64(24)...30).reversed())
            #expect(try await store.decisions(DecisionFilter(limit: 3, mostSeen: 7)).count == 3)
            #expect(try await store.decisions(DecisionFilter(sender: "nobody@nowhere", mostSeen: 7)).isEmpty)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `A message that names a recipient twice counts as one row`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            var changes = Changes()
            changes.triplets = [.init(key: triplet(1), row: row()), .init(key: triplet(1), row: row(deferrals: 2))]
            changes.identities = [
                .init(identity: .network(1), row: IdentityRow(passes: 1, lastSeen: noon, expires: noon)),
                .init(identity: .network(1), row: IdentityRow(passes: 2, lastSeen: noon, expires: noon)),
            ]
            let decision = Decision(verdict: Verdict(.defer, [.greylistNew]), changes: changes)
            try await store.commit(Needs(triplets: [triplet(1), triplet(1)], identities: [.network(1)])) { _ in (decision, nil) }
            try await store.commit(Needs()) { _ in (decision, nil) }
            #expect(try await store.row(triplet(1))?.deferrals == 2)
            let statistics = try await store.statistics()
            #expect(statistics.triplets == 1)
            #expect(statistics.identities == 1)
        }
    }

    // MARK: - Entries, releases, the clock

    @Test(arguments: StoreKind.allCases)
    func `Entries of every kind come back as they were given, in order`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let patterns = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7", "example.org", "user@example.org", "info@"]
            var entries: [ListEntry] = []
            for (index, text) in patterns.enumerated() {
                let pattern = try #require(Pattern(text))
                entries.append(ListEntry(.allow, .client, pattern, note: "ünïcode '\(index)'", added: noon))
                entries.append(ListEntry(.block, .recipient, pattern, expires: noon + .days(Int64(index)), added: noon))
            }
            // What nobody can type still comes back.
            entries.append(ListEntry(.block, .sender, .domain(try #require(DomainName("org"))), added: noon))
            entries.append(ListEntry(.block, .sender, .mailbox("odd name@example.org"), added: noon))
            try await store.insert(entries.shuffled())
            let stored = try await store.entries()
            #expect(Set(stored) == Set(entries))
            #expect(stored.count == entries.count)
            #expect(
                stored.map { "\($0.list.rawValue) \($0.kind.rawValue)" }
                    == stored.map { "\($0.list.rawValue) \($0.kind.rawValue)" }.sorted())
            #expect(try await store.statistics().entries == entries.count)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `An entry replaces one of its list, kind and pattern, and is removed by them`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let pattern = try #require(Pattern("example.org"))
            let old = ListEntry(.block, .sender, pattern, note: "old", added: noon)
            let new = ListEntry(.block, .sender, pattern, expires: noon + .days(1), note: "new", added: noon + .seconds(1))
            let other = ListEntry(.allow, .sender, pattern, added: noon)
            try await store.insert([old, other])
            try await store.insert([new])
            #expect(try await Set(store.entries()) == [new, other])
            // Asked for by their names, whatever else they say.
            let unknown = ListEntry(.block, .recipient, pattern, added: noon)
            #expect(try await store.entries(like: [other, unknown, old]) == [other, new])
            #expect(try await store.entries(like: []).isEmpty)
            #expect(try await store.remove(.block, .recipient, pattern) == false)
            #expect(try await store.remove(.block, .sender, pattern) == true)
            #expect(try await store.remove(.block, .sender, pattern) == false)
            #expect(try await store.entries() == [other])
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Releases come back, each in place of one for the same three`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let any = Release(recipient: "a@example.net", expires: noon + .minutes(10))
            let narrow = Release(
                recipient: "a@example.net", sender: "b@example.org", client: Prefix("192.0.2.0/24"), expires: noon + .minutes(5))
            try await store.insert(any)
            try await store.insert(narrow)
            #expect(try await store.releases() == [narrow, any])
            let longer = Release(recipient: "a@example.net", expires: noon + .minutes(20))
            try await store.insert(longer)
            #expect(try await store.releases() == [narrow, longer])
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `The clock's anchor is kept, the last one`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            #expect(try await store.anchor() == nil)
            for number in 1...3 as ClosedRange<Int64> {
                let anchor = SteadyClock.Anchor(
                    wall: noon + .seconds(number), monotonic: .milliseconds(number), steady: noon - .seconds(number), boot: "boot-\(number)"
                )
                try await store.keep(anchor)
                #expect(try await store.anchor() == anchor)
            }
        }
    }

    // MARK: - Decisions

    @Test(arguments: StoreKind.allCases)
    func `A decision comes back in words`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let full = DecisionRecord(
                reference: Reference(time: noon, counter: 5), time: noon, listener: "mx",
                attempt: Attempt(
                    stage: .rcpt,
                    client: Client(address: IPAddress("2001:db8::1"), confirmedName: DomainName("mail.example.org"), helo: "Helo"),
                    sender: ReversePath("Some.One@Example.org"), recipient: Mailbox("User@Example.NET"), account: "account"),
                verdict: Verdict(.defer, [.greylistNew, .forwarder], passesAt: noon + .minutes(3)), triplets: [])
            let bare = DecisionRecord(
                reference: Reference(time: noon, counter: 6), time: noon + .milliseconds(1), listener: "policy",
                attempt: Attempt(stage: .connect, client: Client(address: nil)), verdict: Verdict(.accept, [.noClientAddress]), triplets: []
            )
            let bounce = DecisionRecord(
                reference: Reference(time: noon, counter: 7), time: noon, listener: "policy",
                attempt: Attempt(stage: .data, client: Client(address: IPAddress("192.0.2.1")), recipientCount: 2),
                verdict: Verdict(.defer, [.greylistNew]),
                triplets: [
                    triplet(1, recipient: "a@example.net"), triplet(2, recipient: "a@example.net"), triplet(1, recipient: "b@example.net"),
                ])
            try await store.commit(record: full)
            try await store.commit(record: bare)
            try await store.commit(record: bounce)
            let stored = try await store.decisions(DecisionFilter())
            try #require(stored.count == 3)
            #expect(stored[0].recipient == "a@example.net, b@example.net")
            #expect(
                stored[1]
                    == StoredDecision(
                        reference: bare.reference, time: noon + .milliseconds(1), listener: "policy", stage: "CONNECT", address: "",
                        name: "",
                        helo: "", sender: "", recipient: "", account: "", action: "accept", reason: "the request names no client address",
                        passesAt: nil))
            #expect(
                stored[2]
                    == StoredDecision(
                        reference: full.reference, time: noon, listener: "mx", stage: "RCPT", address: "2001:db8::1",
                        name: "mail.example.org",
                        helo: "Helo", sender: "Some.One@example.org", recipient: "User@example.net", account: "account", action: "defer",
                        reason: "first attempt; client is in networks.forwarders", passesAt: noon + .minutes(3)))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Decisions are found by every part of a filter, the newest first, up to the limit`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            for number in 1...40 as ClosedRange<Int64> {
                try await store.commit(
                    record: record(
                        number, at: noon + .seconds(number), address: "192.0.2.\(number)", sender: "Sender\(number)@example.org",
                        recipient: "user\(number % 4)@example.net"))
            }
            func found(_ filter: DecisionFilter) async throws -> [Int64] { try await store.decisions(filter).map(\.reference.value) }
            #expect(try await found(DecisionFilter()) == (1...40).reversed())
            #expect(try await found(DecisionFilter(limit: 3)) == [40, 39, 38])
            #expect(try await found(DecisionFilter(reference: Reference(value: 17))) == [17])
            #expect(try await found(DecisionFilter(reference: Reference(value: 99))) == [])
            #expect(try await found(DecisionFilter(reference: Reference(value: .max))) == [])
            #expect(try await found(DecisionFilter(address: "192.0.2.4")) == [40, 4])
            #expect(try await found(DecisionFilter(sender: "sENDER3")) == [39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 3])
            #expect(try await found(DecisionFilter(recipient: "USER2@", limit: 2)) == [38, 34])
            #expect(try await found(DecisionFilter(since: noon + .seconds(38))) == [40, 39, 38])
            #expect(
                try await found(DecisionFilter(address: "192", sender: "1@example", recipient: "user1", since: noon + .seconds(2))) == [21])
            #expect(try await found(DecisionFilter(before: Reference(value: 39), limit: 3)) == [38, 37, 36])
            #expect(try await found(DecisionFilter(sender: "sender3", before: Reference(value: 30))) == [3])
            #expect(try await found(DecisionFilter(before: Reference(value: 1))) == [])
            #expect(try await found(DecisionFilter(reference: Reference(value: 17), before: Reference(value: 17))) == [])
            #expect(try await found(DecisionFilter(sender: "%")) == [])
            #expect(try await found(DecisionFilter(sender: "")) == (1...40).reversed())
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `References out of order are sorted, one used twice is replaced`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            for number in [5, 3, 9, 4, 9] as [Int64] { try await store.commit(record: record(number, sender: "n\(number)@example.org")) }
            try await store.commit(record: record(4, sender: "again@example.org"))
            let stored = try await store.decisions(DecisionFilter())
            #expect(stored.map(\.reference.value) == [9, 5, 4, 3])
            #expect(stored[2].sender == "again@example.org")
            #expect(try await store.statistics().decisions == 4)
        }
    }

    // MARK: - What waits

    @Test(arguments: StoreKind.allCases)
    func `What waits is each triplet's newest deferral, unless it passed or expired`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            // 1 was deferred twice, 2 passed, 3 expired, 4 waits, 5 was accepted and never deferred.
            try await store.commit(triplets: [triplet(1): row()], record: record(1, triplets: [triplet(1)]))
            try await store.commit(triplets: [triplet(1): row(deferrals: 2)], record: record(2, triplets: [triplet(1)]))
            try await store.commit(triplets: [triplet(2): row()], record: record(3, triplets: [triplet(2)]))
            try await store.commit(triplets: [triplet(2): row(passed: true)], record: record(4, action: .accept, triplets: [triplet(2)]))
            try await store.commit(triplets: [triplet(3): row(expires: noon + .hours(1))], record: record(5, triplets: [triplet(3)]))
            try await store.commit(triplets: [triplet(4): row()], record: record(6, recipient: "other@example.net", triplets: [triplet(4)]))
            try await store.commit(triplets: [triplet(5): row()], record: record(7, action: .accept, triplets: [triplet(5)]))

            let waiting = try await store.waiting(DecisionFilter(), now: noon + .hours(1))
            #expect(waiting.map(\.record.reference.value) == [6, 2])
            #expect(waiting.map(\.row) == [row(), row(deferrals: 2)])
            #expect(try await store.waiting(DecisionFilter(), now: noon + .minutes(59)).map(\.record.reference.value) == [6, 5, 2])
            #expect(try await store.waiting(DecisionFilter(limit: 1), now: noon + .hours(1)).map(\.record.reference.value) == [6])
            #expect(try await store.waiting(DecisionFilter(recipient: "user@"), now: noon + .hours(1)).map(\.record.reference.value) == [2])
            #expect(try await store.waiting(DecisionFilter(), now: noon + .days(1)).isEmpty)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `A triplet known under several identities waits once, and not when one of them has passed`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let name = try Identity.nameDomain(#require(DomainName("example.org")))
            let byName = TripletKey(identity: name, sender: "sender@example.org", recipient: "user@example.net")
            // From one network, then from another; known by its name in both.
            try await store.commit(triplets: [byName: row(), triplet(1): row()], record: record(1, triplets: [byName, triplet(1)]))
            try await store.commit(
                triplets: [byName: row(deferrals: 2), triplet(2): row(deferrals: 2)], record: record(2, triplets: [byName, triplet(2)]))
            #expect(try await store.waiting(DecisionFilter(), now: noon).map(\.record.reference.value) == [2])
            try await store.commit(triplets: [byName: row(passed: true), triplet(3): row(passed: true)])
            #expect(try await store.waiting(DecisionFilter(), now: noon).isEmpty)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `A bounce to several waits while one of its recipients does`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let a = triplet(1, sender: "", recipient: "a@example.net")
            let b = triplet(1, sender: "", recipient: "b@example.net")
            try await store.commit(triplets: [a: row(), b: row()], record: record(1, recipient: "", triplets: [a, b]))
            // Each of them is all of a recipient, and no part of one is.
            for (text, count) in [("A@example.net", 1), ("b@example.net", 1), ("example.net", 0), ("a@example.net, b@example.net", 1)] {
                var filter = DecisionFilter(recipient: text)
                filter.wholes = .recipient
                #expect(try await store.decisions(filter).count == count, "\(text)")
                #expect(try await store.waiting(filter, now: noon).count == count, "\(text)")
            }
            try await store.commit(triplets: [a: row(deferrals: 2)], record: record(2, triplets: [a]))
            #expect(try await store.waiting(DecisionFilter(), now: noon).map(\.record.reference.value) == [2, 1])
            try await store.commit(triplets: [a: row(passed: true)])
            #expect(try await store.waiting(DecisionFilter(), now: noon).map(\.record.reference.value) == [1])
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Forgotten triplets have never been seen, whatever the filter's limit`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            for number in 1...30 {
                let recipient = number <= 20 ? "gone@example.net" : "kept@example.net"
                try await store.commit(
                    triplets: [triplet(number): row()], record: record(Int64(number), recipient: recipient, triplets: [triplet(number)]))
            }
            #expect(try await store.forget(DecisionFilter(recipient: "GONE@", limit: 1)) == 20)
            #expect(try await store.forget(DecisionFilter(recipient: "gone@")) == 0)
            #expect(try await store.row(triplet(20)) == nil)
            #expect(try await store.row(triplet(21)) != nil)
            #expect(try await store.waiting(DecisionFilter(), now: noon).count == 10)
            let statistics = try await store.statistics()
            #expect(statistics.triplets == 10)
            #expect(statistics.decisions == 30)
            // Seen again it is new again.
            try await store.commit(triplets: [triplet(1): row()])
            #expect(try await store.row(triplet(1)) == row())
            #expect(try await store.statistics().triplets == 11)
        }
    }

    // MARK: - Upkeep

    @Test(arguments: StoreKind.allCases)
    func `What has expired goes, what has not stays`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let count = 900
            for number in 0..<count {
                let expires = noon + .hours(number % 3 == 0 ? 30 : 20)
                try await store.commit(
                    triplets: [triplet(number): row(expires: expires)],
                    identities: [.network(number): IdentityRow(passes: 1, lastSeen: noon, expires: expires)],
                    record: record(Int64(number + 1), at: noon + .seconds(Int64(number))))
            }
            let pattern = try #require(Pattern("example.org"))
            try await store.insert([
                ListEntry(.block, .client, pattern, expires: noon + .hours(20), added: noon),
                ListEntry(.block, .sender, pattern, added: noon),
            ])
            try await store.insert(Release(recipient: "a@example.net", expires: noon + .hours(20)))
            try await store.insert(Release(recipient: "b@example.net", expires: noon + .hours(21)))

            // What is on its way from the journal to its table may be met by the next call only.
            func expireAll(now: WallTime, decisionsBefore: WallTime) async throws -> Int {
                var removed = 0
                var calm = 0
                for _ in 0..<100 where calm < 5 {
                    let step = try await store.expire(now: now, decisionsBefore: decisionsBefore)
                    removed += step
                    calm = step == 0 ? calm + 1 : 0
                    if step == 0 { try await Task.sleep(for: .milliseconds(20)) }
                }
                return removed
            }
            #expect(try await expireAll(now: noon + .hours(20), decisionsBefore: noon + .seconds(600)) == 600 + 600 + 600 + 1 + 1)
            let statistics = try await store.statistics()
            #expect(statistics.triplets == 300)
            #expect(statistics.identities == 300)
            #expect(statistics.decisions == 300)
            #expect(statistics.entries == 1)
            #expect(try await store.releases().map(\.recipient) == ["b@example.net"])
            #expect(try await store.row(triplet(0)) != nil)
            #expect(try await store.row(triplet(1)) == nil)
            // The moment itself has expired, the one before has not.
            #expect(try await expireAll(now: noon + .hours(30) - .milliseconds(1), decisionsBefore: noon) == 1)
            #expect(try await expireAll(now: noon + .hours(30), decisionsBefore: noon) == 600)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `A closed store finishes what waits and says so to all who come later`(kind: StoreKind) async throws {
        let folder = try Folder()
        let store = try kind.open(in: folder)
        let answered = NIOLockedValueBox(0)
        for number in 0..<500 {
            store.submit(
                BlockTransaction(needs: Needs(triplets: [triplet(number)])) { _ in
                    (.writing([triplet(number): row()]), nil)
                } completion: { result in
                    if case .success = result { answered.withLockedValue { $0 += 1 } }
                })
        }
        await store.close()
        #expect(answered.withLockedValue { $0 } == 500)
        await store.close()

        let refused = await withCheckedContinuation { continuation in
            store.submit(
                BlockTransaction(needs: Needs()) { _ in
                    Issue.record("a closed store decided")
                    return (Decision(verdict: Verdict(.accept, [.greylistKnown])), nil)
                } completion: {
                    continuation.resume(returning: $0)
                })
        }
        #expect(throws: StoreFailure.self) { try refused.get() }
        func expectClosed(_ what: String, _ call: () async throws -> Void) async {
            do {
                try await call()
                Issue.record("\(what) worked on a closed store")
            } catch {
                #expect((error as? StoreFailure)?.kind == .closed, "\(what): \(error)")
            }
        }
        await expectClosed("read") { _ = try await store.read(Needs(triplets: [triplet(1)])) }
        await expectClosed("entries") { _ = try await store.entries() }
        await expectClosed("releases") { _ = try await store.releases() }
        await expectClosed("insert entries") { try await store.insert([]) }
        await expectClosed("remove") { _ = try await store.remove(.allow, .client, .localPart("a@")) }
        await expectClosed("insert release") { try await store.insert(Release(recipient: "a@example.net", expires: noon)) }
        await expectClosed("decisions") { _ = try await store.decisions(DecisionFilter()) }
        await expectClosed("waiting") { _ = try await store.waiting(DecisionFilter(), now: noon) }
        await expectClosed("forget") { _ = try await store.forget(DecisionFilter()) }
        await expectClosed("statistics") { _ = try await store.statistics() }
        await expectClosed("expire") { _ = try await store.expire(now: noon, decisionsBefore: noon) }
        await expectClosed("backup") { try await store.backup(to: folder.file("backup.db")) }
        await expectClosed("keep counts") { try await store.keep([CountRow(table: 1, key: 1, data: [], expires: noon)]) }
        await expectClosed("counts") { _ = try await store.counts(after: nil, limit: 1) }
        await expectClosed("suspensions") { _ = try await store.suspensions() }
        await expectClosed("remove suspension") { _ = try await store.removeSuspension(of: "a") }
        await expectClosed("insert suspension") { try await store.insert(Suspension(account: "a", since: noon, reason: "")) }
        await expectClosed("anchor") { _ = try await store.anchor() }
        await expectClosed("keep") { try await store.keep(SteadyClock.Anchor(wall: noon, monotonic: .zero, steady: noon, boot: "")) }
    }

    // MARK: - Counts and accounts

    @Test(arguments: StoreKind.allCases)
    func `Counts come back in the order of their places, page by page, each as it was written last`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            #expect(try await store.counts(after: nil, limit: 10) == [])
            let keys: [UInt64] = [0, 1, 7, 1 << 62, 1 << 63, .max - 1, .max]
            var rows: [CountRow] = []
            for table in [UInt8(0), 1, 255] {
                for key in keys { rows.append(CountRow(table: table, key: key, data: [table, 9], expires: noon + .hours(1))) }
            }
            try await store.keep(rows.shuffled())
            rows[3].data = Array(repeating: 7, count: 10_000)
            rows[3].expires = noon + .days(2)
            try await store.keep([rows[3]])
            var found: [CountRow] = []
            while case let page = try await store.counts(after: found.last?.position, limit: 4), !page.isEmpty {
                #expect(page.count <= 4)
                found += page
            }
            #expect(found == rows)
            var removed = 0
            while case let step = try await store.expire(now: noon + .hours(1), decisionsBefore: noon), step > 0 { removed += step }
            #expect(removed == rows.count - 1)
            #expect(try await store.counts(after: nil, limit: 100) == [rows[3]])
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Many counts are kept and expire in small steps`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let rows = (0..<1234).map { CountRow(table: 1, key: UInt64($0), data: [1], expires: noon + .seconds(Int64($0))) }
            try await store.keep(rows)
            while try await store.expire(now: noon + .seconds(1000), decisionsBefore: noon) > 0 {}
            #expect(try await store.counts(after: nil, limit: 10_000) == Array(rows[1001...]))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func `Suspensions are kept until they are removed`(kind: StoreKind) async throws {
        try await withStore(kind) { store in
            let ann = Suspension(account: "ann", since: noon, reason: "too much")
            let bob = Suspension(account: "bob@example.org", since: noon + .seconds(1), reason: "")
            try await store.insert(bob)
            try await store.insert(Suspension(account: "ann", since: noon, reason: "other"))
            try await store.insert(ann)
            #expect(try await store.suspensions() == [ann, bob])
            #expect(try await store.removeSuspension(of: "ann"))
            #expect(try await !store.removeSuspension(of: "ann"))
            #expect(try await store.suspensions() == [bob])
        }
    }

    // MARK: - Durable stores

    @Test(arguments: StoreKind.durable)
    func `All is there after reopening`(kind: StoreKind) async throws {
        let folder = try Folder()
        let entry = try ListEntry(.allow, .client, #require(Pattern("192.0.2.0/24")), note: "note", added: noon)
        let release = Release(recipient: "a@example.net", expires: noon)
        let anchor = SteadyClock.Anchor(wall: noon, monotonic: .seconds(1), steady: noon, boot: "boot")
        let identity = IdentityRow(passes: 3, lastSeen: noon, expires: noon + .days(1))
        let first = try kind.open(in: folder)
        try await first.commit(
            triplets: [triplet(1): row()], identities: [.network(1): identity], record: record(1, triplets: [triplet(1)]))
        try await first.insert([entry])
        try await first.insert(release)
        try await first.keep(anchor)
        let counts = CountRow(table: 1, key: .max, data: [1, 2, 3], expires: noon + .days(1))
        let suspension = Suspension(account: "ann", since: noon, reason: "too much")
        try await first.keep([counts])
        try await first.insert(suspension)
        await first.close()

        let second = try kind.open(in: folder)
        #expect(
            try await second.read(Needs(triplets: [triplet(1)], identities: [.network(1)]))
                == Evidence(triplets: [row()], identities: [identity]))
        #expect(try await second.waiting(DecisionFilter(), now: noon).count == 1)
        #expect(try await second.entries() == [entry])
        #expect(try await second.releases() == [release])
        #expect(try await second.anchor() == anchor)
        #expect(try await second.counts(after: nil, limit: 10) == [counts])
        #expect(try await second.suspensions() == [suspension])
        let statistics = try await second.statistics()
        #expect(statistics.bytes > 0)
        #expect(StoreStatistics(triplets: 1, identities: 1, decisions: 1, entries: 1, bytes: statistics.bytes) == statistics)
        await second.close()
    }

    @Test(arguments: StoreKind.durable)
    func `A backup taken in use is a store of its own, and overwrites nothing`(kind: StoreKind) async throws {
        let folder = try Folder()
        let store = try kind.open(in: folder)
        try await store.commit(triplets: [triplet(1): row()], record: record(1, triplets: [triplet(1)]))
        let copy = folder.file("backup.db")
        try await store.backup(to: copy)
        try await store.commit(triplets: [triplet(2): row()])
        await #expect(throws: StoreFailure.self) { try await store.backup(to: copy) }
        let nowhere = folder.file("nowhere/copy.db")
        await #expect(throws: StoreFailure(.uncreatable, "cannot write the backup \(nowhere): No such file or directory")) {
            try await store.backup(to: nowhere)
        }
        await store.close()

        for path in [copy, copy + ".key"] {
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600)
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.contains("partial") } == [])
        let restored = try SQLiteStore(path: copy, keyPath: copy + ".key")
        #expect(try await restored.row(triplet(1)) == row())
        #expect(try await restored.row(triplet(2)) == nil)
        #expect(try await restored.waiting(DecisionFilter(), now: noon).count == 1)
        await restored.close()
    }
}
