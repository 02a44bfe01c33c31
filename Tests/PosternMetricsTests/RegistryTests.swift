import Metrics
import Testing

@testable import PosternMetrics

struct RegistryTests {
    private func text(_ registry: MetricRegistry) -> String {
        var exposition = Exposition()
        registry.write(to: &exposition)
        return exposition.text
    }

    @Test func `Each kind is printed as Prometheus reads it`() {
        let registry = MetricRegistry(["test_wait_seconds": .init("How long.", bounds: [0.001, 0.5])])
        let counter = Counter(label: "test.requests", dimensions: [("verdict", "a\"b\\c\nd")], factory: registry)
        counter.increment(by: 3)
        counter.increment(by: -5)
        Meter(label: "test_level", factory: registry).set(2.5)
        let timer = Timer(label: "test_wait", factory: registry)
        for nanoseconds: Int64 in [1_000_000, 1_000_001, 500_000_000, 2_000_000_000] { timer.recordNanoseconds(nanoseconds) }
        #expect(
            text(registry) == #"""
                # HELP test_level test level.
                # TYPE test_level gauge
                test_level 2.5
                # HELP test_requests_total test requests total.
                # TYPE test_requests_total counter
                test_requests_total{verdict="a\"b\\c\nd"} 3
                # HELP test_wait_seconds How long.
                # TYPE test_wait_seconds histogram
                test_wait_seconds_bucket{le="0.001"} 1
                test_wait_seconds_bucket{le="0.5"} 3
                test_wait_seconds_bucket{le="+Inf"} 4
                test_wait_seconds_sum 2.502000001
                test_wait_seconds_count 4

                """#)
    }

    @Test func `The same name and labels are one instrument, another kind of that name is never printed`() {
        let registry = MetricRegistry()
        for _ in 0..<2 { Counter(label: "one", dimensions: [("a", "b")], factory: registry).increment() }
        Meter(label: "one_total", factory: registry).set(7)
        #expect(text(registry) == "# HELP one_total one total.\n# TYPE one_total counter\none_total{a=\"b\"} 2\n")
    }

    @Test func `Sets of labels are bounded`() {
        let registry = MetricRegistry()
        for number in 0..<MetricRegistry.maximumLabelSets + 50 {
            Counter(label: "many", dimensions: [("client", "\(number)")], factory: registry).increment()
        }
        let lines = text(registry).split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(lines.count == MetricRegistry.maximumLabelSets + 1)
        #expect(lines.last == "many_total{overflow=\"true\"} 50")
    }

    @Test func `Nothing is lost when many threads add at once`() async {
        let registry = MetricRegistry()
        let timer = registry.timer("busy")
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<16 { group.addTask { for _ in 0..<10_000 { timer.recordNanoseconds(1_000_000_000) } } }
        }
        #expect(text(registry).contains("busy_seconds_count 160000\n"))
        #expect(text(registry).contains("busy_seconds_sum 160000\n"))
    }

    @Test(arguments: [("a.b-c", "a_b_c"), ("9lives", "_9lives"), ("", "_"), ("a:b", "a:b")])
    func `Names become legal`(given: String, expected: String) {
        #expect(MetricRegistry.legal(given, colons: true) == expected)
    }

    @Test func `Numbers are those of Go`() {
        #expect(Exposition.number(.infinity) == "+Inf")
        #expect(Exposition.number(.nan) == "NaN")
        #expect(Exposition.number(12) == "12")
        #expect(Exposition.number(0.00025) == "0.00025")
    }
}
