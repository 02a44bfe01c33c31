import CPublicSuffix
import PosternCore
import PosternEngine

/// The public suffix list, by libpsl: the newer of the list built into the library and the system's own file.
public final class PublicSuffixList: OrganisationalDomains, Sendable {
    // Read-only after loading: libpsl's look-ups do not change their context.
    private nonisolated(unsafe) let context: OpaquePointer

    /// `nil` where libpsl was built without a list and the system has none.
    public init?() {
        guard let context = psl_latest(nil) else { return nil }
        self.context = context
    }

    deinit { psl_free(context) }

    /// The registrable domain; names in U-labels are looked up as they are, which the list covers too.
    public func organisationalDomain(of name: DomainName) -> DomainName? {
        // What is found points into what was asked for, and lives no longer.
        name.text.withCString { text in
            psl_registrable_domain(context, text).flatMap { DomainName(String(cString: $0)) }
        }
    }
}
