import IntegrationSupport
import Testing

extension Trait where Self == ConditionTrait {
    /// Skips a test where one of the servers cannot be run here, saying how to get it. With `CI` set it runs, and fails.
    static func servers(_ names: String...) -> Self {
        let missing = ServerRoots.missing(names)
        return .enabled(if: requireServer(names), Comment(rawValue: missing ?? "runs in CI"))
    }
}
