import PosternEngine
import Testing

@testable import PosternAdmin
@testable import PosternControl

struct ExportTests {
    /// `postern import csv` takes `block` and `allow`, and refuses the colours that only the harvest gives.
    @Test func `What a trap has listed is exported by what importing would make of it`() {
        func report(_ entry: String, _ colour: ListColour, note: String = "") -> EntryReport {
            EntryReport(
                list: colour == .white ? .allow : .block, kind: .client, entry: entry, added: "2026-11-20T08:15:00Z", note: note,
                source: "harvest", colour: colour, evidence: 3, seenAt: ["policy", "trap, old"])
        }
        let text = AdminSite.csv(ofHarvest: [
            report("192.0.2.1", .white), report("192.0.2.2", .black, note: "=1+1"), report("192.0.2.3", .yellow),
            report("192.0.2.4", .brown),
        ])
        #expect(
            text == """
                entry,list,expires,reason,colour,evidence,seen_at
                192.0.2.1,allow,,,white,3,"policy trap, old"
                192.0.2.2,block,,'=1+1,black,3,"policy trap, old"
                192.0.2.3,yellow,,,yellow,3,"policy trap, old"
                192.0.2.4,brown,,,brown,3,"policy trap, old"

                """)
    }
}
