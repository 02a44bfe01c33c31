import Foundation
import PosternCore
import PosternEngine

// What this machine has to say to a configuration: files, accounts, addresses. Only `config check` asks; a file may well be checked
// on another machine than the one it is for, so all of it is warnings.

extension ConfigurationReview {
    static func findings(onThisMachine configuration: Configuration, text: String, file: String, resolvConf: String = "/etc/resolv.conf")
        -> [Diagnostic]
    {
        var review = ConfigurationReview(configuration, text: text, file: file)
        review.reviewFile(file)
        review.reviewAccount()
        review.reviewData()
        review.reviewDatabase()
        review.reviewSockets()
        review.reviewCertificates()
        review.reviewResolvers(resolvConf)
        review.reviewInputs()
        review.reviewOutputs()
        return review.findings
    }

    private mutating func reviewFile(_ path: String) {
        guard let status = status(of: path), status.st_mode & 0o002 != 0 else { return }
        find([], "everybody on this machine may change this file; chmod o-w \(path)")
    }

    private mutating func reviewAccount() {
        guard let name = configuration.user, getpwnam(name) == nil else { return }
        find("user", say: "there is no account \(name) here; make it with: adduser --system --group --no-create-home \(name)")
    }

    // MARK: - Data

    private mutating func reviewData() {
        let path = configuration.dataDirectory
        guard let folder = status(of: path) else {
            if let why = obstacle(to: path) { find("data_directory", say: why) }
            return
        }
        guard folder.st_mode & S_IFMT == S_IFDIR else {
            find("data_directory", say: "\(path) is not a folder; name another")
            return
        }
        if folder.st_mode & 0o007 != 0 {
            find(
                "data_directory",
                say: "everybody on this machine may look into \(path), where it stands who wrote to whom; chmod o-rwx \(path)")
        }
        if let name = configuration.user, let account = getpwnam(name), folder.st_uid != account.pointee.pw_uid, folder.st_uid != 0 {
            find("data_directory", say: "\(path) does not belong to \(name), who has to write there; chown -R \(name): \(path)")
        }
        for file in [configuration.databasePath, configuration.keyPath] {
            guard let status = status(of: file), status.st_mode & 0o007 != 0 else { continue }
            let key = file == configuration.databasePath ? ["store", "sqlite"] : ["data_directory"]
            find(key.map { .key($0) }, "\(key.joined(separator: ".")): everybody on this machine may read \(file); chmod o-rwx \(file)")
        }
    }

    private mutating func reviewDatabase() {
        let path = configuration.databasePath
        // The data directory is looked at by itself, and made by Postern.
        let isInData = status(of: path) == nil && Self.folder(of: path) == Self.folder(of: configuration.keyPath)
        guard !isInData, let why = obstacle(to: path) else { return }
        find("store", "sqlite", say: why)
    }

    // MARK: - Sockets

    private mutating func reviewSockets() {
        for (index, listener) in configuration.listeners.enumerated() {
            switch listener.address {
            case .unix(let path, _, let group):
                if let why = obstacle(to: path, made: "install -d -m 2750") {
                    find(listener: index, "address", why)
                } else if let type = type(of: path), type != S_IFSOCK {
                    find(listener: index, "address", "\(path) is there and is not a socket; move it or choose another path")
                }
                if let group, getgrnam(group) == nil {
                    find(listener: index, "group", "there is no group \(group) here; is its mail server installed?")
                }
            case .tcp(let host, _):
                if !Self.isOfThisMachine(host) {
                    find(listener: index, "address", "no interface of this machine has \(host); `ip address` shows those that it has")
                }
            }
        }
    }

    /// Asked of the kernel, which knows of more than interfaces (bind(2), EADDRNOTAVAIL).
    private static func isOfThisMachine(_ host: IPAddress) -> Bool {
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo("\(host)", "0", &hints, &found) == 0, let address = found?.pointee else { return true }
        defer { freeaddrinfo(found) }
        let descriptor = socket(address.ai_family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return true }
        defer { close(descriptor) }
        return bind(descriptor, address.ai_addr, address.ai_addrlen) == 0 || errno != EADDRNOTAVAIL
    }

    // MARK: - Certificates

    private mutating func reviewCertificates() {
        for (index, listener) in configuration.listeners.enumerated() {
            let key = listener.gateway?.key ?? listener.admin?.key
            let files = [
                ("tls_certificate", listener.gateway?.certificate ?? listener.admin?.certificate), ("tls_key", key),
                ("backend_ca", listener.gateway?.backendAuthorities), ("token_file", listener.admin?.tokenFile),
            ]
            for (name, path) in files {
                guard let path, let why = unreadable(path) else { continue }
                find(listener: index, name, "\(path): \(why); Postern will not start without it")
            }
            if let path = key, let status = status(of: path), status.st_mode & 0o007 != 0 {
                find(listener: index, "tls_key", "everybody on this machine may read it; chmod o-rwx \(path)")
            }
            if let path = listener.admin?.tokenFile, unreadable(path) == nil {
                do throws(AdminToken.Failure) {
                    _ = try AdminToken.read(path)
                } catch {
                    find(listener: index, "token_file", "\(error); Postern will not start with it")
                }
            }
        }
    }

