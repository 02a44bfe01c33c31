import Glibc
import PosternConfiguration

/// Why a process cannot use its data folder as it should, with the exit code of sysexits(3) that says so.
public struct SettlingFailure: Error, CustomStringConvertible, Sendable {
    public let code: Int32
    public let description: String
}

extension Configuration {
    /// What the daemon does before it opens the store, and a command that opens it without one: makes the data folder where
    /// `makingFolder` says so, and as root becomes the account that `user:` names, for good. What root made the daemon could not
    /// write.
    public func settleIn(makingFolder: Bool) throws(SettlingFailure) {
        let path = dataDirectory
        if makingFolder, mkdir(path, 0o750) != 0, errno != EEXIST {
            let code = errno == EACCES || errno == EPERM ? StartFailure.noPermission : StartFailure.cannotCreate
            throw SettlingFailure(
                code: code, description: "cannot make the data folder \(path): \(String(cString: strerror(errno))); see data_directory")
        }
        var status = stat()
        let isThere = stat(path, &status) == 0
        if isThere, status.st_mode & S_IFMT != S_IFDIR {
            throw SettlingFailure(
                code: StartFailure.cannotCreate,
                description: "cannot make the data folder \(path): something else is there; name another in data_directory")
        }
        guard geteuid() == 0, let name = user else { return }
        guard let account = Account(named: name) else {
            throw SettlingFailure(
                code: StartFailure.configuration,
                description: "user: there is no account \(name); make it with `adduser --system --group --no-create-home \(name)`")
        }
        // Only what is ours is given away: a folder that belongs to someone else stays theirs.
        if makingFolder, isThere, status.st_uid == 0, chown(path, account.uid, account.gid) != 0 {
            throw SettlingFailure(
                code: StartFailure.noPermission, description: "cannot give \(path) to \(name): \(String(cString: strerror(errno)))")
        }
        guard account.become() else {
            throw SettlingFailure(
                code: StartFailure.noPermission, description: "cannot become \(name): \(String(cString: strerror(errno)))")
        }
    }
}
