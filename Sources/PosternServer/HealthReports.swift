import PosternControl
import PosternResolver

// The parts that a daemon leans on, as `status` and the dashboard tell of them.

extension GatewayListener {
    var report: StatusReport.Gateway {
        let values = gateway.counters.values
        var report = StatusReport.Gateway(name: name, sessions: values.sessions, held: gateway.sessions.held)
        report.sessionsTotal = values.sessionsTotal
        report.sessionsRefused = values.sessionsRefused
        report.sessionsShed = values.sessionsShed
        report.delaysShortened = values.delaysShortened
        report.earlyTalkers = values.earlyTalkers
        report.messagesAccepted = values.messagesAccepted
        report.messagesRefused = values.messagesRefused
        report.messagesDeferred = values.messagesDeferred
        report.bytes = values.octets
        report.backendFailures = values.backendFailures
        report.unknownRecipients = values.unknownRecipients
        report.probes = values.probes
        report.probesInconclusive = values.probesInconclusive
        report.proxyErrors = values.proxyErrors
        report.backends = gateway.directory.entries.map {
            StatusReport.Gateway.Backend(address: $0.address.description, isWell: $0.outUntil == nil, failures: $0.failures)
        }
        if isSubmission {
            report.logIns = .init(
                taken: values.logIns, failed: values.logInsFailed, refused: values.logInsRefused, unanswered: values.logInsUnanswered)
        }
        if let door = gateway.door {
            var inner = StatusReport.Gateway.Inner(
                isOpen: door.isOpen, nodes: door.nodes.map { .init(address: $0.address.description, isReachable: $0.isReachable) },
                strangers: door.strangers)
            inner.deferred = values.strangersDeferred
            inner.refused = values.strangersRefused
            inner.unanswered = values.strangersUnanswered
            inner.admitted = values.strangersAdmitted
            report.inner = inner
        }
        return report
    }
}

extension StatusReport {
    mutating func note(_ lookUps: LookUps) {
        let gatherer = lookUps.gatherer
        evidence = Evidence(
            known: gatherer.counters.known.value, gathered: gatherer.counters.gathered.value, partial: gatherer.counters.partial.value)
        dnsLists = lookUps.lists.statuses.map {
            DNSList(
                name: $0.name, isLive: $0.isLive, ailment: $0.ailment.map { "\($0)" }, listed: $0.listed, notListed: $0.notListed,
                overlapping: $0.overlapping, errors: $0.errors, silent: $0.silent)
        }
        let servers = gatherer.resolver.servers
        guard !servers.isEmpty else { return }
        let counts = gatherer.resolver.counts
        var resolver = Resolver(
            servers: servers.map { $0.port == 53 ? "\($0.address)" : ListenAddress.tcp($0.address, port: $0.port).description },
            answers: gatherer.health.answers)
        resolver.queries = counts.queries
        resolver.hits = counts.hits
        resolver.sent = counts.sent
        resolver.timeouts = counts.timeouts
        resolver.failures = counts.failures
        resolver.overloaded = counts.overloaded
        resolver.serverTimeouts = counts.serverTimeouts
        resolver.cacheEntries = counts.cacheEntries
        resolver.cacheBytes = counts.cacheBytes
        self.resolver = resolver
    }
}
