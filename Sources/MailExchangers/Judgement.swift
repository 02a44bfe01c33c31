import PosternCore

extension Survey {
    /// Every pitfall once, the domain's own first, then host by host in the order of preference.
    public var pitfalls: [Pitfall] {
        // Of a host in several records the same would be said for each.
        allPitfalls.reduce(into: []) { unique, pitfall in if !unique.contains(pitfall) { unique.append(pitfall) } }
    }

    private var allPitfalls: [Pitfall] {
        switch records {
        case .unknown(let why):
            return [
                Pitfall(
                    .error, .lookupFailed, "the DNS does not say where \(domain) takes mail: \(why)",
                    advice: "check the domain's name servers, and dns.resolvers; senders put mail off until it answers")
            ]
        case .noSuchDomain:
            return [
                Pitfall(
                    .error, .noSuchDomain, "there is no domain \(domain)",
                    advice: "check the spelling, and that the domain is registered and delegated")
            ]
        case .none:
            return [
                Pitfall(
                    .error, .noMail, "\(domain) has neither an MX record nor an address: mail to it comes back (RFC 5321 §5.1)",
                    advice: "publish an MX record; `postern mx plan \(domain)` proposes some. A domain without mail should say so: MX 0 .")
            ]
        case .null:
            return [
                Pitfall(
                    .note, .nullMX, "\(domain) says that it takes no mail (MX 0 ., RFC 7505)",
                    advice: "right for a domain without mail; it must not send any from this name either, or many refuse it")
            ]
        case .implicit, .exchangers: break
        }
        var found: [Pitfall] = []
        if records == .implicit {
            found.append(
                Pitfall(
                    .warning, .implicit, "\(domain) has no MX record, so that mail goes to its own address (RFC 5321 §5.1)",
                    advice: "publish an MX record: some senders refuse to write to domains without one"))
        }
        if exchangers.contains(where: \.name.isEmpty) {
            found.append(
                Pitfall(
                    .error, .nullBesideOthers, "\"no mail\" (MX 0 .) stands beside other MX records (RFC 7505 §3)",
                    advice: "take it out, or the others: senders may take either at its word"))
        }
        if leftOut > 0 {
            found.append(
                Pitfall(
                    .warning, .tooMany, "\(leftOut) more MX records were not looked at",
                    advice: "have fewer: an answer of the DNS that does not fit a datagram costs every sender a second question"))
        }
        let hosts = exchangers.filter { !$0.name.isEmpty }
        for exchanger in hosts { found += exchanger.ownPitfalls }
        found += repeatedHosts(hosts)
        found += sharedAddresses(hosts)
        if !hosts.isEmpty, !hosts.contains(where: { $0.addresses.contains { $0.address.family == .v4 } }),
            hosts.contains(where: { !$0.addresses.isEmpty })
        {
            found.append(
                Pitfall(
                    .warning, .noIPv4, "no MX has an IPv4 address", advice: "many senders have no IPv6; give at least one host an A record")
            )
        }
        if connected { found += rolePitfalls(hosts) }
        return found
    }

    private func repeatedHosts(_ hosts: [Exchanger]) -> [Pitfall] {
        var preferences: [(name: String, of: [UInt16])] = []
        for exchanger in hosts {
            if let index = preferences.firstIndex(where: { $0.name == exchanger.name }) {
                preferences[index].of.append(exchanger.preference)
            } else {
                preferences.append((exchanger.name, [exchanger.preference]))
            }
        }
        return preferences.filter { $0.of.count > 1 }.map { name, of in
            Pitfall(
                .warning, .repeatedHost, host: name,
                "\(name) stands in \(of.count) MX records (\(of.map { "\($0)" }.joined(separator: ", ")))",
                advice: "one record is enough: who does not reach the host by the first will not by the next")
        }
    }

    private func sharedAddresses(_ hosts: [Exchanger]) -> [Pitfall] {
        var owners: [IPAddress: [String]] = [:]
        for exchanger in hosts {
            for host in exchanger.addresses where owners[host.address]?.contains(exchanger.name) != true {
                owners[host.address, default: []].append(exchanger.name)
            }
        }
        return owners.filter { $0.value.count > 1 }.sorted { $0.value.joined() < $1.value.joined() }.map { address, names in
            Pitfall(
                .warning, .sharedAddress, host: names[1], "\(names.joined(separator: " and ")) have the same address, \(address)",
                advice: "a second name for one host gains nothing: when it is down both are")
        }
    }

