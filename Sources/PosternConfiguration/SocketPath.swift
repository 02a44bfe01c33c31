import Glibc

/// Where a UNIX socket stands: one place has many spellings.
enum SocketPath {
    /// Whether two whole paths lead to one socket: by doubled slashes, dots, links to folders, and folders that are mounted twice.
    static func leadToOne(_ path: String, _ other: String) -> Bool {
        let (one, two) = (place(path), place(other))
        guard one.name == two.name else { return false }
        if one.folder == two.folder { return true }
        var (first, second) = (stat(), stat())
        guard stat(one.folder, &first) == 0, stat(two.folder, &second) == 0 else { return false }
        return first.st_dev == second.st_dev && first.st_ino == second.st_ino
    }

    /// The folder, with links followed as far as it is there, and the name in it.
    private static func place(_ path: String) -> (folder: String, name: Substring) {
        var parts = path.split(separator: "/").filter { $0 != "." }
        let name = parts.popLast() ?? ""
        var folder = "/"
        for part in parts {
            if part == ".." {
                folder = String(folder[..<(folder.lastIndex(of: "/") ?? folder.startIndex)])
                if folder.isEmpty { folder = "/" }
                continue
            }
            folder = folder == "/" ? "/\(part)" : "\(folder)/\(part)"
            guard let real = realpath(folder, nil) else { continue }
            defer { free(real) }
            folder = String(cString: real)
        }
        return (folder, name)
    }
}
