import ArgumentParser
import Foundation
import PosternConfiguration
import PosternControl
import PosternCore

struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the state of the running daemon.",
        discussion: """
            Exits with 69 where no daemon answers.

            EXAMPLES
              postern status
              postern status --json | jq .counts.deferred
            """)

    @OptionGroup var options: CommonOptions

    func run() async throws {
        try await options.ask(.status, for: .daemonOnly) { reply in
            guard case .status(let report) = reply else { throw unexpected(reply) }
            if options.json { try Output.json(report) } else { Output.line(report.text) }
        }
    }
}

extension StatusReport {
    var text: String {
        var items = [
            ("Postern", "\(version) on \(hostname), process \(processID)"),
            ("running", "for \(WallTime.Span.seconds(uptimeSeconds).spokenElapsed), since \(startedAt.shortTime) UTC"),
            ("greylisting", greylistMode),
        ]
        for (index, listener) in listeners.enumerated() {
            items.append((index == 0 ? "listens" : "", "\(listener.address) (\(listener.name), \(listener.role))"))
        }
        items += [
            ("decisions", "\(counts.accepted) accepted, \(counts.deferred) deferred, \(counts.rejected) rejected"),
            (
                "connections",
                "\(counts.connections) open, \(counts.refusedConnections) refused; \(counts.malformedRequests) requests not understood"
            ), ("data", dataDirectory),
        ]
        items += lookUpItems
        if let configuration { items += configuration.items }
        for service in dnsServices {
            items.append(
                (
                    "DNS",
                    "\(service.name): \(service.queries) queries, \(service.listed) listed, \(service.notListed) not; \(service.refused) refused, \(service.malformed) malformed, \(service.rateLimited) over the limit"
                ))
        }
        for trap in traps {
            let wasted = WallTime.Span.seconds(Int64(trap.hoursWasted * 3600)).spokenElapsed
            items.append(("trap \(trap.name)", "\(trap.mode): \(trap.heldNow) now, \(trap.heldEver) ever, \(wasted) of theirs wasted"))
            if trap.mode == "tarpit", trap.bytesSent > 0 {
                items.append(("", String(format: "%.1f s of theirs for each octet of ours", trap.secondsPerByte)))
            }
            if trap.mode != "tarpit" {
                let discarded = trap.discarded > 0 ? ", \(trap.discarded) messages destroyed" : ""
                items.append(("", "\(trap.deferred) commands deferred, \(trap.withoutQuit) clients hung up\(discarded)"))
            }
        }
        for gateway in gateways {
            items += doorItems(gateway)
            guard let inner = gateway.inner else { continue }
            let reachable = "\(inner.nodes.count { $0.isReachable }) of \(inner.nodes.count) nodes reachable"
            items.append(("door \(gateway.name)", inner.isOpen ? "OPEN to everybody: no node can be reached" : "shut; \(reachable)"))
            items.append(
                (
                    "",
                    "strangers told 450: \(inner.deferred), told 421: \(inner.refused), not answered: \(inner.unanswered), let in: \(inner.admitted)"
                ))
        }
        for subscription in subscriptions {
            guard let failure = subscription.failure else { continue }
            items.append(
                ("subscription", "\(subscription.name) could NOT be read: \(failure); \(subscription.entries) entries stay in force"))
        }
        if let harvest, harvest.black + harvest.brown + harvest.yellow + harvest.white + harvest.sightings > 0 {
            items.append(
                ("harvest", "\(harvest.black) black, \(harvest.brown) brown, \(harvest.yellow) yellow, \(harvest.white) white"))
        }
        if let store {
            if store.state == "ok" {
                items.append(
                    (
                        "store",
                        "\(store.triplets) triplets, \(store.identities) identities, \(store.decisions) decisions, \(store.entries) entries"
                    ))
                items.append(("", "\(store.bytes) octets on disk"))
            } else {
                items.append(("store", "DOWN, mail passes unjudged: \(store.state)"))
            }
        }
        if let limits {
            items.append(
                (
                    "limits",
                    "throttle \(throttleWords(limits)), accounts \(limits.accountsMode); \(limits.rows) counted on \(limits.bytes) octets, \(limits.evicted) gave way"
                ))
            items.append(
                (
                    "",
                    "\(limits.held) answers held, \(limits.deferred) deferred, \(limits.refused) refused; \(limits.heldNow) of \(limits.heldAtMost) held now, \(limits.refusedNow) clients refused, \(limits.suspendedAccounts) accounts suspended"
                ))
        }
        if counts.storeFailures > 0 {
            items.append(
                ("store failures", "\(counts.storeFailures) answers without the store; the last: \(lastStoreFailure ?? "unknown")"))
        }
        return Output.list(items)
    }
}

