import DNSProtocol
import PosternCore
import PosternEngine
import Yams

// What is looked up: resolvers, DNS lists, countries and networks.

extension ConfigurationLoader {
    /// More is a slip: every one of them is asked about every client.
    static let mostLists = 64
    static let mostDatabases = 8

    func readDNS(_ section: Mapping, lists: Value?) {
        let resolvers = section.take("resolvers")
        var servers: [(server: Configuration.DNS.Resolver, value: Value)] = []
        if let value = resolvers {
            if value.node.string == "system" {
                configuration.dns.resolvers = .system
            } else if let elements = value.list(of: "addresses") {
                servers = elements.compactMap { element in element.resolver().map { ($0, element) } }
                configuration.dns.resolvers = .listed(servers.map(\.server))
            }
        }
        if let timeout = section.take("timeout")?.duration(.milliseconds(1) ... .seconds(60)) { configuration.dns.timeout = timeout }
        section.finish()
        readLists(lists)
        guard !configuration.dnsLists.isEmpty else { return }
        if resolvers != nil, configuration.dns.resolvers == .listed([]) {
            lists?.warning("nobody is asked, since dns.resolvers is []")
        }
        for (server, value) in servers where PublicResolvers.contains(server.address) {
            value.warning("\(server.address) \(PublicResolvers.advice)")
        }
    }

    // MARK: - DNS lists

    private func readLists(_ value: Value?) {
        guard let value else { return }
        // A zone that stands there by itself may hold a key.
        if case .scalar = value.node { return value.error("a list of DNS lists, such as [a, b], is wanted") }
        guard let elements = value.list(of: "DNS lists") else { return }
        guard elements.count <= Self.mostLists else {
            value.error("\(elements.count) lists are more than \(Self.mostLists)")
            return
        }
        var lists: [Configuration.DNSList] = []
        for element in elements {
            switch element.node {
            case .mapping(let node):
                guard let list = readList(Mapping(node, path: "dns_lists[]", mark: element.mark, report: report), element) else { continue }
                if lists.contains(where: { $0.zone == list.zone && $0.kind == list.kind }) {
                    element.error(
                        "the zone '\(Configuration.DNSList.displayName(of: list.zone))' is given twice; name all of its replies in one place"
                    )
                } else if lists.contains(where: { $0.name == list.name }) {
                    element.error("there is another list named '\(list.name)'")
                } else {
                    lists.append(list)
                }
            case .scalar:
                guard let (specification, weight) = element.listSpecification() else { continue }
                let entry = ListFilters.Entry(filter: specification.filter, weight: weight)
                // As in postscreen: a zone that is named again has one filter more.
                if let index = lists.firstIndex(where: { $0.zone == specification.zone && $0.kind == .address }) {
                    if lists[index].filters.entries.contains(where: { $0.filter == entry.filter }) {
                        element.error(
                            "the zone '\(Configuration.DNSList.displayName(of: specification.zone))' is given twice with the same replies")
                    } else {
                        lists[index].filters.entries.append(entry)
                    }
                } else {
                    let list = Configuration.DNSList(zone: specification.zone, filters: ListFilters([entry]))
                    if lists.contains(where: { $0.name == list.name }) {
                        element.error("there is another list named '\(list.name)'; give this one a name: { zone: ..., name: ... }")
                    } else {
                        lists.append(list)
                    }
                }
            default: element.wants("a zone, such as zen.spamhaus.org=127.0.0.[2..11]*3, or a mapping with a zone in it,")
            }
        }
        configuration.dnsLists = lists
    }

    private func readList(_ mapping: Mapping, _ element: Value) -> Configuration.DNSList? {
        let zoneValue = mapping.takePart("zone")
        let kind = mapping.takePart("kind")?.choice(Configuration.DNSList.Kind.self) ?? .address
        let aboutValue = mapping.takePart("about")
        let repliesValue = mapping.takePart("replies")
        let scoreValue = mapping.takePart("score")
        let score = scoreValue?.decimal(ListSpecification.weights)
        let nameValue = mapping.takePart("name")
        let name = nameValue?.listName()
        let tests = mapping.takePart("test")?.boolean() ?? true
        mapping.finish()
        guard let zoneValue else {
            element.error("a list needs a zone, such as { zone: zen.spamhaus.org, score: 3 }")
            return nil
        }
        var about: Set<Configuration.DNSList.DomainSource> = [.sender]
        if let aboutValue {
            guard kind == .domain else {
                aboutValue.error("only a list of domains (kind: domain) has a choice whom it is asked about")
                return nil
            }
            guard let elements = aboutValue.list(of: "words") else { return nil }
            about = Set(elements.compactMap { $0.choice(Configuration.DNSList.DomainSource.self) })
            guard about.count == elements.count, !about.isEmpty else {
                if about.isEmpty || elements.isEmpty { aboutValue.error("must name at least one of sender, helo and client, each once") }
                return nil
            }
        }
        guard let zone = zoneValue.zone(), nameValue == nil || name != nil, scoreValue == nil || score != nil else { return nil }
        var entries = [ListFilters.Entry(filter: nil, weight: score ?? Configuration.DNSList.defaultScore)]
        if let repliesValue {
            guard let read = repliesValue.replies(score: score ?? Configuration.DNSList.defaultScore) else { return nil }
            entries = read
        }
        return Configuration.DNSList(zone: zone, kind: kind, about: about, filters: ListFilters(entries), name: name, tests: tests)
    }

