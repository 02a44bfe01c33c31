/// Open files that a daemon cannot start without. Event loops end the process where they get none, so that it is found out before
/// there are any.
struct DescriptorNeed {
    /// What every daemon has open, with room to spare: the store and its readers, the control socket, signals, logs, the resolver's
    /// sockets, the threads of traps and DNS lists, a file that is read.
    static let base = 64
    /// An event loop's epoll, eventfd and timerfd, twice: beside our own loops there are those of the HTTP client.
    static let perLoop = 6
    /// Its socket, a second one for datagrams, and the first connections.
    static let perListener = 4

    let atLeast: UInt64

    init(loops: Int, listeners: Int) {
        atLeast = UInt64(Self.base + Self.perLoop * max(loops, 1) + Self.perListener * max(listeners, 0))
    }

    /// Throws where `limit` is less.
    func check(limit: UInt64) throws {
        guard limit < atLeast else { return }
        throw StartFailure(
            StartFailure.system,
            "this process may open \(limit) files and needs \(atLeast) to start, besides one or two for each connection; raise LimitNOFILE= of its service, or `ulimit -n`"
        )
    }
}
