import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import PosternCore

/// What is told of an account that was stopped.
public struct Notice: Codable, Equatable, Sendable {
    public var event = "account-suspended"
    public var account: String
    public var reason: String
    /// RFC 3339.
    public var time: String
    /// Ours.
    public var hostname: String

    public init(account: String, reason: String, time: String, hostname: String) {
        self.account = account
        self.reason = reason
        self.time = time
        self.hostname = hostname
    }

    /// As both a webhook and a command get it.
    public var json: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // A structure of strings has a JSON form.
        return (try? encoder.encode(self)).map(Array.init) ?? []
    }
}

/// A POST to an address of the admin's.
public enum Webhook {
    public static let timeout = TimeAmount.seconds(10)
    /// Tries, with a growing pause between them.
    public static let tries = 3

    public struct Refused: Error, CustomStringConvertible {
        let status: UInt

        public var description: String { "it answered \(status)" }
    }

    /// What the address says of who asks goes as basic authorization (RFC 7617).
    public static func post(_ notice: Notice, to url: String) async throws {
        let address = try WebAddress(url)
        for attempt in 1...tries {
            do {
                var request = HTTPClientRequest(url: address.text)
                request.method = .POST
                if let credentials = address.credentials {
                    request.headers.add(name: "authorization", value: "Basic \(Data(credentials).base64EncodedString())")
                }
                request.headers.add(name: "content-type", value: "application/json")
                request.headers.add(name: "user-agent", value: "postern")
                request.body = .bytes(ByteBuffer(bytes: notice.json))
                let response = try await HTTPClient.shared.execute(request, timeout: timeout)
                guard (200..<300).contains(response.status.code) else { throw Refused(status: response.status.code) }
                return
            } catch {
                guard attempt < tries else { throw error }
                try await Task.sleep(for: .seconds(attempt * 2))
            }
        }
    }
}
