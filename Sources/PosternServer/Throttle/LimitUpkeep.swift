import Logging
import Notices
import PosternConfiguration
import PosternCore
import PosternEngine

/// What the daemon does for its limits beside counting: writes counts down, lets old ones go, tells the firewall, and keeps
/// and tells of accounts that are stopped.
struct LimitUpkeep: Sendable {
    let limits: LimitService
    let store: any Store
    let clock: ServiceClock
    let settings: @Sendable () -> (accounts: AccountSettings, firewall: Configuration.Firewall, hostname: String)
    /// Of those who were refused whoever may be so still, by the settings and lists of now; and which those are.
    var refusable: @Sendable ([LimitService.Refusal]) -> [LimitService.Refusal] = { $0 }
    var revision: @Sendable () -> UInt64 = { 0 }
    /// Whether the log leaves accounts out (`log.redact`).
    var redacts: @Sendable () -> Bool = { false }
    let logger: Logger

    /// Runs until cancelled; then writes what is left.
    func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await keepCounts() }
            group.addTask { await tellOfSuspensions() }
        }
        await flush(isLast: true)
    }

    private func keepCounts() async {
        var seconds: Int64 = 0
        // Whom an earlier process has refused, too; and anew where the firewall's file or command is another, or who may be refused.
        var told: (firewall: Configuration.Firewall, revision: UInt64)?
        while !Task.isCancelled {
            let (firewall, revision) = (settings().firewall, revision())
            if told.map({ $0 != (firewall, revision) }) ?? true {
                told = (firewall, revision)
                let now = clock.now().steady
                _ = limits.takeRefusals(now: now)
                await tellFirewall(limits.refusals(now: now), now: now)
            }
            try? await Task.sleep(for: .seconds(1))
            seconds += 1
            let now = clock.now().steady
            limits.sweep(now: now)
            if let refused = limits.takeRefusals(now: now) { await tellFirewall(refused, now: now) }
            if seconds % (LimitService.flushInterval.milliseconds / 1000) == 0 { await flush(isLast: false) }
        }
    }

    private func flush(isLast: Bool) async {
        do throws(StoreFailure) {
            try await limits.flush(to: store, now: clock.now().steady)
        } catch {
            // Those rows are written with the next change of theirs.
            logger.warning("counts of limits were not written", metadata: ["error": "\(error)", "at_stop": "\(isLast)"])
        }
    }

    // MARK: - Firewall

    private func tellFirewall(_ refused: [LimitService.Refusal], now: WallTime) async {
        let firewall = settings().firewall
        guard firewall.nftablesFile != nil || !firewall.nftablesCommand.isEmpty else { return }
        let refused = refusable(refused)
        if let path = firewall.nftablesFile {
            do {
                let file = try AtomicFile(path)
                try file.write(Array(NftablesSets.text(refused, now: now).utf8)[...])
                try file.finish()
            } catch {
                logger.warning("the nftables file was not written", metadata: ["file": "\(path)", "error": "\(error)"])
                return
            }
        }
        guard !firewall.nftablesCommand.isEmpty else { return }
        let result = await Command(firewall.nftablesCommand).run(input: [])
        if !result.isSuccess { logger.warning("the nftables command failed", metadata: ["reason": "\(result)"]) }
    }

    // MARK: - Accounts

    private func shown(_ account: String) -> String { redacts() ? Redaction.mailboxes(account) : account }

    private func tellOfSuspensions() async {
        for await suspension in limits.suspended {
            let (accounts, _, hostname) = settings()
            let isShadow = suspension.isShadow
            logger.warning(
                isShadow ? "an account would be suspended" : "an account is suspended",
                metadata: ["account": "\(shown(suspension.account))", "reason": "\(suspension.reason)"])
            guard !isShadow else { continue }
            do throws(StoreFailure) {
                try await store.insert(suspension)
            } catch {
                logger.error(
                    "a suspension was not kept, it ends with this process",
                    metadata: ["account": "\(shown(suspension.account))", "error": "\(error)"])
            }
            let (steady, wall) = clock.now()
            let notice = Notice(
                account: suspension.account, reason: suspension.reason, time: (wall + (suspension.since - steady)).description,
                hostname: hostname)
            // Neither a slow webhook nor a slow command keeps anybody else waiting.
            Task { await tell(accounts.webhook, notice) }
            Task { await tell(accounts.command, notice) }
        }
    }

    private func tell(_ webhook: String?, _ notice: Notice) async {
        guard let webhook else { return }
        do {
            try await Webhook.post(notice, to: webhook)
        } catch {
            logger.error(
                "the webhook was not told of a suspension", metadata: ["account": "\(shown(notice.account))", "error": "\(error)"])
        }
    }

    private func tell(_ command: [String], _ notice: Notice) async {
        guard !command.isEmpty else { return }
        let result = await Command(command).run(input: notice.json)
        if !result.isSuccess {
            logger.error(
                "the command was not told of a suspension", metadata: ["account": "\(shown(notice.account))", "reason": "\(result)"])
        }
    }
}

/// Sets of refused clients, as commands for nft(8): replaced as one, and each element leaves by itself.
enum NftablesSets {
    static let table = "inet postern"

    static func text(_ refused: [(network: Prefix, until: WallTime)], now: WallTime) -> String {
        var out = "add table \(table)\n"
        for (set, type, family) in [("refused4", "ipv4_addr", IPAddress.Family.v4), ("refused6", "ipv6_addr", .v6)] {
            let flags = family == .v6 ? "interval, timeout" : "timeout"
            out += "add set \(table) \(set) { type \(type); flags \(flags); }\nflush set \(table) \(set)\n"
            let elements = refused.filter { $0.network.address.family == family && $0.until > now }
            guard !elements.isEmpty else { continue }
            let words = elements.map { "\($0.network) timeout \(($0.until - now).secondsRoundedUp)s" }
            out += "add element \(table) \(set) { \(words.sorted().joined(separator: ", ")) }\n"
        }
        return out
    }
}
