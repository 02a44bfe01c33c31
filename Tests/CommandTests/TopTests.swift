import Foundation
import PosternControl
import Testing

@testable import postern

struct TopTests {
    private func status(accepted: UInt64 = 0, deferred: UInt64 = 0, process: Int32 = 1) -> StatusReport {
        var report = StatusReport(
            version: "0", processID: process, startedAt: "2026-11-20T00:00:00.000Z", uptimeSeconds: 60, hostname: "mx.example.net",
            dataDirectory: "/nowhere", greylistMode: "on", listeners: [], counts: .init(accepted: accepted, deferred: deferred))
        report.store = .init(state: "ok", triplets: 7)
        return report
    }

    @Test func ratesAreOfTheTimeBetweenTwoLooks() {
        let sample = TopSample(
            status(accepted: 30, deferred: 5), before: status(accepted: 10, deferred: 5), seconds: 2, time: "2026-11-20T00:00:02.000Z")
        #expect(sample.accepted == 10 && sample.deferred == 0 && sample.decided == 10)
        #expect(sample.ailments.isEmpty)
        // Another daemon's counters say nothing.
        #expect(TopSample(status(accepted: 30), before: status(process: 2), seconds: 1, time: "").accepted == 0)
        #expect(TopSample(status(accepted: 3), before: status(accepted: 9), seconds: 1, time: "").accepted == 0)
    }

    @Test(arguments: [(80, 24), (20, 5), (1, 1), (200, 60)])
    func theScreenFitsTheTerminal(width: Int, height: Int) {
        let samples = (0..<100).map { number in
            TopSample(status(accepted: UInt64(number * number)), before: status(), seconds: 1, time: "2026-11-20T00:00:02.000Z")
        }
        let lines = TopScreen(status: status(), samples: samples, hasColour: false).lines(width: width, height: height)
        #expect(lines.count <= height && !lines.isEmpty)
        #expect(lines.allSatisfy { $0.count <= width })
        if height > 20 { #expect(lines.contains("all is well") && lines.contains { $0.contains("█") }) }
    }

    @Test func whatIsIllIsSaid() {
        var report = status()
        report.store = .init(state: "the disk is full")
        report.dnsLists = [
            .init(name: "bl", isLive: false, ailment: "it does not answer", listed: 0, notListed: 0, overlapping: 0, errors: 0, silent: 9)
        ]
        let sample = TopSample(report, before: nil, seconds: 0, time: "")
        #expect(sample.ailments.count == 2)
        let lines = TopScreen(status: report, samples: [sample], hasColour: true).lines(width: 100, height: 50)
        #expect(lines.contains { $0.hasPrefix("\u{1b}[31m! the store fails") })
        #expect(TopScreen.sparkline([0, 1, 8], width: 2) == "▁█")
        #expect(TopScreen.sparkline([0, 0], width: 5).isEmpty && TopScreen.sparkline([1], width: -3).isEmpty)
    }

    @Test func withoutATerminalItPrintsALineASample() async throws {
        let place = try Workplace()
        let file = try place.write(
            """
            data_directory: ./data
            dns: { resolvers: [] }
            listeners: [{ name: policy, role: policy, address: "127.0.0.1:0" }]

            """, to: "c.yaml")
        let alone = try await place.run(["top", "--config", file])
        #expect(alone.code == 69)
        let code = try await place.withDaemon(["--config", file]) { _ in
            let json = try await place.run(["top", "--json", "--interval", "250ms", "--count", "2", "--config", file])
            let lines = json.output.split(separator: "\n")
            #expect(lines.count == 2)
            for line in lines {
                let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                #expect(object?["store"] as? String == "ok" && object?["accepted"] as? Double == 0)
            }
            let plain = try await place.run(["top", "--interval", "250ms", "--count", "1", "--config", file])
            #expect(plain.output.hasPrefix("time ") && plain.output.contains("  ok\n") && !plain.output.contains("\u{1b}"))
            #expect(try await place.run(["top", "--interval", "1ms", "--config", file]).code == 64)
        }
        #expect(code == 0)
    }
}