    // MARK: - What is read and written beside

    private mutating func reviewInputs() {
        for (index, path) in configuration.geography.databases.enumerated() {
            guard let why = unreadable(path) else { continue }
            find([.key("geo"), .key("databases"), .element(index)], "geo.databases: \(path): \(why); nothing is known from it")
        }
        for (index, path) in configuration.trustedFiles.enumerated() {
            guard let why = unreadable(path) else { continue }
            find([.key("trusted_files"), .element(index)], "trusted_files: \(path): \(why); nobody is trusted by it")
        }
        for (index, subscription) in configuration.subscriptions.enumerated() where !subscription.isOfTheWeb {
            guard let why = unreadable(subscription.source) else { continue }
            find(
                [.key("subscriptions"), .element(index), .key("source")],
                "subscriptions[].source: \(subscription.source): \(why); nobody is listed by it")
        }
    }

    private mutating func reviewOutputs() {
        for (index, export) in configuration.exports.enumerated() {
            guard let why = obstacle(to: export.file) else { continue }
            find([.key("exports"), .element(index), .key("file")], "exports[].file: \(why)")
        }
        if let path = configuration.firewall.nftablesFile, let why = obstacle(to: path) {
            find("throttle", "nftables_file", say: why)
        }
        for (section, key, words) in [
            ("accounts", "command", configuration.accounts.command),
            ("throttle", "nftables_command", configuration.firewall.nftablesCommand),
        ] {
            guard let program = words.first, access(program, X_OK) != 0 else { continue }
            find(section, key, say: "\(program): \(String(cString: strerror(errno)).lowercased()); it cannot be run")
        }
    }

    // MARK: - Resolvers

    private mutating func reviewResolvers(_ path: String) {
        guard configuration.dns.resolvers == .system, !configuration.dnsLists.isEmpty,
            let text = try? String(contentsOfFile: path, encoding: .utf8)
        else { return }
        for line in text.split(whereSeparator: \.isNewline) {
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard words.count > 1, words[0] == "nameserver", let address = IPAddress(String(words[1])),
                PublicResolvers.contains(address)
            else { continue }
            find([.key("dns_lists")], "dns_lists: \(address) in \(path) \(PublicResolvers.advice)")
        }
    }

    // MARK: - Files

    private func status(of path: String) -> stat? {
        var status = stat()
        return stat(path, &status) == 0 ? status : nil
    }

    /// Of what has this name itself, were it a link (S_IFMT); `nil` where there is nothing.
    private func type(of path: String) -> mode_t? {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_mode & S_IFMT : nil
    }

    private static func folder(of path: String) -> String { (path as NSString).deletingLastPathComponent }

    /// Why nothing can be made by this name, and what to do; `nil` where it can, or is there, or where who asks may not see.
    ///
    /// - Parameter made: the command by which its folder is made.
    private func obstacle(to path: String, made command: String = "mkdir -p") -> String? {
        if let status = status(of: path) {
            return status.st_mode & S_IFMT == S_IFDIR ? "\(path) is a folder; name a file in it" : nil
        }
        let folder = Self.folder(of: path)
        guard !folder.isEmpty else { return nil }
        if let status = status(of: folder) {
            return status.st_mode & S_IFMT == S_IFDIR ? nil : "\(folder) is not a folder; name another"
        }
        return switch errno {
        case ENOTDIR: "\(folder) leads through a file; name another folder"
        case ENOENT: "the folder \(folder) is not there; make it with: \(command) \(folder)"
        default: nil
        }
    }

    /// In words, why a file cannot be read; `nil` where it can.
    private func unreadable(_ path: String) -> String? {
        guard access(path, R_OK) == 0 else { return String(cString: strerror(errno)).lowercased() }
        // Root may read everything; the account that the daemon becomes may not.
        guard geteuid() == 0, let name = configuration.user, let account = AccountRights(named: name), !account.mayRead(path) else {
            return nil
        }
        return "the account \(name) may not read it"
    }
}

extension ConfigurationFile {
    /// An error of a listener's key, for those who find what the loader cannot; at the listener where the key is not written. `nil` for
    /// built-in defaults.
    ///
    /// - Parameter index: the listener's, from 0.
    public func error(ofListener index: Int, _ key: String, _ message: String) -> Diagnostic? {
        guard let path, let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
        let position = Places(text, file: path).position([.key("listeners"), .element(index), .key(key)])
        return Diagnostic(.error, file: path, line: position.line, column: position.column, "listeners[].\(key): \(message)")
    }

    /// All that is risky: what the loader said, what the file taken as a whole tells, and what this machine adds; in the order of
    /// the file. Built-in defaults hold nothing of the kind.
    public func review(_ loaded: ConfigurationLoader.Loaded) -> [Diagnostic] {
        guard let path, let text = try? String(contentsOfFile: path, encoding: .utf8) else { return loaded.warnings }
        let found =
            ConfigurationReview.risks(loaded.configuration, text: text, file: path)
            + ConfigurationReview.findings(onThisMachine: loaded.configuration, text: text, file: path)
        return (loaded.warnings + found).enumerated()
            .sorted { ($0.element.line, $0.element.column, $0.offset) < ($1.element.line, $1.element.column, $1.offset) }.map(\.element)
    }
}
