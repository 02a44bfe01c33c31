import DNSProtocol
import PosternCore
import SPF

/// A `Resolver` as an SPF check sees it: one deadline for all questions of the check.
public struct SPFLookups: SPFResolver {
    private let resolver: Resolver
    private let deadline: Deadline

    /// - Parameter deadline: from then on every question that is not known already comes to a temporary failure.
    public init(_ resolver: Resolver, deadline: Deadline) {
        self.resolver = resolver
        self.deadline = deadline
    }

    public func texts(of name: QueryName) async -> SPFAnswer<[[UInt8]]> {
        await ask(name, .txt) { if case .txt(let strings) = $0 { strings } else { nil } }
    }

    public func addresses(of name: QueryName, family: IPAddress.Family) async -> SPFAnswer<IPAddress> {
        await ask(name, family == .v4 ? .a : .aaaa) { $0.address }
    }

    public func mailExchangers(of name: QueryName) async -> SPFAnswer<String> {
        await ask(name, .mx) { if case .mx(_, let host) = $0 { host.description } else { nil } }
    }

    public func reverseNames(of address: IPAddress) async -> SPFAnswer<String> {
        await ask(Question(ListName.pointer(address), .ptr)) { if case .ptr(let host) = $0 { host.description } else { nil } }
    }

    private func ask<Record: Sendable>(
        _ name: QueryName, _ type: RecordType, _ record: (RecordData) -> Record?
    ) async -> SPFAnswer<Record> {
        // Every octet of a label stands for itself, so nothing is an escape. One that is no name has no records.
        guard let name = DNSName(labels: name.text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)) else {
            return .noSuchDomain
        }
        return await ask(Question(name, type), record)
    }

    private func ask<Record: Sendable>(_ question: Question, _ record: (RecordData) -> Record?) async -> SPFAnswer<Record> {
        switch await resolver.ask(question, deadline: deadline).outcome {
        case .records(let records, _): .records(records.compactMap(record))
        case .noData: .records([])
        case .noSuchDomain: .noSuchDomain
        case .failure: .temporaryFailure
        }
    }
}
