import Foundation
import PosternControl
import PosternEngine
import PosternStorage
import Testing

/// Client and server over a real socket.
struct SocketTests {
    private let folder = FileManager.default.temporaryDirectory.appending(path: "postern-control-\(UUID().uuidString.prefix(8))").path

    /// Runs `body` with a server on a socket in a folder of its own.
    private func withServer(
        store: any Store = MemoryStore(), patience: Double = 10, _ body: (String) async throws -> Void
    ) async throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = folder + "/control.sock"
        let server = try ControlSocketServer(path: path, handler: ControlHandler(store: store, state: TestState()), patience: patience)
        do {
            try await body(path)
        } catch {
            await server.stop()
            throw error
        }
        await server.stop()
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func manyRequestsOnOneConnection() async throws {
        try await withServer { path in
            let client = try #require(try await TestClient(path))
            guard case .status(let status) = try await client.send(.status) else { throw ControlFailure(.badData, "status") }
            #expect(status.hostname == "mx.example")
            for n in 0..<20 {
                _ = try await client.send(.add(entries: [EntryDraft(list: .block, pattern: "10.0.0.\(n)", note: "line\u{2028} ü")]))
            }
            guard case .entries(let entries) = try await client.send(.entries(list: .block)) else {
                throw ControlFailure(.badData, "entries")
            }
            #expect(entries.count == 20 && entries.first?.note == "line\u{2028} ü")
            #expect(try await client.send(.reload) == .reloaded(ReloadReport(needsRestart: ["listeners"])))
        }
    }

    @Test func aFailureComesBackAsOne() async throws {
        try await withServer { path in
            let client = try #require(try await TestClient(path))
            let failure = try await #require(throws: ControlFailure.self) {
                try await client.send(.add(entries: [EntryDraft(list: .block, pattern: "?")]))
            }
            #expect(failure.code == .badData)
            _ = try await client.send(.status)
        }
    }

    @Test func theSocketIsForItsGroupOnly() async throws {
        try await withServer { path in
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            #expect(attributes[.posixPermissions] as? Int == 0o660)
        }
    }

    @Test func nobodyThereIsNoFailure() throws {
        #expect(try ControlClient.connect(to: folder + "/control.sock") == nil)
        #expect(throws: ControlFailure.self) { try ControlClient.connect(to: "/" + String(repeating: "x", count: 200)) }
    }

    @Test func aSocketLeftBehindIsReplacedAndALiveOneIsNot() async throws {
        try await withServer { path in
            let failure = try #require(throws: ControlFailure.self) {
                try ControlSocketServer(path: path, handler: ControlHandler(store: MemoryStore(), state: TestState()))
            }
            #expect(failure.code == .temporary)
            let client = try await TestClient(path)
            #expect(client != nil, "the live one still answers")
        }
        // What a process leaves that was killed.
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let path = folder + "/control.sock"
        RawSocket.leaveBehind(path)
        #expect(FileManager.default.fileExists(atPath: path))
        #expect(try ControlClient.connect(to: path) == nil)
        try await withServer { path in
            let client = try await TestClient(path)
            #expect(client != nil)
        }
        // A file that is no socket is somebody's.
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try "mine".write(toFile: path, atomically: true, encoding: .utf8)
        let failure = try #require(throws: ControlFailure.self) {
            try ControlSocketServer(path: path, handler: ControlHandler(store: MemoryStore(), state: TestState()))
        }
        #expect(failure.code == .cannotCreate)
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "mine")
    }

    @Test(arguments: [
        ("hello\n", "is not a message"), ("{}\n", "is not a message"),
        ("{\"version\":2,\"request\":{\"status\":{}}}\n", "speaks version 2"),
        ("{\"version\":1,\"request\":{\"dance\":{}}}\n", "is not understood"), ("\n", "is not a message"), ("\u{0}\n", "is not a message"),
    ])
    func whatIsNotARequestIsToldSo(line: String, words: String) async throws {
        try await withServer { path in
            let answer = try await RawSocket.exchange(path, Array(line.utf8))
            #expect(answer.contains(words) && answer.contains("\"code\":76") && answer.last == "\n", "\(answer)")
        }
    }

    @Test func aLineHasABound() async throws {
        try await withServer { path in
            let answer = try await RawSocket.exchange(path, Array(repeating: UInt8(ascii: "x"), count: 2_097_153 + 70_000))
            #expect(answer.contains("a request may have 2097152 octets"), "\(answer)")
        }
    }

    @Test func aRequestInPiecesIsOneRequest() async throws {
        try await withServer { path in
            let answer = try await RawSocket.exchange(path, Array("{\"version\":1,\"request\":{\"status\":{}}}\n".utf8), pieceBy: 1)
            #expect(answer.contains("mx.example"))
        }
    }

    @Test func twoRequestsInOnePieceAreTwo() async throws {
        try await withServer { path in
            let line = "{\"version\":1,\"request\":{\"status\":{}}}\n"
            let answer = try await RawSocket.exchange(path, Array((line + line).utf8), lines: 2)
            #expect(answer.split(separator: "\n").count == 2)
        }
    }

    @Test func aSilentConnectionIsClosed() async throws {
        try await withServer(patience: 0.2) { path in
            let answer = try await RawSocket.exchange(path, Array("{".utf8))
            #expect(answer.isEmpty)
        }
    }

    @Test func connectionsHaveABoundAndAreGivenBack() async throws {
        try await withServer { path in
            var clients: [TestClient] = []
            for _ in 0..<ControlSocketServer.maximumConnections {
                let client = try #require(try await TestClient(path))
                _ = try await client.send(.status)
                clients.append(client)
            }
            let tooMany = try #require(try await TestClient(path))
            // The server may have hung up before our request was written; told or not, it is refused.
            let failure = try await #require(throws: ControlFailure.self) { try await tooMany.send(.status) }
            #expect([.temporary, .unavailable].contains(failure.code))
            clients.removeAll()
            var answered = false
            for _ in 0..<6000 where !answered {
                let reply = try? await TestClient(path)?.send(.status)
                answered = reply != nil
                if !answered { try await Task.sleep(for: .milliseconds(10)) }
            }
            #expect(answered)
        }
    }

    @Test func stoppingWithOpenConnectionsIsQuick() async throws {
        let clock = ContinuousClock()
        var start = clock.now
        var client: TestClient?
        try await withServer(patience: 60) { path in
            let one = try #require(try await TestClient(path))
            _ = try await one.send(.status)
            client = one
            start = clock.now
        }
        // Sooner than the server's patience with a client that says nothing.
        #expect(clock.now - start < .seconds(30))
        // The connection stayed open until after the server had stopped.
        withExtendedLifetime(client) {}
    }

    @Test func theDaemonHangingUpIsTold() async throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = folder + "/control.sock"
        let listener = RawSocket.listen(path)
        defer { close(listener) }
        let client = try #require(try await TestClient(path, patience: 0.2))
        let timedOut = try await #require(throws: ControlFailure.self) { try await client.send(.status) }
        #expect(timedOut.code == .temporary)
        let other = try #require(try await TestClient(path, patience: 60))
        for _ in 0..<2 { close(accept(listener, nil, nil)) }
        let hungUp = try await #require(throws: ControlFailure.self) { try await other.send(.status) }
        #expect(hungUp.code == .unavailable)
    }
}