    // MARK: - Who does what

    private func rolePitfalls(_ hosts: [Exchanger]) -> [Pitfall] {
        let probed = hosts.filter { $0.behaviour != nil }
        guard !probed.isEmpty else { return [] }
        guard probed.contains(where: { $0.behaviour?.answers == true }) else {
            return [
                Pitfall(
                    .error, .nobodyAnswers,
                    "no MX answers: \(probed.map { "\($0.name) \($0.behaviour?.text ?? "")" }.joined(separator: "; "))",
                    advice:
                        "start the mail server, or open port 25 to it. Where everything times out, this machine's own way out on port 25 may be closed; try from elsewhere, or with --no-connect"
                )
            ]
        }
        var found: [Pitfall] = []
        let lowest = probed.map(\.preference).min() ?? 0
        let highest = probed.map(\.preference).max() ?? 0
        let isOnly = lowest == highest
        let accepting = probed.filter { $0.behaviour == .accepts }
        if accepting.isEmpty {
            found.append(
                Pitfall(
                    .error, .nobodyAccepts, "no MX would take mail for postmaster@\(domain) from here now",
                    advice:
                        "where a greylist or a block list is in the way of this machine that is no fault; else mail is lost (RFC 5321 §4.5.1)"
                ))
        }
        for exchanger in probed {
            if exchanger.isMixed {
                found.append(
                    Pitfall(
                        .warning, .mixedAddresses, host: exchanger.name,
                        "its addresses behave differently: \(exchanger.addresses.compactMap { host in host.behaviour.map { "\(host.address) \($0.text)" } }.joined(separator: "; "))",
                        advice: "senders pick one of them by chance; give a fake or closed address an MX name of its own"))
            }
            // A sender meets any of the addresses: the worst counts.
            let each = exchanger.judged.map { behaviour in
                if exchanger.preference == lowest, !isOnly {
                    first(exchanger, behaviour, hosts: probed)
                } else if exchanger.preference == highest, !isOnly {
                    last(exchanger, behaviour, isAlone: accepting == [exchanger])
                } else {
                    between(exchanger, behaviour, isOnly: isOnly && !behaviourIsShared(exchanger))
                }
            }
            found += each.max { $0.worst < $1.worst } ?? []
            found += foreignPitfalls(exchanger, isLast: exchanger.preference == highest && !isOnly, hosts: probed)
        }
        if isOnly, probed.count == 1, probed[0].behaviour == .accepts {
            found.append(
                Pitfall(
                    .note, .single, "there is one MX, and it takes mail",
                    advice: "a fake MX of a higher number would turn many bots away: `postern mx plan \(domain)`"))
        }
        return found
    }

    private func behaviourIsShared(_ exchanger: Exchanger) -> Bool {
        exchanger.addresses.contains { $0.behaviour?.answers == true } && exchanger.isMixed
    }

    /// Who lends others a fake MX sees their mail's envelopes, and can do with it as they like.
    private func foreignPitfalls(_ exchanger: Exchanger, isLast: Bool, hosts: [Exchanger]) -> [Pitfall] {
        guard !exchanger.isOwn else { return [] }
        let advice =
            "if it is a fake MX of theirs, they see who writes to whom, and may one day take the mail or refuse it for good; run a trap of your own. If it is your provider's, all is well"
        if exchanger.addresses.contains(where: { if case .defers? = $0.behaviour { true } else { false } }) {
            return [
                Pitfall(.warning, .foreignFake, host: exchanger.name, "a host of somebody else's defers mail for \(domain)", advice: advice)
            ]
        }
        // Where every host is a provider's, so is the last.
        guard isLast, hosts.contains(where: \.isOwn), exchanger.addresses.contains(where: { $0.behaviour?.answers == true }) else {
            return []
        }
        return [
            Pitfall(
                .warning, .foreignFake, host: exchanger.name,
                "the last MX is a host of somebody else's; up to RCPT nobody can tell whether it defers at DATA, as some fake ones do (--data tells)",
                advice: advice)
        ]
    }

