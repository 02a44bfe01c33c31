import PosternCore

/// Octets from a file, decompressed where it is compressed. Reading is the edge's; this target only asks.
public protocol ByteSource: AnyObject {
    /// Appends some octets to `buffer`; `false` at the end, where nothing was appended.
    func read(into buffer: inout [UInt8]) throws(InputFailure) -> Bool
    /// Octets taken so far of the file as it lies on the disk: for a progress bar.
    var consumed: Int64 { get }
}

/// A file cannot be opened, or cannot be read to its end.
public struct InputFailure: Error, Equatable, Sendable, CustomStringConvertible {
    public var file: String
    public var message: String
    /// Whether it can be read, and is not what it should be.
    public var isBadData: Bool

    public init(file: String, message: String, isBadData: Bool = false) {
        self.file = file
        self.message = message
        self.isBadData = isBadData
    }

    public var description: String { "cannot read \(file): \(message)" }
}

/// A file to be read, more than once where it can be: to look at its first line, and in its turn.
public struct InputFile {
    /// As people know it.
    public var name: String
    /// Octets on the disk; `nil` where that is not known, as of a pipe.
    public var size: Int64?
    /// The year of stamps without one is told from it.
    public var modified: WallTime?
    /// Whether it may be opened again; a pipe is gone once it is read.
    public var isRepeatable: Bool
    public var open: () throws(InputFailure) -> any ByteSource

    public init(
        name: String, size: Int64? = nil, modified: WallTime? = nil, isRepeatable: Bool = true,
        open: @escaping () throws(InputFailure) -> any ByteSource
    ) {
        self.name = name
        self.size = size
        self.modified = modified
        self.isRepeatable = isRepeatable
        self.open = open
    }
}
