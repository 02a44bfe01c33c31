import Foundation
import NIOConcurrencyHelpers

/// The daemon's end of the control socket: one thread that accepts, and one for each of a few connections. What is
/// asked here is rare and small, so the event loops are left alone.
public final class ControlSocketServer: Sendable {
    /// Connections at once; one more is told to come back.
    public static let maximumConnections = 16

    private struct State {
        var isStopping = false
        /// Descriptors of connections that are being served.
        var open: Set<Int32> = []
    }

    public let path: String
    private let listener: Int32
    private let file: SocketFile?
    private let handler: ControlHandler
    /// How long a connection may take for a line, and be idle between two, in seconds.
    private let patience: Double
    private let isShort: @Sendable (Int32) -> Void
    private let state = NIOLockedValueBox(State())

    /// Listens on `path` and begins to answer. A socket that is left over from a process that died is replaced; one that
    /// answers belongs to a running daemon, and then this fails with `.temporary`. The socket's mode is `mode`.
    ///
    /// - Parameter isShort: told each time that the system has no room for a connection, with the error of accept(2), ten times a
    ///   second at most.
    public init(
        path: String, mode: UInt16 = 0o660, handler: ControlHandler, patience: Double = 30,
        isShort: @escaping @Sendable (Int32) -> Void = { _ in }
    ) throws(ControlFailure) {
        self.path = path
        self.handler = handler
        self.patience = patience
        self.isShort = isShort
        listener = try Self.listen(path, mode: mode)
        file = SocketFile(path)
        Thread.detachNewThread { [self] in acceptConnections() }
    }

    private static func listen(_ path: String, mode: UInt16) throws(ControlFailure) -> Int32 {
        if try ControlClient.connect(to: path) != nil {
            throw ControlFailure(.temporary, "another daemon answers on \(path); stop it first, or give this one another data_directory")
        }
        var status = stat()
        if lstat(path, &status) == 0 {
            guard status.st_mode & S_IFMT == S_IFSOCK else {
                throw ControlFailure(.cannotCreate, "\(path) is in the way of the control socket, and is none itself")
            }
            unlink(path)
        }
        // Nobody may connect between bind and the mode that was asked for.
        let before = umask(0o177)
        let result = unixSocket(path) { bind($0, $1, $2) }
        umask(before)
        switch result {
        case .success(let descriptor):
            guard chmod(path, mode_t(mode)) == 0, Foundation.listen(descriptor, 16) == 0 else {
                let words = String(cString: strerror(errno))
                close(descriptor)
                unlink(path)
                throw ControlFailure(.cannotCreate, "cannot listen on \(path): \(words)")
            }
            return descriptor
        case .failure(let failure):
            throw ControlFailure(failure == .system(EACCES) ? .noPermission : .cannotCreate, "cannot make \(path): \(failure.words)")
        }
    }

    /// Takes no more requests, lets the ones under way finish for at most `patience` seconds, and removes the socket.
    public func stop(patience: Double = 5) async {
        let isFirst = state.withLockedValue { state in
            defer { state.isStopping = true }
            guard !state.isStopping else { return false }
            // Wakes the threads; the connections may still write their answers.
            for descriptor in state.open { shutdown(descriptor, Int32(SHUT_RD)) }
            return true
        }
        guard isFirst else { return }
        file?.remove()
        shutdown(listener, Int32(SHUT_RDWR))
        let deadline = DispatchTime.now() + patience
        while DispatchTime.now() < deadline, state.withLockedValue({ !$0.open.isEmpty }) {
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    private func acceptConnections() {
        while true {
            let descriptor = accept(listener, nil, nil)
            guard descriptor >= 0 else {
                let code = errno
                if state.withLockedValue({ $0.isStopping }) || code == EBADF || code == EINVAL { break }
                // Out of descriptors, or a peer that is gone already: there is always a next one.
                guard code != EINTR, code != ECONNABORTED else { continue }
                if [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(code) { isShort(code) }
                usleep(100_000)
                continue
            }
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            let isAdmitted = state.withLockedValue { state in
                guard !state.isStopping, state.open.count < Self.maximumConnections else { return false }
                state.open.insert(descriptor)
                return true
            }
            let socket = ControlSocket(descriptor: descriptor)
            guard isAdmitted else {
                let failure = ControlFailure(.temporary, "the daemon is busy with \(Self.maximumConnections) other commands; try again")
                try? socket.write(ControlMessage.line(.failure(failure)), within: 1)
                continue
            }
            let served = Served(socket: socket)
            Thread.detachNewThread { [self] in
                serve(served.socket)
                state.withLockedValue { _ = $0.open.remove(descriptor) }
                // The descriptor is closed with the last reference, which is this thread's: not before it is out of the set.
                withExtendedLifetime(served) {}
            }
        }
        close(listener)
    }

    private func serve(_ socket: ControlSocket) {
        do throws(ControlSocket.Failure) {
            while !state.withLockedValue({ $0.isStopping }),
                let line = try socket.readLine(atMost: ControlMessage.maximumRequest, within: patience)
            {
                try socket.write(answer(line), within: patience)
            }
        } catch {
            guard error == .tooLong else { return }
            let failure = ControlFailure(.badData, "a request may have \(ControlMessage.maximumRequest) octets")
            try? socket.write(ControlMessage.line(.failure(failure)), within: patience)
        }
    }

    private func answer(_ line: [UInt8]) -> [UInt8] {
        let request: ControlRequest
        do throws(ControlFailure) {
            request = try ControlMessage.request(line)
        } catch {
            return ControlMessage.line(.failure(error))
        }
        let result = NIOLockedValueBox<Result<ControlReply, ControlFailure>>(.failure(ControlFailure(.unavailable, "no answer")))
        let done = DispatchSemaphore(value: 0)
        Task { [handler] in
            let answer = await handler.handle(request)
            result.withLockedValue { $0 = answer }
            done.signal()
        }
        done.wait()
        return ControlMessage.line(result.withLockedValue { $0 })
    }
}

/// Hands a socket over to its thread.
// Only the thread that serves it uses it once it was handed over.
private final class Served: @unchecked Sendable {
    let socket: ControlSocket

    init(socket: ControlSocket) {
        self.socket = socket
    }
}