    /// The lowest number is where mail goes first.
    private func first(_ exchanger: Exchanger, _ behaviour: Behaviour, hosts: [Exchanger]) -> [Pitfall] {
        let name = exchanger.name
        var found: [Pitfall] = []
        switch behaviour {
        case .accepts: break
        case .refuses:
            found.append(
                Pitfall(
                    .note, .nolisting, host: name, "the first MX refuses connections at once: nolisting, as it should be done",
                    advice: "know whom it shuts out: \(MXPlan.failingSenders.joined(separator: "; "))"))
            if hosts.contains(where: { $0.preference == exchanger.preference && $0.name != name }) {
                found.append(
                    Pitfall(
                        .warning, .sharedPreference, host: name,
                        "a closed host shares preference \(exchanger.preference) with a living one",
                        advice: "senders choose among equals by chance, so that bots do too; give the closed one the lowest number alone"))
            }
        case .timesOut, .unreachable:
            found.append(
                Pitfall(
                    .error, .firstTimesOut, host: name, "the first MX \(behaviour.text): every sender waits for it, minutes each time",
                    advice:
                        "point it to a host of yours with port 25 closed, which refuses at once (TCP reset, no firewall that drops), or take it out"
                ))
        case .silent, .drips, .hangsUp, .notSMTP:
            found.append(
                Pitfall(
                    .error, .firstIsSilent, host: name, "the first MX \(behaviour.text)",
                    advice: "a sender that was connected may never try the next; let it greet, or close its port"))
        case .defers:
            found.append(
                Pitfall(
                    behaviour.speaksOfGreylisting ? .warning : .error, .firstDefers, host: name, "the first MX \(behaviour.text)",
                    advice:
                        "a first MX must not answer 4xx: qmail and others never move on to the next; close the port instead. If this is a greylist in front of your real server, it should take postmaster"
                ))
        case .rejects:
            found.append(
                Pitfall(
                    .error, .firstRejects, host: name, "the first MX \(behaviour.text)",
                    advice: "5xx is final, and the mail comes back to its sender; postmaster must be taken (RFC 5321 §4.5.1)"))
        }
        return found
    }

    /// The highest number is where bots go first.
    private func last(_ exchanger: Exchanger, _ behaviour: Behaviour, isAlone: Bool) -> [Pitfall] {
        let name = exchanger.name
        switch behaviour {
        case .defers:
            return [
                Pitfall(
                    .note, .fakeLast, host: name, "the last MX \(behaviour.text), as a fake one should",
                    advice:
                        "only postmaster was tried: a sink that defers that takes other mail and destroys it, and must not be an MX of a domain with mailboxes. See that it never answers 5xx, and that it knows what your other hosts know (docs/trap.md)"
                )
            ]
        case .rejects:
            return [
                Pitfall(
                    .error, .lastRejects, host: name, "the last MX \(behaviour.text)",
                    advice:
                        "a sender that comes here because the others are down gets its mail back; a fake MX must defer (4xx), never reject")
            ]
        case .accepts:
            return [
                Pitfall(
                    .note, .lastAccepts, host: name, "the last MX takes mail\(isAlone ? ", and no other does" : "")",
                    advice: isAlone
                        ? "see that it is a real one: a fake one that defers at DATA looks the same up to RCPT, and then no mail gets in. --data tells them apart"
                        : "bots try it first, hoping that a backup checks less: it needs the same checks as the first, or should be a fake one. One that defers at DATA looks the same up to RCPT; --data tells them apart"
                )
            ]
        case .refuses:
            return [
                Pitfall(
                    .note, .down, host: name, "the last MX \(behaviour.text)",
                    advice: "it turns bots away, though it learns nothing of them; a trap there would")
            ]
        case .drips:
            return [
                Pitfall(
                    .note, .tarpit, host: name, "the last MX \(behaviour.text)",
                    advice:
                        "bots that go there first are held; an honest sender that comes because the others are down waits minutes, and tries again"
                )
            ]
        case .timesOut, .unreachable, .silent, .hangsUp, .notSMTP:
            return [
                Pitfall(
                    .warning, .down, host: name, "the last MX \(behaviour.text)",
                    advice: "a sender that gets here waits in vain; have it refuse at once, or defer")
            ]
        }
    }