extension StatusReport {
    /// Who stands in a door, what came of the mail, and whether the mail server behind is there.
    fileprivate func doorItems(_ gateway: Gateway) -> [(String, String)] {
        let role = listeners.first { $0.name == gateway.name }?.role ?? "gateway"
        var items = [
            (
                "\(role) \(gateway.name)",
                "\(gateway.sessions) sessions, \(gateway.held) made to wait; messages: \(gateway.messagesAccepted) accepted, \(gateway.messagesRefused) refused, \(gateway.messagesDeferred) deferred"
            )
        ]
        if let logIns = gateway.logIns {
            let words = "\(logIns.taken) taken, \(logIns.failed) failed, \(logIns.refused) refused unasked, \(logIns.unanswered) unanswered"
            items.append(("", "log-ins: \(words)"))
        }
        let backends = gateway.backends.map { "\($0.address) \($0.isWell ? "is well" : "IS OUT after \($0.failures) failures")" }
        if !backends.isEmpty { items.append(("", "behind: \(backends.joined(separator: ", "))")) }
        return items
    }

    /// A listener with role throttle has limits whatever the mode is that the others go by.
    private func throttleWords(_ limits: Limits) -> String {
        let names = listeners.filter { $0.role == "throttle" }.map(\.name)
        return names.isEmpty || limits.throttleMode == "on"
            ? limits.throttleMode : "on at \(names.joined(separator: ", ")), else \(limits.throttleMode)"
    }

    /// What is looked up, by whom, and what it was worth.
    fileprivate var lookUpItems: [(String, String)] {
        guard let resolver else { return [("look-ups", "off: dns.resolvers names nobody")] }
        let state = resolver.answers ? "" : ": NOBODY ANSWERS, decisions are made without"
        let share = resolver.queries == 0 ? 0 : resolver.hits * 100 / resolver.queries
        var items = [
            ("resolvers", resolver.servers.joined(separator: ", ") + state),
            (
                "",
                "\(resolver.queries) questions, \(share) % answered from memory (\(resolver.cacheEntries) entries); \(resolver.sent) sent, \(resolver.timeouts) timed out, \(resolver.failures) failed"
            ),
        ]
        if let evidence {
            items.append(
                (
                    "evidence",
                    "looked up for \(evidence.gathered) decisions, \(evidence.partial) of them without some of it; \(evidence.known) more knew it from the minute before"
                ))
        }
        for (index, list) in dnsLists.enumerated() {
            var words = "\(list.name): \(list.listed) listed (\(list.overlapping) also elsewhere), \(list.notListed) not"
            if list.errors > 0 { words += ", \(list.errors) errors" }
            if list.silent > 0 { words += ", \(list.silent) unanswered" }
            if !list.isLive { words += list.ailment.map { "; NOT ASKED: \($0)" } ?? "; not asked before its first test" }
            items.append((index == 0 ? "DNS lists" : "", words))
        }
        return items
    }
}

struct Reload: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make the daemon read its configuration again, as SIGHUP does.",
        discussion: """
            A configuration with errors changes nothing, and the exit code is 78. Keys that hold only from the next start are named.

            EXAMPLES
              postern reload
              postern config check && postern reload
            """)

    @OptionGroup var options: CommonOptions

    func run() async throws {
        try await options.ask(.reload, for: .reloading) { reply in
            guard case .reloaded(let report) = reply else { throw unexpected(reply) }
            if options.json { return try Output.json(report) }
            Output.line(report.changed.isEmpty ? "reloaded; nothing has changed" : "reloaded")
            for change in report.changed { Output.line("  \(change.words)") }
            if !report.needsRestart.isEmpty { Output.line("needs a restart: \(report.needsRestart.joined(separator: ", "))") }
        }
    }
}

struct BackupVerb: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Write a consistent copy of the store, while the daemon runs.",
        discussion: """
            Writes FILE, and the key that belongs to it to FILE.key; refuses to overwrite a file. The daemon writes them, with its own \
            account: name a file where that may write, such as its data folder, and move both from there. To go back: stop the daemon, put both in place of postern.db and postern.key, remove postern.db-wal and \
            postern.db-shm, start it.

            EXAMPLES
              postern backup /var/lib/postern/copy-$(date +%F).db
            """)

    @OptionGroup var options: CommonOptions

    @Argument(help: "The copy; it must not exist.")
    var file: String

    private struct Report: Encodable {
        var path: String
    }

    func run() async throws {
        let path = URL(filePath: file).standardizedFileURL.path
        try await options.withStore(for: .reading) { access in
            let reply: ControlReply
            do throws(ControlFailure) {
                reply = try await access.send(.backup(path: path))
            } catch {
                throw explained(error, path, try options.configuration())
            }
            guard case .backedUp(let path) = reply else { throw unexpected(reply) }
            if options.json { try Output.json(Report(path: path)) } else { Output.line("written: \(path)") }
        }
    }

    /// Where the folder is there for whoever asked, and not for whoever writes.
    private func explained(_ failure: ControlFailure, _ path: String, _ configuration: Configuration) -> ControlFailure {
        let folder = (path as NSString).deletingLastPathComponent
        guard [.cannotCreate, .noPermission].contains(failure.code), access(folder, F_OK) == 0, access(path, F_OK) != 0 else {
            return failure
        }
        return ControlFailure(
            failure.code,
            "\(failure.message); the account that Postern runs as writes it: name a file where that may, such as \(configuration.dataDirectory)/copy.db"
        )
    }
}