/// A client whose blocking calls leave the test's threads alone: the server's answers need one.
private final class TestClient: @unchecked Sendable {
    // Used on the queue only.
    private let client: ControlClient
    private let queue = DispatchQueue(label: "client")

    init?(_ path: String, patience: Double = 60) async throws {
        guard let client = try ControlClient.connect(to: path, patience: patience) else { return nil }
        self.client = client
    }

    func send(_ request: ControlRequest) async throws -> ControlReply {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try self.client.send(request) }) }
        }
    }
}

/// A socket without manners.
enum RawSocket {
    struct Failure: Error {}

    private static func address(_ path: String) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return address
    }

    private static func with(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = address(path)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
    }

    static func leaveBehind(_ path: String) {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        _ = with(path) { bind(descriptor, $0, $1) }
        close(descriptor)
    }

    static func listen(_ path: String) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        _ = with(path) { bind(descriptor, $0, $1) }
        Foundation.listen(descriptor, 4)
        return descriptor
    }

    /// Sends bytes and returns what comes back up to so many lines, or the end; waits 60 s at most.
    static func exchange(_ path: String, _ bytes: [UInt8], pieceBy: Int = .max, lines: Int = 1) async throws -> String {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async {
                continuation.resume(with: Result { try blockingExchange(path, bytes, pieceBy: pieceBy, lines: lines) })
            }
        }
    }

    private static func blockingExchange(_ path: String, _ bytes: [UInt8], pieceBy: Int, lines: Int) throws -> String {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        guard with(path, { connect(descriptor, $0, $1) }) == 0 else { throw Failure() }
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = Array(rest.prefix(pieceBy))
            let sent = send(descriptor, piece, piece.count, Int32(MSG_NOSIGNAL))
            guard sent > 0 else { break }
            rest = rest.dropFirst(sent)
        }
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while answer.filter({ $0 == UInt8(ascii: "\n") }).count < lines {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { break }
            answer += chunk[..<count]
        }
        return String(decoding: answer, as: UTF8.self)
    }
}
