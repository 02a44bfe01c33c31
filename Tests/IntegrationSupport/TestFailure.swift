/// What went wrong while real servers were started, driven or waited for, in words for the reader of a test's output.
public struct TestFailure: Error, CustomStringConvertible, Equatable {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}
