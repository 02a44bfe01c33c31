import PosternEngine

/// Why a request was not carried out: a code of sysexits(3), which becomes the command's exit code, and words for the admin.
public struct ControlFailure: Error, Codable, Equatable, Sendable, CustomStringConvertible {
    public enum Code: Int32, Codable, Sendable, CaseIterable {
        /// What was asked for makes no sense, or is not there.
        case badData = 65
        /// An input file is not there or cannot be read.
        case noInput = 66
        /// The daemon or the store cannot be reached, or does not work.
        case unavailable = 69
        /// A file cannot be created.
        case cannotCreate = 73
        /// Reading or writing failed.
        case inputOutput = 74
        /// It may work later.
        case temporary = 75
        /// The two sides do not understand each other: they are of different versions.
        case protocolMismatch = 76
        case noPermission = 77
        case configuration = 78
    }

    public var code: Code
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// A store's failure in these terms.
    public init(_ failure: StoreFailure) {
        let code: Code =
            switch failure.kind {
            case .locked, .overloaded: .temporary
            case .full: .inputOutput
            case .denied: .noPermission
            case .uncreatable: .cannotCreate
            case .newer: .configuration
            case .corrupt, .closed, .other: .unavailable
            }
        self.init(code, failure.message)
    }

    public var description: String { message }
}
