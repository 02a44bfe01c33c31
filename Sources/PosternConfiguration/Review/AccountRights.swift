import CAttributes
import Foundation

/// What an account of this machine may read, told from owners and permissions alone.
struct AccountRights {
    let user: uid_t
    let groups: [gid_t]

    /// Groups of an account that are looked at.
    private static let maximumGroups: Int32 = 1024

    init(user: uid_t, groups: [gid_t]) {
        self.user = user
        self.groups = groups
    }

    /// `nil` where there is no such account.
    init?(named name: String) {
        guard let account = getpwnam(name)?.pointee else { return nil }
        var count = Self.maximumGroups
        var groups = [gid_t](repeating: 0, count: Int(count))
        guard getgrouplist(name, account.pw_gid, &groups, &count) >= 0 else { return nil }
        self.init(user: account.pw_uid, groups: Array(groups.prefix(Int(count))))
    }

    /// Whether the account may read a file, through all the folders above it and, where it is a link, above what it leads to. Where an
    /// access control list says more than permissions do, or something cannot be looked at, the answer is yes.
    func mayRead(_ path: String) -> Bool {
        guard user != 0 else { return true }
        guard let real = realpath(path, nil) else { return true }
        defer { free(real) }
        let paths = [URL(filePath: path).standardizedFileURL.path, String(cString: real)]
        let folders = Set(paths.flatMap(Self.foldersAbove))
        return may(S_IROTH, paths[1]) && folders.allSatisfy { may(S_IXOTH, $0) }
    }

    private static func foldersAbove(_ path: String) -> [String] {
        var folders: [String] = []
        var rest = path
        while rest != "/", !rest.isEmpty {
            rest = (rest as NSString).deletingLastPathComponent
            if !rest.isEmpty { folders.append(rest) }
        }
        return folders
    }

    /// - Parameter right: as it is written for others; owner and group have theirs six and three bits further on.
    private func may(_ right: mode_t, _ path: String) -> Bool {
        var status = stat()
        guard stat(path, &status) == 0, cattributes_has_acl(path) == 0 else { return true }
        if status.st_uid == user { return status.st_mode & (right << 6) != 0 }
        if groups.contains(status.st_gid) { return status.st_mode & (right << 3) != 0 }
        return status.st_mode & right != 0
    }
}