    // MARK: - Countries and networks

    func readGeography(_ section: Mapping) {
        if let elements = section.take("databases")?.list(of: "paths") {
            if elements.count > Self.mostDatabases { elements[Self.mostDatabases].error("more than \(Self.mostDatabases) databases") }
            configuration.geography.databases = elements.compactMap { $0.text("a path") }
        }
        if let value = section.take("countries"), let scores = value.scores() {
            for (key, score, keyValue) in scores {
                guard key.utf8.count == 2, key.utf8.allSatisfy({ (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }) else {
                    keyValue.error("'\(key.shortened)' is not a country's code: two capitals, such as \"DE\" (ISO 3166-1)")
                    continue
                }
                configuration.geography.countries[key] = score
            }
        }
        if let value = section.take("networks"), let scores = value.scores() {
            var numbers: Set<UInt32> = []
            for (key, score, keyValue) in scores {
                let digits = key.hasPrefix("AS") ? key.dropFirst(2) : key[...]
                guard let number = UInt32(digits), String(number) == digits else {
                    keyValue.error("'\(key.shortened)' is not the number of a network, such as AS64500")
                    continue
                }
                // With the letters and without it is one key.
                guard numbers.insert(number).inserted else {
                    keyValue.conflict("the key '\(key)' is given twice")
                    continue
                }
                configuration.geography.networks[number] = score
            }
        }
        section.finish()
        let geography = configuration.geography
        if geography.databases.isEmpty, !geography.countries.isEmpty || !geography.networks.isEmpty {
            report.warning(section.mark, "geo: without databases no country and no network is known")
        }
    }
}

extension Value {
    /// A list as postscreen has it, with its weight.
    fileprivate func listSpecification() -> (ListSpecification, Double)? {
        guard let text = text("a zone such as zen.spamhaus.org=127.0.0.[2..11]*3") else { return nil }
        do throws(ListSyntaxError) {
            let specification = try ListSpecification(text)
            return (specification, specification.weight ?? Configuration.DNSList.defaultScore)
        } catch {
            syntax(error)
            return nil
        }
    }

    fileprivate func zone() -> DomainName? {
        guard let text = text("a zone such as zen.spamhaus.org") else { return nil }
        do throws(ListSyntaxError) {
            let specification = try ListSpecification(text)
            guard specification.filter == nil, specification.weight == nil else {
                error("this is more than a zone; its replies and score have keys of their own here")
                return nil
            }
            return specification.zone
        } catch {
            syntax(error)
            return nil
        }
    }

    /// One filter or several, each with a weight of its own or without.
    fileprivate func replies(score: Double) -> [ListFilters.Entry]? {
        let elements: [Value]
        if case .sequence = node {
            guard let list = list(of: "replies") else { return nil }
            elements = list
        } else {
            elements = [self]
        }
        var entries: [ListFilters.Entry] = []
        for element in elements {
            guard let text = element.text("replies such as 127.0.0.[2..11]") else { return nil }
            // `any` stands where a filter does not.
            let rest = text.hasPrefix("any") ? String(text.dropFirst(3)) : "=" + text
            do throws(ListSyntaxError) {
                let read = try ListSpecification("a.b" + rest)
                entries.append(.init(filter: read.filter, weight: read.weight ?? score))
            } catch {
                // Without the stand-in for a zone.
                var moved = error
                if rest.hasPrefix("=") { moved.offset = max(moved.offset - 4, 0) }
                element.syntax(moved)
                return nil
            }
        }
        guard !entries.isEmpty else {
            error("must not be empty")
            return nil
        }
        return entries
    }

    /// The message at the very octet.
    private func syntax(_ error: ListSyntaxError) {
        let isQuoted = node.scalar.map { $0.style == .doubleQuoted || $0.style == .singleQuoted } ?? false
        report.error(Position(line: mark.line, column: mark.column + error.offset + (isQuoted ? 1 : 0)), "\(path): \(error.description)")
    }

    /// What the log calls a list: a word or a domain name.
    fileprivate func listName() -> String? {
        guard let text = text("a name") else { return nil }
        guard text.utf8.count <= 64, text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            error("'\(text.shortened)' is not a name of at most 64 characters, without spaces")
            return nil
        }
        return text
    }

    /// A mapping of names to scores; `Value`s for messages stand where each score does.
    fileprivate func scores() -> [(key: String, score: Double, value: Value)]? {
        guard case .mapping(let node) = node else {
            wants("a mapping of names to scores")
            return nil
        }
        let mapping = Mapping(node, path: path, mark: mark, report: report)
        return mapping.rest().compactMap { value in
            value.decimal(-100...100).map { (String(value.path.dropFirst(path.count + 1)), $0, value) }
        }
    }
}
