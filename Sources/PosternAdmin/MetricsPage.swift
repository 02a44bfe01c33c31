import Glibc
import PosternControl
import PosternMetrics

/// Everything that `/metrics` prints, from the daemon's state and the registry. Names are listed in docs/metrics.md, which a
/// test compares.
struct MetricsPage {
    private var out = Exposition()

    var text: String { out.text }

    init(_ status: StatusReport, _ registry: MetricRegistry, viewers: Int) {
        registry.write(to: &out)
        out.family("postern_build_info", .gauge, "1, with the version as a label.")
        out.sample("postern_build_info", [("version", status.version)], 1)
        out.single("postern_uptime_seconds", .gauge, "Since the start.", Double(status.uptimeSeconds))
        decisions(status.counts)
        for check in status.checks where check.fired > 0 || check.inShadow > 0 {
            out.family("postern_checks_fired_total", .counter, "How often a check fired, by whether it counted or was in shadow.")
            out.sample("postern_checks_fired_total", [("check", check.check), ("mode", "on")], Double(check.fired))
            out.sample("postern_checks_fired_total", [("check", check.check), ("mode", "shadow")], Double(check.inShadow))
        }
        if let store = status.store { self.store(store, status.counts) }
        gateways(status.gateways)
        traps(status.traps)
        if let resolver = status.resolver { self.resolver(resolver) }
        if let evidence = status.evidence {
            out.family(
                "postern_evidence_total", .counter, "Decisions by how their evidence was come by; partial ones are among the gathered.")
            out.sample("postern_evidence_total", [("source", "known")], Double(evidence.known))
            out.sample("postern_evidence_total", [("source", "gathered")], Double(evidence.gathered))
            out.sample("postern_evidence_total", [("source", "partial")], Double(evidence.partial))
        }
        lists(status.dnsLists)
        if let limits = status.limits { self.limits(limits) }
        if let harvest = status.harvest { self.harvest(harvest) }
        out.single("postern_dashboard_viewers", .gauge, "Browsers that look on live.", Double(viewers))
        process()
    }

    private mutating func decisions(_ counts: StatusReport.Counts) {
        out.family("postern_decisions_total", .counter, "Decisions, by verdict.")
        let rows: [(String, UInt64)] = [
            ("accept", counts.accepted &- counts.held), ("hold", counts.held), ("defer", counts.deferred),
            ("reject", counts.rejected &- counts.tarpitted &- counts.dropped), ("tarpit", counts.tarpitted), ("drop", counts.dropped),
        ]
        for (verdict, count) in rows { out.sample("postern_decisions_total", [("verdict", verdict)], Double(count)) }
        out.single("postern_delayed_total", .counter, "Attempts that passed after having been deferred.", Double(counts.delayed))
        out.single(
            "postern_delayed_seconds_total", .counter, "How long those had waited, altogether.", Double(counts.delayedSeconds))
        out.single("postern_policy_connections", .gauge, "Open connections of the policy service.", Double(counts.connections))
        out.single(
            "postern_policy_malformed_total", .counter, "Policy requests that were not understood.", Double(counts.malformedRequests))
        out.single(
            "postern_policy_refused_total", .counter, "Policy connections refused since there were too many.",
            Double(counts.refusedConnections))
    }

    private mutating func store(_ store: StatusReport.StoreState, _ counts: StatusReport.Counts) {
        out.single("postern_store_up", .gauge, "Whether the store works.", store.state == "ok" ? 1 : 0)
        out.single("postern_store_failures_total", .counter, "Answers given without the store.", Double(counts.storeFailures))
        guard store.state == "ok" else { return }
        out.family("postern_store_rows", .gauge, "Rows in the store, by kind.")
        let rows = [
            ("triplets", store.triplets), ("identities", store.identities), ("decisions", store.decisions), ("entries", store.entries),
        ]
        for (kind, count) in rows { out.sample("postern_store_rows", [("kind", kind)], Double(count)) }
        out.single("postern_store_bytes", .gauge, "Size of the store on disk.", Double(store.bytes))
    }

