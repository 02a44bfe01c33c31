import DNSProtocol
import PosternCore
import PosternEngine
import PosternResolver
import SPF

/// The questions of one SPF check, put to our resolver under one deadline.
public struct SPFQuestions: SPFResolver {
    private let resolver: Resolver
    private let deadline: Deadline

    public init(resolver: Resolver, deadline: Deadline) {
        self.resolver = resolver
        self.deadline = deadline
    }

    public func texts(of name: QueryName) async -> SPFAnswer<[[UInt8]]> {
        await ask(name, .txt) { answer in
            answer.records.compactMap { if case .txt(let strings) = $0 { strings } else { nil } }
        }
    }

    public func addresses(of name: QueryName, family: IPAddress.Family) async -> SPFAnswer<IPAddress> {
        await ask(name, family == .v4 ? .a : .aaaa) { $0.addresses }
    }

    public func mailExchangers(of name: QueryName) async -> SPFAnswer<String> {
        await ask(name, .mx) { $0.exchanges.map { $0.host.isRoot ? "." : "\($0.host)" } }
    }

    public func reverseNames(of address: IPAddress) async -> SPFAnswer<String> {
        Self.read(await resolver.ask(Question(ListName.pointer(address), .ptr), deadline: deadline)) { $0.names.map { "\($0)" } }
    }

    private func ask<Record>(_ name: QueryName, _ type: RecordType, _ records: (Answer) -> [Record]) async -> SPFAnswer<Record> {
        // Here every octet of a label stands for itself, so nothing is an escape.
        guard let name = DNSName(labels: name.text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)) else {
            return .noSuchDomain
        }
        return Self.read(await resolver.ask(Question(name, type), deadline: deadline), records)
    }

    private static func read<Record>(_ answer: Answer, _ records: (Answer) -> [Record]) -> SPFAnswer<Record> {
        switch answer.outcome {
        case .records: .records(records(answer))
        case .noData: .records([])
        case .noSuchDomain: .noSuchDomain
        case .failure: .temporaryFailure
        }
    }
}

extension SPFFinding {
    init(_ outcome: SPFOutcome) {
        self.init(Result(outcome.result), domain: outcome.domain, identifies: outcome.givesIdentity)
    }
}

extension SPFFinding.Result {
    init(_ result: SPFResult) {
        self =
            switch result {
            case .none: .none
            case .neutral: .neutral
            case .pass: .pass
            case .fail: .fail
            case .softfail: .softfail
            case .temperror: .temperror
            case .permerror: .permerror
            }
    }
}
