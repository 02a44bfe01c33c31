import PosternControl
import Testing

struct SqlgreyTests {
    private func read(_ lines: [String]) -> (memory: SqlgreyMemory, problems: [String?]) {
        var memory = SqlgreyMemory()
        let problems = lines.map { memory.take(line: $0) }
        return (memory, problems)
    }

    @Test func rowsBecomeLessons() {
        let (memory, problems) = read([
            "from_awl\ta\texample.org\t192.0.2\t1000\t2000", "from_awl\tb\texample.org\t192.0.2\t1000\t3000.25",
            "domain_awl\texample.com\t198.51.100.7\t1000\t4000",
            "connect\tc\texample.org\t2001:0db8:0000:0001\td@example.net\t5000",
            "optout_domain\texample.net", "optout_email\tx@example.net", "optin_email\ty@example.net",
        ])
        #expect(problems.allSatisfy { $0 == nil })
        #expect(
            memory.triplets == [
                .init(
                    address: "2001:db8:0:1::", sender: "c@example.org", recipient: "d@example.net", firstSeen: 5000, lastSeen: 5000,
                    passed: false)
            ])
        #expect(memory.optOut == ["example.net", "x@example.net"] && memory.optIn == ["y@example.net"])
        #expect(
            memory.clients(senders: 5, provenAfter: 5) == [
                .init(address: "192.0.2.0", passes: 2, lastSeen: 3000), .init(address: "198.51.100.7", passes: 5, lastSeen: 4000),
            ])
        #expect(memory.clients(senders: 2, provenAfter: 5).map(\.passes) == [5, 5])
        #expect(memory.clients(senders: 2, provenAfter: 0).map(\.passes) == [2, 1])
    }

    @Test(arguments: [
        ("from_awl", "no tab"), ("nonsense\ta", "is no table"), ("from_awl\ta\tb", "has 5 columns, and this row 2"),
        ("from_awl\ta\texample.org\tmail\t1\t2", "'mail' is not a source"), ("from_awl\ta\texample.org\t192.0\t1\t2", "is not a source"),
        ("from_awl\ta\texample.org\t192.0.2\t1\tyesterday", "is not a time"), ("domain_awl\texample.org\t192.0.2\t1\t-2", "is not a time"),
        ("connect\t-undef-\t-undef-\t192.0.2\tb@example.net\t1", "null sender"),
    ])
    func whatIsNotUnderstoodIsTold(line: String, words: String) {
        let (memory, problems) = read([line])
        #expect(problems[0]?.contains(words) == true)
        #expect(memory.triplets.isEmpty && memory.clients(senders: 1, provenAfter: 1).isEmpty)
    }
}