    private func between(_ exchanger: Exchanger, _ behaviour: Behaviour, isOnly: Bool) -> [Pitfall] {
        let name = exchanger.name
        switch behaviour {
        case .accepts: return []
        case .rejects:
            return [
                Pitfall(
                    .error, .rejects, host: name, "\(name) \(behaviour.text)",
                    advice: "5xx is final, and the mail comes back to its sender; postmaster must be taken (RFC 5321 §4.5.1)")
            ]
        case .defers:
            return [
                Pitfall(
                    .warning, .defers, host: name, "\(name) \(behaviour.text)",
                    advice: "if this is a greylist, let postmaster through; a fake MX belongs at the highest number")
            ]
        case .refuses, .timesOut, .unreachable, .silent, .drips, .hangsUp, .notSMTP:
            return [
                Pitfall(
                    isOnly ? .error : .warning, .down, host: name, "\(name) \(behaviour.text)",
                    advice: "start it, open port 25 to it, or take its record out")
            ]
        }
    }
}

extension [Pitfall] {
    /// Less than a note for none.
    fileprivate var worst: Int { map { Pitfall.Severity.allCases.firstIndex(of: $0.severity) ?? 0 }.max() ?? -1 }
}

extension Behaviour {
    /// A deferral that says why: whoever comes back is let in.
    fileprivate var speaksOfGreylisting: Bool {
        guard case .defers(_, _, let text) = self else { return false }
        let lowered = text.lowercasedASCII
        return lowered.contains("greylist") || lowered.contains("graylist")
    }
}

extension Exchanger {
    /// What its addresses do, each thing once. Beside one that answers a closed one is only gone past; and what cannot be reached from
    /// here says nothing of others.
    fileprivate var judged: [Behaviour] {
        var all: [Behaviour] = []
        for behaviour in addresses.compactMap(\.behaviour) where !all.contains(where: { $0.name == behaviour.name }) {
            all.append(behaviour)
        }
        guard all.contains(where: \.answers) else { return all }
        return all.filter { behaviour in
            switch behaviour {
            case .refuses, .unreachable: false
            default: true
            }
        }
    }

    /// The kindest of what its addresses do: that is what a patient sender meets.
    public var behaviour: Behaviour? {
        let all = addresses.compactMap(\.behaviour)
        return all.first { $0 == .accepts } ?? all.first(where: \.answers) ?? all.first
    }

    var isMixed: Bool { Set(addresses.compactMap { $0.behaviour?.name }).count > 1 }

    /// What is wrong whoever answers there.
    fileprivate var ownPitfalls: [Pitfall] {
        if IPAddress(name) != nil {
            return [
                Pitfall(
                    .error, .literal, host: name, "the MX record holds an address, \(name), where a name belongs (RFC 1035 §3.3.9)",
                    advice: "give the host a name with an A record, and point the MX record to that")
            ]
        }
        var found: [Pitfall] = []
        if let alias {
            found.append(
                Pitfall(
                    .error, .alias, host: name, "\(name) is an alias (CNAME) of \(alias); an MX must not point to one (RFC 2181 §10.3)",
                    advice: "point the MX record to \(alias), or give \(name) an A record of its own"))
        }
        if let failure {
            found.append(
                Pitfall(
                    .error, .lookupFailed, host: name, "the DNS does not say where \(name) is: \(failure)",
                    advice: "check the name servers of its domain"))
        } else if addresses.isEmpty {
            found.append(
                Pitfall(
                    .error, .noAddress, host: name, "\(name) has no address",
                    advice: "some sites refuse mail of a domain with such an MX; point it to a real host, or take the record out"))
        }
        for host in addresses {
            guard let special = host.special else { continue }
            found.append(
                Pitfall(
                    .error, .specialAddress, host: name, "\(name) has \(special.name), \(host.address) (\(special.source))",
                    advice: "nobody out there can reach it, and some sites refuse mail of such a domain; use a public address of yours"))
        }
        return found
    }
}