    private mutating func gateways(_ gateways: [StatusReport.Gateway]) {
        guard !gateways.isEmpty else { return }
        func family(_ name: String, _ kind: Exposition.Kind, _ help: String, _ value: (StatusReport.Gateway) -> Double) {
            out.family(name, kind, help)
            for gateway in gateways { out.sample(name, [("listener", gateway.name)], value(gateway)) }
        }
        family("postern_gateway_sessions", .gauge, "Open sessions.") { Double($0.sessions) }
        family("postern_gateway_held", .gauge, "Sessions that are made to wait.") { Double($0.held) }
        family("postern_gateway_sessions_total", .counter, "Sessions let in.") { Double($0.sessionsTotal) }
        family("postern_gateway_refused_total", .counter, "Sessions turned away since there was no room.") { Double($0.sessionsRefused) }
        family("postern_gateway_shed_total", .counter, "Held sessions let go to make room.") { Double($0.sessionsShed) }
        family("postern_gateway_delays_shortened_total", .counter, "Pauses shortened under load.") { Double($0.delaysShortened) }
        family("postern_gateway_early_talkers_total", .counter, "Clients that talked before they were greeted.") { Double($0.earlyTalkers) }
        out.family("postern_gateway_messages_total", .counter, "Messages by the backend's answer.")
        for gateway in gateways {
            for (answer, count) in [
                ("accepted", gateway.messagesAccepted), ("deferred", gateway.messagesDeferred), ("refused", gateway.messagesRefused),
            ] {
                out.sample("postern_gateway_messages_total", [("listener", gateway.name), ("answer", answer)], Double(count))
            }
        }
        family("postern_gateway_bytes_total", .counter, "Octets of content sent to backends.") { Double($0.bytes) }
        family("postern_gateway_unknown_recipients_total", .counter, "Recipients refused since the backend does not know them.") {
            Double($0.unknownRecipients)
        }
        family("postern_gateway_probes_total", .counter, "Questions put to a backend about a mailbox.") { Double($0.probes) }
        family("postern_gateway_proxy_errors_total", .counter, "Connections without a proper PROXY header.") { Double($0.proxyErrors) }
        if gateways.contains(where: { $0.logIns != nil }) {
            out.family("postern_gateway_log_ins_total", .counter, "Log-ins at a submission listener.")
        }
        for gateway in gateways {
            guard let logIns = gateway.logIns else { continue }
            for (answer, count) in [
                ("taken", logIns.taken), ("failed", logIns.failed), ("refused", logIns.refused), ("unanswered", logIns.unanswered),
            ] {
                out.sample("postern_gateway_log_ins_total", [("listener", gateway.name), ("answer", answer)], Double(count))
            }
        }
        family("postern_backend_failures_total", .counter, "Backend connections that failed.") { Double($0.backendFailures) }
        innerDoors(gateways.compactMap { gateway in gateway.inner.map { (gateway.name, $0) } })
        out.family("postern_backend_up", .gauge, "Whether a backend is well.")
        for gateway in gateways {
            for backend in gateway.backends {
                out.sample(
                    "postern_backend_up", [("listener", gateway.name), ("backend", backend.address)], backend.isWell ? 1 : 0)
            }
        }
    }

    private mutating func innerDoors(_ doors: [(name: String, inner: StatusReport.Gateway.Inner)]) {
        guard !doors.isEmpty else { return }
        out.family("postern_inner_open", .gauge, "Whether an inner door is open to everybody, since no node can be reached.")
        for (name, inner) in doors { out.sample("postern_inner_open", [("listener", name)], inner.isOpen ? 1 : 0) }
        out.family("postern_inner_node_up", .gauge, "Whether a node of the throttle can be reached.")
        for (name, inner) in doors {
            for node in inner.nodes {
                out.sample("postern_inner_node_up", [("listener", name), ("node", node.address)], node.isReachable ? 1 : 0)
            }
        }
        out.family("postern_inner_strangers_total", .counter, "Sessions of strangers at an inner door, by what they were told.")
        for (name, inner) in doors {
            for (answer, count) in [
                ("450", inner.deferred), ("421", inner.refused), ("none", inner.unanswered), ("admitted", inner.admitted),
            ] {
                out.sample("postern_inner_strangers_total", [("listener", name), ("answer", answer)], Double(count))
            }
        }
    }

    private mutating func traps(_ traps: [StatusReport.Trap]) {
        guard !traps.isEmpty else { return }
        func family(_ name: String, _ kind: Exposition.Kind, _ help: String, _ value: (StatusReport.Trap) -> Double) {
            out.family(name, kind, help)
            for trap in traps { out.sample(name, [("listener", trap.name)], value(trap)) }
        }
        family("postern_trap_held", .gauge, "Clients in the trap.") { Double($0.heldNow) }
        family("postern_trap_clients_total", .counter, "Clients that came into the trap.") { Double($0.heldEver) }
        family("postern_trap_wasted_seconds_total", .counter, "Clients' time that was wasted.") { $0.hoursWasted * 3600 }
        family("postern_trap_sent_bytes_total", .counter, "Octets sent for that.") { Double($0.bytesSent) }
        family("postern_trap_shed_total", .counter, "Clients let go since there were too many.") { Double($0.shed) }
        family("postern_trap_deferred_total", .counter, "Commands that a fake MX answered with 451.") { Double($0.deferred) }
        family("postern_trap_without_quit_total", .counter, "Clients that were deferred and hung up without QUIT.") {
            Double($0.withoutQuit)
        }
        family("postern_trap_discarded_total", .counter, "Messages that a sink threw away.") { Double($0.discarded) }
        family("postern_trap_released_total", .counter, "Clients told to go since they were not listed.") { Double($0.letGo) }
    }

