import AsyncHTTPClient
import Foundation
import LogFiles
import NIOCore
import NIOHTTP1
import PosternCore
import PosternEngine
import PosternReplay
import PublishedLists

/// Where a list comes from, and its bounds.
public struct SubscriptionSettings: Equatable, Sendable {
    public enum Source: Equatable, Sendable {
        /// An absolute path.
        case file(String)
        /// `http://` or `https://`.
        case web(String)
    }

    /// As explanations call it; also the name of the files that it is kept in.
    public var name: String
    public var source: Source
    public var format: ListReader.Format
    /// Of entries that name none.
    public var colour: ListColour
    /// Octets, as they come and decompressed.
    public var longest: Int
    /// For a whole download.
    public var patience: WallTime.Span

    public init(
        name: String, source: Source, format: ListReader.Format, colour: ListColour, longest: Int = 100_000_000,
        patience: WallTime.Span = .minutes(1)
    ) {
        self.name = name
        self.source = source
        self.format = format
        self.colour = colour
        self.longest = longest
        self.patience = patience
    }
}

/// What came of looking after a subscription.
public enum SubscriptionOutcome: Sendable {
    /// As it was.
    case unchanged
    /// With how many lines were no entries, and the first of them.
    case changed(SubscribedList, bad: Int, firstBad: String?)
    /// What there was stays in force. In words for the admin.
    case failed(String)
}

