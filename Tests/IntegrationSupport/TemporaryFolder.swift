import Foundation

/// A folder of its own for one test, below the system's temporary folder; it goes when the last reference does.
public final class TemporaryFolder: Sendable {
    /// Absolute, without symbolic links, readable by every user (servers drop to users of their own).
    public let path: String

    /// - Parameter prefix: the start of the folder's name; keep it short, UNIX socket paths end at 107 bytes.
    public init(_ prefix: String = "postern") throws {
        let base = URL(fileURLWithPath: NSTemporaryDirectory()).resolvingSymlinksInPath().path
        var template = Array("\(base)/\(prefix)-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestFailure("mkdtemp in \(base): \(String(cString: strerror(errno)))") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        chmod(path, 0o755)
    }

    deinit {
        remove()
    }

    /// The absolute path of `name` below this folder.
    public func file(_ name: String) -> String {
        "\(path)/\(name)"
    }

    /// Writes `text` to `name` below this folder, with the folders on the way, and returns the file's path.
    @discardableResult
    public func write(_ text: String, to name: String) throws -> String {
        let target = file(name)
        try FileManager.default.createDirectory(
            atPath: URL(fileURLWithPath: target).deletingLastPathComponent().path, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: URL(fileURLWithPath: target))
        return target
    }

    /// The text of `name` below this folder, empty where there is no such file.
    public func read(_ name: String) -> String {
        guard let data = FileManager.default.contents(atPath: file(name)) else { return "" }
        return String(decoding: data, as: UTF8.self)
    }

    /// Removes the folder now. Stop what runs in it first.
    public func remove() {
        guard FileManager.default.fileExists(atPath: path) else { return }
        // An ordinary user's servers leave files of subordinate users behind.
        if geteuid() != 0, FileManager.default.fileExists(atPath: file(".view")) {
            _ = try? ServerRoots.script(["clean", path])
        } else {
            try? FileManager.default.removeItem(atPath: path)
        }
    }
}
