import DNSProtocol
import Foundation

/// Names and their records, for a `ScriptedDNSServer` that answers as a recursive resolver would; may change meanwhile.
// Guarded by its lock.
public final class ScriptedZone: @unchecked Sendable {
    private let lock = NSLock()
    private var records: [DNSName: [ResourceRecord]] = [:]
    private var scripts: [DNSName: ScriptedDNSServer.Script] = [:]

    public init() {}

    /// Adds records of a name, their times to live 300 s unless said otherwise.
    public func add(_ name: String, _ data: RecordData..., timeToLive: UInt32 = 300) {
        guard let name = DNSName(name) else { return }
        lock.withLock { records[name, default: []] += data.map { ResourceRecord(name, $0, timeToLive: timeToLive) } }
    }

    public func add(_ name: String, text: String) {
        var octets = Array(text.utf8)[...]
        var strings: [[UInt8]] = []
        repeat {
            strings.append(Array(octets.prefix(255)))
            octets = octets.dropFirst(255)
        } while !octets.isEmpty
        add(name, .txt(strings))
    }

    public func add(_ name: String, alias target: String) {
        if let target = DNSName(target) { add(name, .cname(target)) }
    }

    public func add(_ name: String, exchange host: String, preference: UInt16 = 10) {
        if let host = DNSName(host) { add(name, .mx(preference: preference, exchange: host)) }
    }

    public func add(_ name: String, pointer host: String) {
        if let host = DNSName(host) { add(name, .ptr(host)) }
    }

    /// Answers all questions for a name as a script says.
    public func add(_ name: String, script: @escaping ScriptedDNSServer.Script) {
        guard let name = DNSName(name) else { return }
        lock.withLock { scripts[name] = script }
    }

    public func remove(_ name: String) {
        guard let name = DNSName(name) else { return }
        lock.withLock {
            records[name] = nil
            scripts[name] = nil
        }
    }

    public var script: ScriptedDNSServer.Script {
        { [self] query, transport in
            guard let question = query.questions.first else { return .silence }
            if let script = lock.withLock({ scripts[question.name] }) { return script(query, transport) }
            return .message(answer(query, question))
        }
    }

    private func answer(_ query: DNSMessage, _ question: Question) -> DNSMessage {
        var found: [ResourceRecord] = []
        var name = question.name
        for _ in 0..<12 {
            let records = lock.withLock { self.records[name] }
            guard let records else {
                return query.answer(found, authorities: [Self.authority], code: .noSuchDomain)
            }
            let wanted = records.filter { $0.type == question.type }
            if !wanted.isEmpty { return query.answer(found + wanted) }
            guard case .cname(let target)? = records.first(where: { $0.type == .cname })?.data else { break }
            found += records.filter { $0.type == .cname }.prefix(1)
            name = target
        }
        return query.answer(found, authorities: [Self.authority])
    }

    /// Everything here is in the root zone, whose negative answers hold for a minute.
    public static let authority = ResourceRecord(
        .root, .soa(StartOfAuthority(primary: .root, contact: .root, serial: 1, refresh: 60, retry: 60, expire: 60, minimum: 60)),
        timeToLive: 60)
}