    private mutating func resolver(_ resolver: StatusReport.Resolver) {
        out.single("postern_resolver_up", .gauge, "Whether any resolver answers.", resolver.answers ? 1 : 0)
        out.single("postern_resolver_queries_total", .counter, "Questions asked of the resolver.", Double(resolver.queries))
        out.single("postern_resolver_cache_hits_total", .counter, "Questions answered from the cache.", Double(resolver.hits))
        out.single("postern_resolver_sent_total", .counter, "Messages sent to servers.", Double(resolver.sent))
        out.single("postern_resolver_timeouts_total", .counter, "Questions given up at their deadline.", Double(resolver.timeouts))
        out.single("postern_resolver_failures_total", .counter, "Questions that failed otherwise.", Double(resolver.failures))
        out.single(
            "postern_resolver_overloaded_total", .counter, "Questions refused since too many waited.", Double(resolver.overloaded))
        out.single("postern_resolver_cache_entries", .gauge, "Entries of the cache.", Double(resolver.cacheEntries))
        out.single("postern_resolver_cache_bytes", .gauge, "Size of the cache, by estimate.", Double(resolver.cacheBytes))
    }

    private mutating func lists(_ lists: [StatusReport.DNSList]) {
        guard !lists.isEmpty else { return }
        out.family("postern_dns_list_up", .gauge, "Whether a DNS list passes its test and is asked.")
        for list in lists { out.sample("postern_dns_list_up", [("list", list.name)], list.isLive ? 1 : 0) }
        out.family("postern_dns_list_answers_total", .counter, "A DNS list's answers.")
        for list in lists {
            for (answer, count) in [
                ("listed", list.listed), ("not_listed", list.notListed), ("error", list.errors), ("silent", list.silent),
            ] {
                out.sample("postern_dns_list_answers_total", [("list", list.name), ("answer", answer)], Double(count))
            }
        }
    }

    private mutating func limits(_ limits: StatusReport.Limits) {
        out.single("postern_limits_held", .gauge, "Sessions that are made to wait for being past a limit.", Double(limits.heldNow))
        out.single("postern_limits_held_maximum", .gauge, "How many sessions may be made to wait.", Double(limits.heldAtMost))
        out.single("postern_limits_refused_clients", .gauge, "Clients that are refused at connect now.", Double(limits.refusedNow))
        out.family("postern_limits_answers_total", .counter, "Recipients of strangers past a limit, by what became of them.")
        for (answer, count) in [("hold", limits.held), ("defer", limits.deferred), ("refuse", limits.refused)] {
            out.sample("postern_limits_answers_total", [("answer", answer)], Double(count))
        }
        out.single(
            "postern_limits_holds_denied_total", .counter, "Recipients deferred since as many sessions waited as may.",
            Double(limits.holdsDenied))
        out.single("postern_limits_rows", .gauge, "Blocks, domains and accounts that are counted.", Double(limits.rows))
        out.single("postern_limits_bytes", .gauge, "Memory that counts take.", Double(limits.bytes))
        out.single("postern_limits_evicted_total", .counter, "Counts that gave way since there were too many.", Double(limits.evicted))
        out.single("postern_accounts_suspended", .gauge, "Accounts that are suspended.", Double(limits.suspendedAccounts))
        out.single(
            "postern_accounts_refused_total", .counter, "Recipients refused to accounts past a limit or suspended.",
            Double(limits.accountsRefused))
        out.single(
            "postern_accounts_held_total", .counter, "Recipients of accounts' messages that the mail server keeps in its hold queue.",
            Double(limits.accountsHeld))
    }

    private mutating func harvest(_ harvest: StatusReport.Harvested) {
        out.family("postern_harvest_entries", .gauge, "Addresses that traps have put on lists, by colour.")
        for (colour, count) in [
            ("black", harvest.black), ("brown", harvest.brown), ("yellow", harvest.yellow), ("white", harvest.white),
        ] { out.sample("postern_harvest_entries", [("colour", colour)], Double(count)) }
        out.single("postern_harvest_listed_total", .counter, "Addresses that traps put on a list.", Double(harvest.listed))
        out.single(
            "postern_harvest_removed_by_self_total", .counter, "Addresses that took themselves off.", Double(harvest.selfRemoved))
    }

    /// The names that Prometheus' own client libraries use.
    private mutating func process() {
        var usage = rusage()
        if getrusage(RUSAGE_SELF.rawValue, &usage) == 0 {
            func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
            out.single(
                "process_cpu_seconds_total", .counter, "User and system time of the process.",
                seconds(usage.ru_utime) + seconds(usage.ru_stime))
        }
        if let pages = Self.residentPages() {
            out.single(
                "process_resident_memory_bytes", .gauge, "Memory that is resident.", Double(pages) * Double(sysconf(Int32(_SC_PAGESIZE))))
        }
        if let folder = opendir("/proc/self/fd") {
            var count = 0
            while readdir(folder) != nil { count += 1 }
            closedir(folder)
            // Without `.`, `..` and the folder itself.
            out.single("process_open_fds", .gauge, "Open descriptors.", Double(max(count - 3, 0)))
        }
    }

    private static func residentPages() -> Int? {
        guard let file = fopen("/proc/self/statm", "re") else { return nil }
        defer { fclose(file) }
        var buffer = [CChar](repeating: 0, count: 128)
        guard fgets(&buffer, 128, file) != nil else { return nil }
        let fields = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(separator: " ")
        return fields.count > 1 ? Int(fields[1]) : nil
    }
}
