import Glibc
import Logging
import NIOConcurrencyHelpers
import PosternCore
import PosternEngine

/// The admin's .mmdb files, read again when they change.
public final class NetworkDatabases: NetworkLookUp {
    private struct File {
        var path: String
        /// What it was like when it was opened, or when that failed; `nil` before the first look.
        var mark: Mark?
        var database: NetworkDatabase?
    }

    /// Whatever changes when a file does.
    private enum Mark: Equatable {
        case missing
        case present(device: UInt, inode: UInt, size: Int, seconds: Int, nanoseconds: Int)
    }

    private let files: NIOLockedValueBox<[File]>
    /// What look-ups use: replaced as a whole.
    private let databases = NIOLockedValueBox<[NetworkDatabase]>([])
    private let logger: Logger

    /// Opens what can be opened.
    public init(_ paths: [String], logger: Logger) {
        self.logger = logger
        files = NIOLockedValueBox(paths.map { File(path: $0) })
        refresh()
    }

    /// The same for a command, which tells of `unread` itself.
    public convenience init(_ paths: [String]) {
        self.init(paths, logger: .silent)
    }

    /// The files that tell nothing, since they are missing or damaged.
    public var unread: [String] { files.withLockedValue { files in files.filter { $0.database == nil }.map(\.path) } }

    /// Takes up other files.
    public func update(_ paths: [String]) {
        files.withLockedValue { files in
            files = paths.map { path in files.first { $0.path == path } ?? File(path: path) }
        }
        refresh()
    }

    /// Opens anew what has changed. A file that cannot be read, or is damaged, is told of once and does without until it
    /// changes; while one is being written, or is damaged by that, the last good one stays.
    public func refresh() {
        let opened = files.withLockedValue { files -> [NetworkDatabase] in
            for index in files.indices { refresh(&files[index]) }
            return files.compactMap(\.database)
        }
        databases.withLockedValue { $0 = opened }
    }

    private func refresh(_ file: inout File) {
        let mark = Self.mark(of: file.path)
        guard mark != file.mark else { return }
        let name: Logger.Metadata = ["file": "\(file.path)"]
        guard mark != .missing else {
            file.mark = mark
            file.database = nil
            logger.warning("a database of countries and networks is missing; what it would tell is not checked", metadata: name)
            return
        }
        do throws(NetworkDatabase.OpenFailure) {
            file.database = try NetworkDatabase(path: file.path)
            file.mark = mark
            logger.info("a database of countries and networks was read", metadata: name)
        } catch {
            // Being written: the next look comes soon.
            guard error != .changing else { return }
            file.mark = mark
            let rest = file.database == nil ? "what it would tell is not checked" : "the one read before stays in use"
            logger.warning(
                "a database of countries and networks cannot be used; \(rest)", metadata: name.merging(["error": "\(error)"]) { $1 })
        }
    }

    private static func mark(of path: String) -> Mark {
        var status = stat()
        guard stat(path, &status) == 0 else { return .missing }
        return .present(
            device: UInt(status.st_dev), inode: UInt(status.st_ino), size: status.st_size, seconds: status.st_mtim.tv_sec,
            nanoseconds: status.st_mtim.tv_nsec)
    }

    /// Looks for changes once a second, until cancelled. Look-ups never wait for it.
    public func watch(every pace: Duration = .seconds(1)) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: pace)
            refresh()
        }
    }

    public func country(of address: IPAddress) -> String? {
        for database in databases.withLockedValue({ $0 }) {
            if let country = database.country(of: address) { return country }
        }
        return nil
    }

    public func owner(of address: IPAddress) -> NetworkOwner? {
        for database in databases.withLockedValue({ $0 }) {
            if let owner = database.owner(of: address) { return owner }
        }
        return nil
    }
}
