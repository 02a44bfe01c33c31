import Foundation
import IntegrationSupport
import Testing

/// What has been answered is known, whatever happens to the process.
@Suite("never lost", .serialized)
struct NeverLostTests {
    @Test("twenty rounds of kill -9 under load: every triplet whose deferral was answered passes when it comes back")
    func kill() async throws {
        let postern = try await PosternProcess.start("greylist: { delay: 500ms, proven_after: 0 }\nlog: { level: warning }")
        var total = 0
        for round in 0..<20 {
            let answered = Answered()
            let port = postern.port
            let load = (0..<8).map { worker in
                Thread.detachedTask {
                    guard let client = try? PolicyClient(port: port) else { return }
                    for number in 0..<100_000 {
                        let sender = "s\(round)x\(worker)y\(number)z@example.com"
                        guard let reply = try? client.ask([("sender", sender), ("instance", "\(round).\(worker).\(number)")]) else {
                            return
                        }
                        if reply.hasPrefix("action=DEFER_IF_PERMIT") { answered.add(sender) }
                    }
                }
            }
            // Somewhere between two commits, or within one.
            try await waitUntil("some answers") { answered.senders.count >= 30 }
            try await Task.sleep(for: .milliseconds(Int.random(in: 0..<200)))
            try await postern.kill()
            for task in load { await task.value }
            try await postern.start()
            try await Task.sleep(for: .milliseconds(600))
            let senders = answered.senders
            #expect(!senders.isEmpty)
            total += senders.count
            let client = try postern.client()
            var lost: [String] = []
            for sender in senders {
                let reply = try client.ask([("sender", sender), ("instance", "again.\(sender)")])
                if reply?.hasPrefix("action=PREPEND") != true && reply != "action=DUNNO" { lost.append("\(sender): \(reply ?? "closed")") }
            }
            #expect(lost.isEmpty, "round \(round): \(lost.count) of \(senders.count) forgotten, such as \(lost.first ?? "")")
        }
        #expect(total > 500)
        #expect(try await postern.stop().code == 0)
    }

    @Test("with store.sync: full the disk has been asked to sync before an answer leaves", .servers("strace"))
    func syncedBeforeTheAnswer() async throws {
        let trace = try TemporaryFolder()
        let path = trace.file("trace")
        let strace = try Strace.command()
        let postern = try await PosternProcess.start(
            "store: { sqlite: postern.db, sync: full }\ngreylist: { delay: 60s }",
            wrapper: strace + ["-D", "-f", "-qq", "-e", "trace=fsync,fdatasync,write,writev,sendto,sendmsg", "-s", "64", "-o", path])
        let client = try postern.client()
        for number in 0..<5 {
            let before = trace.read("trace").split(separator: "\n").count
            let reply = try client.ask([("sender", "sync\(number)x@example.com"), ("instance", "\(number)")])
            #expect(reply?.hasPrefix("action=DEFER_IF_PERMIT") == true)
            try await waitUntil("the answer in the trace") {
                trace.read("trace").split(separator: "\n").dropFirst(before).contains { $0.contains("action=DEFER_IF_PERMIT") }
            }
            let lines = trace.read("trace").split(separator: "\n").dropFirst(before)
            let answer = try #require(lines.firstIndex { $0.contains("action=DEFER_IF_PERMIT") })
            let sync = try #require(
                lines.firstIndex { $0.contains("fsync(") || $0.contains("fdatasync(") }, "no sync in:\n\(lines.joined(separator: "\n"))")
            #expect(sync < answer)
        }
        try await postern.stop()
    }
}

/// strace from its private root, run by that root's own loader with its own libraries, so that what it traces sees nothing of them.
private enum Strace {
    static func command() throws -> [String] {
        let libraries = ServerRoots.folder + "/strace/usr/lib"
        for triple in try FileManager.default.contentsOfDirectory(atPath: libraries) {
            let folder = libraries + "/" + triple
            let loader = try? FileManager.default.contentsOfDirectory(atPath: folder).first { $0.hasPrefix("ld-linux") }
            if let loader { return [folder + "/" + loader, "--library-path", folder, ServerRoots.folder + "/strace/usr/bin/strace"] }
        }
        throw TestFailure("no loader in \(libraries)")
    }
}

/// What the workers were told, from all their threads.
private final class Answered: @unchecked Sendable {
    // Guarded by its lock.
    private let lock = NSLock()
    private var list: [String] = []

    func add(_ sender: String) { lock.withLock { list.append(sender) } }

    var senders: [String] { lock.withLock { list } }
}

extension Thread {
    /// Blocking work on a thread of its own, so that it takes none of the few that tasks share.
    fileprivate static func detachedTask(_ work: @escaping @Sendable () -> Void) -> Task<Void, Never> {
        Task {
            await withCheckedContinuation { continuation in
                let thread = Thread {
                    work()
                    continuation.resume()
                }
                thread.start()
            }
        }
    }
}
