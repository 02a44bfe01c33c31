import Foundation

/// A headless Chromium of one test's own, driven through the DevTools protocol. All calls block their thread: use it within
/// `Chromium.drive`.
public final class Chromium {
    private let process: RunningProcess
    private let root: PrivateRoot
    private let socket: DevToolsSocket
    private var nextID = 1
    private var session = ""
    /// What pages complained of: exceptions, refused resources, breaches of the content security policy.
    public private(set) var complaints: [String] = []

    /// Starts a browser, hands it to the body on a thread of its own, and ends it.
    public static func drive<Result: Sendable>(_ body: @escaping @Sendable (Chromium) throws -> Result) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                do {
                    let browser = try Chromium()
                    defer { browser.end() }
                    continuation.resume(returning: try body(browser))
                } catch {
                    continuation.resume(throwing: error)
                }
            }
        }
    }

    private init() throws {
        root = try PrivateRoot("chromium", folder: TemporaryFolder("chromium"))
        process = try root.start([
            "/usr/lib/chromium/chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--ignore-certificate-errors", "--remote-debugging-port=0", "--user-data-dir=/var/profile",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            "about:blank",
        ])
        let deadline = Date(timeIntervalSinceNow: 30)
        var lines: [Substring] = []
        while lines.count < 2 {
            lines = root.folder.read("var/profile/DevToolsActivePort").split(separator: "\n")
            guard Date() < deadline, process.isRunning else { throw TestFailure("chromium does not start\n\(process.logTail)") }
            usleep(20_000)
        }
        guard let port = UInt16(lines[0]) else { throw TestFailure("chromium's port is \(lines[0])") }
        socket = try DevToolsSocket(port: port, path: String(lines[1]))
        let target = try call("Target.createTarget", ["url": "about:blank"])["targetId"] ?? ""
        session = try call("Target.attachToTarget", ["targetId": target, "flatten": true])["sessionId"] as? String ?? ""
        for domain in ["Page", "Runtime", "Log", "Accessibility", "DOM"] { _ = try call("\(domain).enable") }
    }

    private func end() {
        process.kill()
    }

    // MARK: - Pages

    /// How wide the window is, and whether the system asks for dark colours.
    public func look(width: Int, height: Int, dark: Bool) throws {
        _ = try call(
            "Emulation.setDeviceMetricsOverride",
            ["width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600])
        _ = try call(
            "Emulation.setEmulatedMedia", ["features": [["name": "prefers-color-scheme", "value": dark ? "dark" : "light"]]])
    }

    /// Goes to a page, and does not wait for it.
    public func go(to url: String) throws { _ = try call("Page.navigate", ["url": url]) }

    /// Opens a page and waits until it is loaded.
    public func open(_ url: String) throws {
        try go(to: url)
        try await_("document.readyState === 'complete' && location.href.startsWith(\(Self.literal(url.prefix { $0 != "?" && $0 != "#" })))")
    }

    /// Waits until a JavaScript expression is true.
    public func await_(_ expression: String, seconds: Double = 10) throws {
        let deadline = Date(timeIntervalSinceNow: seconds)
        while (try? evaluate("!!(\(expression))")) as? Bool != true {
            guard Date() < deadline else { throw TestFailure("in vain: \(expression)\n\(try text())") }
            usleep(20_000)
        }
    }

    /// What a JavaScript expression comes to, as JSON has it.
    @discardableResult
    public func evaluate(_ expression: String) throws -> Any? {
        let reply = try call("Runtime.evaluate", ["expression": expression, "returnByValue": true, "awaitPromise": true])
        if let details = reply["exceptionDetails"] as? [String: Any] { throw TestFailure("\(expression): \(details)") }
        return (reply["result"] as? [String: Any])?["value"]
    }

    public func text() throws -> String { try evaluate("document.body.innerText") as? String ?? "" }

    public func press(_ key: String) throws {
        let codes = ["Tab": 9, "Enter": 13]
        for type in ["keyDown", "keyUp"] {
            var event: [String: Any] = ["type": type, "key": key, "code": key, "windowsVirtualKeyCode": codes[key] ?? 0]
            if key == "Enter", type == "keyDown" { event["text"] = "\r" }
            _ = try call("Input.dispatchKeyEvent", event)
        }
    }

    public func type(_ text: String) throws { _ = try call("Input.insertText", ["text": text]) }

    /// A picture of the whole page, as PNG.
    public func picture(to path: String) throws {
        let reply = try call("Page.captureScreenshot", ["format": "png", "captureBeyondViewport": true])
        guard let data = (reply["data"] as? String).flatMap({ Data(base64Encoded: $0) }) else { throw TestFailure("no picture") }
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try data.write(to: URL(filePath: path))
    }

    /// What a screen reader has: role and name of everything that is not hidden from it.
    public func accessibilityTree() throws -> [(role: String, name: String)] {
        let nodes = try call("Accessibility.getFullAXTree")["nodes"] as? [[String: Any]] ?? []
        return nodes.filter { $0["ignored"] as? Bool != true }.map { node in
            let role = (node["role"] as? [String: Any])?["value"] as? String ?? ""
            let name = (node["name"] as? [String: Any])?["value"] as? String ?? ""
            return (role, name)
        }
    }

    static func literal(_ text: some StringProtocol) -> String {
        let data = try? JSONSerialization.data(withJSONObject: [String(text)])
        return String(decoding: data ?? Data("[\"\"]".utf8), as: UTF8.self).dropFirst().dropLast().description
    }

    // MARK: - The protocol

    private func call(_ method: String, _ parameters: [String: Any] = [:]) throws -> [String: Any] {
        let id = nextID
        nextID += 1
        var message: [String: Any] = ["id": id, "method": method, "params": parameters]
        if !session.isEmpty { message["sessionId"] = session }
        try socket.send(try JSONSerialization.data(withJSONObject: message))
        while true {
            let data = try socket.receive()
            guard let reply = try JSONSerialization.jsonObject(with: data) as? [String: Any] else { continue }
            note(reply)
            guard reply["id"] as? Int == id else { continue }
            if let error = reply["error"] { throw TestFailure("\(method): \(error)") }
            return reply["result"] as? [String: Any] ?? [:]
        }
    }

    private func note(_ event: [String: Any]) {
        guard let parameters = event["params"] as? [String: Any] else { return }
        switch event["method"] as? String {
        case "Runtime.exceptionThrown": complaints.append("\(parameters["exceptionDetails"] ?? "")")
        case "Log.entryAdded":
            if let entry = parameters["entry"] as? [String: Any], entry["level"] as? String == "error" {
                complaints.append("\(entry["text"] ?? "") \(entry["url"] ?? "")")
            }
        default: break
        }
    }
}

/// A WebSocket to a browser on this machine (RFC 6455), as far as that takes.
final class DevToolsSocket {
    private let descriptor: Int32
    private var buffer: [UInt8] = []
    private static let patience: Int32 = 20_000

    init(port: UInt16, path: String) throws {
        descriptor = Foundation.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard connected == 0 else { throw TestFailure("chromium does not listen on \(port)") }
        let key = Data((0..<16).map { _ in UInt8.random(in: 0...255) }).base64EncodedString()
        try write(
            Array(
                "GET \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \(key)\r\nSec-WebSocket-Version: 13\r\n\r\n"
                    .utf8))
        while buffer.firstRange(of: Array("\r\n\r\n".utf8)) == nil { try read() }
        guard let end = buffer.firstRange(of: Array("\r\n\r\n".utf8)), buffer.starts(with: Array("HTTP/1.1 101".utf8)) else {
            throw TestFailure("chromium refuses a WebSocket")
        }
        buffer.removeFirst(end.upperBound)
    }

    deinit { close(descriptor) }

    /// One text message, masked as a client's must be (§5.3).
    func send(_ payload: Data) throws {
        var frame: [UInt8] = [0x81]
        switch payload.count {
        case ..<126: frame.append(0x80 | UInt8(payload.count))
        case ..<65_536: frame += [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        default: frame += [0x80 | 127] + (0..<8).reversed().map { UInt8(payload.count >> (8 * $0) & 255) }
        }
        // A mask of zeros leaves the payload as it is.
        frame += [0, 0, 0, 0]
        try write(frame + payload)
    }

    /// The next message.
    func receive() throws -> Data {
        var message = Data()
        while true {
            try need(2)
            let (first, second) = (buffer[0], buffer[1] & 0x7f)
            var length = Int(second)
            var start = 2
            if second >= 126 {
                let count = second == 126 ? 2 : 8
                try need(2 + count)
                length = buffer[2..<2 + count].reduce(0) { $0 << 8 | Int($1) }
                start = 2 + count
            }
            try need(start + length)
            let payload = buffer[start..<start + length]
            switch first & 0x0f {
            case 0, 1: message.append(contentsOf: payload)
            case 8: throw TestFailure("chromium hung up")
            default: break
            }
            buffer.removeFirst(start + length)
            if first & 0x80 != 0, first & 0x0f <= 1 { return message }
        }
    }

    private func need(_ count: Int) throws { while buffer.count < count { try read() } }

    private func read() throws {
        var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&wanted, 1, Self.patience) > 0 else { throw TestFailure("chromium does not answer") }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = Foundation.read(descriptor, &bytes, bytes.count)
        guard count > 0 else { throw TestFailure("chromium hung up") }
        buffer += bytes[..<count]
    }

    private func write(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { throw TestFailure("chromium hung up") }
            rest = rest.dropFirst(count)
        }
    }
}