/// Keeps one list up to date: asks for it only where it has changed, keeps the last good one on disk, and never lets an empty
/// or broken one take its place.
public actor Subscription {
    /// What is kept beside the list, to ask whether it has changed.
    struct Kept: Codable, Equatable {
        var source: String
        var entityTag: String?
        var lastModified: String?
        /// Of a file: what changes when somebody writes to it.
        var stamp: String?
        var entries: Int
        /// The second of steady time that it was fetched at: what the list says in spans counts from there.
        var taken: UInt32?
    }

    public let settings: SubscriptionSettings
    private let folder: String
    private var kept: Kept?
    /// The last one was refused for being so much shorter: when the next is, too, it is meant.
    private var isSuspect = false

    /// Redirections that are followed.
    public static let mostRedirections = 5
    /// A list that has fewer than a tenth of what it had is not believed at once.
    static let suspiciousShrinkage = 10
    static let smallList = 100

    /// - Parameter folder: where the list is kept; it is made where it is missing.
    public init(_ settings: SubscriptionSettings, folder: String) {
        self.settings = settings
        self.folder = folder
    }

    private var listPath: String { "\(folder)/\(settings.name).list" }
    private var freshPath: String { "\(folder)/\(settings.name).new" }
    private var keptPath: String { "\(folder)/\(settings.name).json" }

    private var sourceText: String {
        switch settings.source {
        case .file(let path): path
        case .web(let address): (try? WebAddress(address).text) ?? address
        }
    }

    /// The last good list, as it lies on the disk; `nil` where there is none, it came from elsewhere, or it is no list in the format
    /// that is asked for now.
    public func restore(_ time: ZoneTime, checked: WallTime) -> SubscribedList? {
        guard let data = FileManager.default.contents(atPath: keptPath), let kept = try? JSONDecoder().decode(Kept.self, from: data),
            kept.source == sourceText, case .success(let read) = read(listPath, time, takenAt: kept.taken),
            read.isList
        else { return nil }
        self.kept = kept
        return SubscribedList(read, name: settings.name, checked: checked)
    }

    /// Looks whether there is another, and takes it.
    public func refresh(with client: HTTPClient?, _ time: ZoneTime, checked: WallTime) async -> SubscriptionOutcome {
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            defer { unlink(freshPath) }
            var fresh: Kept?
            switch settings.source {
            case .file(let path): fresh = try copy(path)
            case .web(let address):
                guard let client else { return .failed("there is no client for the web") }
                fresh = try await download(address, client)
            }
            guard var fresh else { return .unchanged }
            let outcome = try read(freshPath, time, takenAt: nil).get()
            try judge(outcome)
            fresh.entries = outcome.entries
            fresh.taken = time.now
            try keep(fresh)
            let firstBad = outcome.firstBad.map { "line \($0.line): \($0.reason)" }
            return .changed(SubscribedList(outcome, name: settings.name, checked: checked), bad: outcome.bad, firstBad: firstBad)
        } catch let failure as SubscriptionFailure {
            return .failed(failure.description)
        } catch {
            return .failed((error as? HTTPClientError)?.shortDescription ?? "\(error)")
        }
    }

    // MARK: - Fetching

    /// `nil` where it has not changed.
    private func copy(_ path: String) throws -> Kept? {
        var status = stat()
        guard stat(path, &status) == 0 else { throw SubscriptionFailure.system("cannot read \(path)", errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw SubscriptionFailure("\(path) is not a file") }
        guard status.st_size <= settings.longest else { throw SubscriptionFailure.tooLong(settings.longest) }
        let stamp = "\(status.st_dev) \(status.st_ino) \(status.st_size) \(status.st_mtim.tv_sec).\(status.st_mtim.tv_nsec)"
        if let kept, kept.stamp == stamp { return nil }
        let source = open(path, O_RDONLY | O_CLOEXEC)
        guard source >= 0 else { throw SubscriptionFailure.system("cannot read \(path)", errno) }
        defer { close(source) }
        let target = try create()
        defer { close(target) }
        var left = settings.longest + 1
        while left > 0 {
            let count = sendfile(target, source, nil, min(left, 1 << 20))
            guard count >= 0 else { throw SubscriptionFailure.system("cannot copy \(path)", errno) }
            if count == 0 { break }
            left -= count
        }
        guard left > 0 else { throw SubscriptionFailure.tooLong(settings.longest) }
        return Kept(source: path, stamp: stamp, entries: 0)
    }

    /// `nil` where it has not changed (RFC 9110 §13.1).
    private func download(_ address: String, _ client: HTTPClient) async throws -> Kept? {
        let address = try WebAddress(address)
        var request = HTTPClientRequest(url: address.text)
        // Not for other hosts that it may lead to: the client takes care of that.
        if let credentials = address.credentials {
            request.headers.add(name: "Authorization", value: "Basic \(Data(credentials).base64EncodedString())")
        }
        request.headers.add(name: "User-Agent", value: "postern")
        request.headers.add(name: "Accept-Encoding", value: "gzip")
        if let kept, kept.source == address.text {
            // RFC 9110 §13.1.3: the date counts only where there is no tag; who knows no tags goes by the date.
            if let tag = kept.entityTag { request.headers.add(name: "If-None-Match", value: tag) }
            if let date = kept.lastModified { request.headers.add(name: "If-Modified-Since", value: date) }
        }
        let asked = request
        let patience = settings.patience
        return try await withThrowingTaskGroup(of: Kept?.self) { group in
            group.addTask { try await self.fetch(asked, client) }
            group.addTask {
                try await Task.sleep(for: .milliseconds(patience.milliseconds))
                throw SubscriptionFailure("the download was not done after \(patience)")
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
    }

    private func fetch(_ request: HTTPClientRequest, _ client: HTTPClient) async throws -> Kept? {
        let response = try await client.execute(request, timeout: .milliseconds(settings.patience.milliseconds))
        switch response.status {
        case .notModified where kept != nil: return nil
        case .ok: break
        default: throw SubscriptionFailure("the server answered \(response.status.code) \(response.status.reasonPhrase)")
        }
        if let length = response.headers.first(name: "Content-Length").flatMap(Int.init), length > settings.longest {
            throw SubscriptionFailure.tooLong(settings.longest)
        }
        let target = try create()
        defer { close(target) }
        var count = 0
        for try await var piece in response.body {
            count += piece.readableBytes
            guard count <= settings.longest else { throw SubscriptionFailure.tooLong(settings.longest) }
            while let octets = piece.readBytes(length: min(piece.readableBytes, 1 << 20)), !octets.isEmpty {
                var written = 0
                while written < octets.count {
                    let result = octets.withUnsafeBytes { write(target, $0.baseAddress.map { $0 + written }, octets.count - written) }
                    guard result >= 0 || errno == EINTR else { throw SubscriptionFailure.system("cannot keep the list", errno) }
                    written += max(result, 0)
                }
            }
        }
        return Kept(
            source: request.url, entityTag: response.headers.first(name: "ETag"),
            lastModified: response.headers.first(name: "Last-Modified"),
            entries: 0)
    }

    private func create() throws -> Int32 {
        let target = open(freshPath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o640)
        guard target >= 0 else { throw SubscriptionFailure.system("cannot write \(freshPath)", errno) }
        return target
    }

    // MARK: - Judging

    /// Plain, or compressed by gzip or zstd.
    private func read(_ path: String, _ time: ZoneTime, takenAt: UInt32?) -> Result<ListReader.Outcome, SubscriptionFailure> {
        do throws(InputFailure) {
            let source = try LogFile.file(path).open()
            var reader = ListReader(
                settings.format, colour: settings.colour, reason: "listed by \(settings.name)", time: time, writtenAt: takenAt)
            var buffer: [UInt8] = []
            var count = 0
            while try source.read(into: &buffer) {
                count += buffer.count
                // A small file can hold a great deal of nothing.
                guard count <= settings.longest else { return .failure(.tooLong(settings.longest)) }
                buffer.withUnsafeBytes { reader.feed($0) }
                buffer.removeAll(keepingCapacity: true)
            }
            return .success(reader.finish())
        } catch {
            return .failure(SubscriptionFailure("it cannot be read to its end: \(error.message)"))
        }
    }

    private func judge(_ outcome: ListReader.Outcome) throws(SubscriptionFailure) {
        guard outcome.entries > 0 else {
            throw SubscriptionFailure(outcome.bad > 0 ? "no line of it is an entry: \(outcome.firstBad?.reason ?? "")" : "it is empty")
        }
        guard outcome.bad <= outcome.entries else {
            throw SubscriptionFailure("\(outcome.bad) lines of it are no entries, and only \(outcome.entries) are: it is no such list")
        }
        guard let before = kept?.entries, before >= Self.smallList, outcome.entries < before / Self.suspiciousShrinkage, !isSuspect
        else {
            isSuspect = false
            return
        }
        isSuspect = true
        throw SubscriptionFailure(
            "it has \(outcome.entries) entries, and had \(before): not believed unless it says so again")
    }

    private func keep(_ fresh: Kept) throws {
        let temporary = keptPath + ".new"
        try JSONEncoder().encode(fresh).write(to: URL(filePath: temporary))
        // The list first: with an older description it is asked for again.
        guard rename(freshPath, listPath) == 0, rename(temporary, keptPath) == 0 else {
            throw SubscriptionFailure.system("cannot keep the list", errno)
        }
        kept = fresh
    }
}

struct SubscriptionFailure: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) {
        self.description = description
    }

    static func system(_ what: String, _ number: Int32) -> SubscriptionFailure {
        SubscriptionFailure("\(what): \(String(cString: strerror(number)))")
    }

    static func tooLong(_ limit: Int) -> SubscriptionFailure { SubscriptionFailure("it is longer than \(limit) octets (max_size)") }
}

extension ListReader.Outcome {
    /// Whether it was read as what it is: most lines are entries, of which those that have expired by now were some, too.
    fileprivate var isList: Bool { entries + expired >= max(bad, 1) }
}

extension SubscribedList {
    fileprivate convenience init(_ read: ListReader.Outcome, name: String, checked: WallTime) {
        self.init(name: name, table: read.table, domains: read.domains, statements: read.statements, checked: checked)
    }
}

/// The client that lists of the web are fetched with.
public enum SubscriptionClient {
    public static func make() -> HTTPClient {
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .follow(max: Subscription.mostRedirections, allowCycles: false)
        configuration.timeout.connect = .seconds(10)
        configuration.timeout.read = .seconds(30)
        // What is compressed is kept so, and bounded when it is read.
        configuration.decompression = .disabled
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }
}
