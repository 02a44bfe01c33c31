import PosternCore
import PosternEngine

extension Configuration {
    /// What a listener with role `inner` has beside all that a gateway has.
    public struct Inner: Equatable, Sendable {
        /// The throttle's nodes: they bring the mail of others, and name them by XCLIENT.
        public var nodes = PrefixSet()
        /// Nodes at any address, by the certificate that they show: files in PEM.
        public var nodeCertificates: [String] = []
        /// And by a name in one that `nodeAuthorities` has signed.
        public var nodeNames: [DomainName] = []
        /// A file in PEM.
        public var nodeAuthorities: String?
        /// Where it is seen whether nodes can be reached; empty for port 25 of those `nodes` that are single addresses.
        public var nodeChecks: [Address] = []
        public var checkInterval = WallTime.Span.seconds(30)
        /// What a stranger is told to do; printable ASCII.
        public var advice = defaultAdvice
        /// Sessions in which a stranger is put off with 450 and that advice.
        public var deferrals = 5
        /// Sessions that are then ended with 421 at once.
        public var refusals = 10
        /// For how long a stranger then gets no answer.
        public var silence = WallTime.Span.minutes(15)
        /// Strangers remembered.
        public var strangers = 100_000

        public static let defaultAdvice =
            "This host takes mail of known senders only; please try the other mail exchangers of the domain, or write to postmaster here"

        public init() {}

        /// What is asked whether it is there.
        public var checked: [Address] {
            nodeChecks.isEmpty ? nodes.prefixes.filter(\.isSingleAddress).map { Address.tcp($0.address, port: 25) } : nodeChecks
        }
    }
}

extension Prefix {
    fileprivate var isSingleAddress: Bool { length == address.family.bits }
}

// MARK: - Reading

extension ConfigurationLoader {
    /// Keys of a listener that only an inner door has, besides those of a gateway.
    static let innerKeys = [
        "nodes", "node_certificates", "node_names", "node_ca", "node_checks", "node_check_interval", "advice", "deferrals", "refusals",
        "silence", "strangers",
    ]
    /// More is a slip.
    private static let mostChecks = 256

    /// Reads an inner door's keys from its listener; `nil` where they are wrong, which is reported, or the role is another.
    func inner(_ mapping: Mapping, role: Configuration.Role) -> Configuration.Inner? {
        var values: [String: Value] = [:]
        for key in Self.innerKeys { values[key] = mapping.take(key) }
        guard role == .inner else {
            for key in Self.innerKeys { values[key]?.conflict("'\(key)' belongs to a listener with role inner") }
            return nil
        }
        guard let nodesValue = values["nodes"] ?? values["node_certificates"] ?? values["node_names"] else {
            report.error(mapping.mark, "an inner door has no nodes; write nodes: [192.0.2.1], the addresses of the throttle's nodes")
            return nil
        }
        var inner = Configuration.Inner()
        if let nodes = values["nodes"]?.prefixes() { inner.nodes = nodes }
        if let value = values["node_certificates"], let elements = value.list(of: "paths") {
            if elements.count > Self.mostChecks { value.error("\(elements.count) files are more than \(Self.mostChecks)") }
            inner.nodeCertificates = elements.compactMap { $0.text("a path") }
        }
        if let value = values["node_names"], let elements = value.list(of: "names") {
            if elements.count > Self.mostChecks { value.error("\(elements.count) names are more than \(Self.mostChecks)") }
            inner.nodeNames = elements.compactMap { $0.domainName() }
        }
        inner.nodeAuthorities = values["node_ca"]?.text("a path")
        if let value = values["node_names"], inner.nodeAuthorities == nil {
            value.conflict("node_names needs node_ca: anybody can put a name into a certificate")
        }
        if let value = values["node_ca"], values["node_names"] == nil {
            value.conflict("node_ca needs node_names: which of those whose certificates it has signed are nodes")
        }
        if let value = values["node_checks"], let elements = value.list(of: "addresses") {
            if elements.count > Self.mostChecks { value.error("\(elements.count) addresses are more than \(Self.mostChecks)") }
            inner.nodeChecks = elements.compactMap { address($0, mode: nil, group: nil) }
        }
        if let span = values["node_check_interval"]?.duration(.milliseconds(10) ... .hours(1)) { inner.checkInterval = span }
        if let text = values["advice"]?.replyText() { inner.advice = text }
        if let number = values["deferrals"]?.integer(1...1000) { inner.deferrals = number }
        if let number = values["refusals"]?.integer(0...1000) { inner.refusals = number }
        if let span = values["silence"]?.duration(.zero ... .days(1)) { inner.silence = span }
        if let number = values["strangers"]?.integer(1...10_000_000) { inner.strangers = number }
        if inner.nodes.isEmpty, inner.nodeCertificates.isEmpty, inner.nodeNames.isEmpty {
            nodesValue.error("an inner door needs a node")
        } else if inner.checked.isEmpty {
            nodesValue.warning(
                "no node can be checked, so the door stays shut when none can be reached; write node_checks: [\"192.0.2.1:25\"]")
        }
        return inner
    }
}

// MARK: - Printing

extension Configuration.Inner {
    /// The listener's further lines in `config show`: key and value.
    var yaml: [(String, String)] {
        var lines = [("nodes", YAMLText.list(nodes.prefixes))]
        if !nodeCertificates.isEmpty { lines.append(("node_certificates", YAMLText.list(nodeCertificates))) }
        if !nodeNames.isEmpty { lines.append(("node_names", YAMLText.list(nodeNames))) }
        if let nodeAuthorities { lines.append(("node_ca", YAMLText.quoted(nodeAuthorities))) }
        if !nodeChecks.isEmpty { lines.append(("node_checks", YAMLText.list(nodeChecks))) }
        lines += [
            ("node_check_interval", checkInterval.description), ("advice", YAMLText.quoted(advice)), ("deferrals", String(deferrals)),
            ("refusals", String(refusals)), ("silence", silence.description), ("strangers", String(strangers)),
        ]
        return lines
    }
}
