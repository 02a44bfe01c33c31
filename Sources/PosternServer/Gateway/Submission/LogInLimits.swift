import PosternCore
import PosternEngine
import SMTPProtocol

// Limits of those who log in, by `accounts`.

extension DecisionService {
    /// The answer to a log-in that no backend is asked about any more, since too many have failed: 421 for an address, 454 for an
    /// account (RFC 4954 §6).
    func refusalOfLogIn(_ account: String, _ client: SessionClient) -> Reply? {
        let settings = engine.settings
        guard let limits, settings.accounts.mode == .on else { return nil }
        guard let throttled = limits.assessLogIn(logInSubject(account, client), now: steadyTime) else { return nil }
        let wait = (throttled.until - steadyTime).spoken
        return throttled.limit.key == .address
            ? Reply(421, "4.7.0", "Too many failed log-ins from your address; try again in \(wait) (\(settings.hostname))")
            : Reply(454, "4.7.0", "Too many failed log-ins for this account; try again in \(wait) (\(settings.hostname))")
    }

    /// A backend has refused name or password.
    func logInFailed(_ account: String, _ client: SessionClient) {
        guard let limits, engine.settings.accounts.mode != .off else { return }
        limits.failedLogIn(logInSubject(account, client), now: steadyTime)
    }

    /// A backend has refused a recipient of an account's for good.
    func recipientRefused(_ client: SessionClient) {
        let accounts = engine.settings.accounts
        guard let limits, let account = client.login, accounts.mode != .off, !accounts.exempt.contains(account) else { return }
        limits.refusedRecipient(LimitSubject(address: client.source.address, account: account), now: steadyTime)
    }

    /// Whoever is ours may stand for many, such as a host that users' browsers speak to; and exempt accounts are not counted.
    private func logInSubject(_ account: String, _ client: SessionClient) -> LimitSubject {
        let isOurs = isSpared(Client(address: client.source.address, confirmedName: client.name))
        return LimitSubject(
            address: isOurs ? nil : client.source.address, account: engine.settings.accounts.exempt.contains(account) ? nil : account)
    }
}
