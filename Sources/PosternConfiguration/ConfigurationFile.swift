import Foundation
import PosternCore

/// Finds and reads the configuration file.
public struct ConfigurationFile: Equatable, Sendable {
    /// `nil` stands for the built-in defaults.
    public var path: String?

    /// Where the file is looked for when nobody names another.
    public static let systemPath = "/etc/postern/postern.yaml"

    /// The variable of the environment that names the file.
    public static let variable = "POSTERN_CONFIG"

    /// `named` (from `--config`), else what `$POSTERN_CONFIG` names, else `/etc/postern/postern.yaml` where there is one,
    /// else none. An empty variable names nothing.
    public init(named: String?, environment: [String: String] = ProcessInfo.processInfo.environment, systemPath: String = Self.systemPath) {
        let variable = environment[Self.variable].flatMap { $0.isEmpty ? nil : $0 }
        path = named ?? variable ?? (FileManager.default.fileExists(atPath: systemPath) ? systemPath : nil)
    }

    /// Reads and checks the file. A file that cannot be read is an error at its first character. `descriptors` is how many a
    /// process may have, where it is to be warned of wanting more.
    public func load(descriptors: Int? = nil) throws(ConfigurationFailure) -> ConfigurationLoader.Loaded {
        let defaults = Self.defaults(machineName: Self.machineName)
        guard let path else { return ConfigurationLoader.Loaded(configuration: defaults, warnings: []) }
        return try ConfigurationLoader.load(try Self.read(path), file: path, defaults: defaults, descriptors: descriptors)
    }

    /// The built-in defaults on a machine of this name; a name that is no domain name counts for nothing.
    static func defaults(machineName: String) -> Configuration {
        var defaults = Configuration()
        if let name = DomainName(machineName)?.asciiForm, !name.hasHyphenAtLabelEnd { defaults.hostname = name.text }
        return defaults
    }

    private static func read(_ path: String) throws(ConfigurationFailure) -> String {
        func failure(line: Int = 1, _ message: String) -> ConfigurationFailure {
            ConfigurationFailure([Diagnostic(.error, file: path, line: line, column: 1, message)])
        }
        let data: Data
        do {
            data = try readBounded(path)
        } catch {
            throw failure("this file cannot be read: \(error.words)")
        }
        if let text = String(validating: data, as: UTF8.self) { return text }
        let lines = data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let bad = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
        throw failure(line: bad + 1, "this line is not UTF-8 text")
    }

    private struct Failure: Error {
        var words: String
    }

    /// At most one octet more than the loader takes, so that a device or a log named by mistake costs nothing.
    private static func readBounded(_ path: String) throws(Failure) -> Data {
        var isFolder: ObjCBool = false
        if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue {
            throw Failure(words: "it is a folder")
        }
        guard let handle = FileHandle(forReadingAtPath: path) else { throw Failure(words: String(cString: strerror(errno))) }
        defer { try? handle.close() }
        do {
            return try handle.read(upToCount: ConfigurationLoader.maximumSize + 1) ?? Data()
        } catch {
            throw Failure(words: error.localizedDescription)
        }
    }

    private static var machineName: String {
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "" }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
