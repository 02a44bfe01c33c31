import Foundation

/// Asks a running daemon. Blocks; for the command line.
public final class ControlClient {
    private let socket: ControlSocket
    private let patience: Double
    /// For the answer to a request that reads all of the store, in seconds.
    public static let reportPatience: Double = 600

    /// Connects to the daemon's socket. `nil` where no daemon listens there. `patience`, in seconds, is for each answer.
    public static func connect(to path: String, patience: Double = 60) throws(ControlFailure) -> ControlClient? {
        switch unixSocket(path, { Foundation.connect($0, $1, $2) }) {
        case .success(let descriptor):
            return ControlClient(ControlSocket(descriptor: descriptor), patience: patience)
        case .failure(.system(ENOENT)), .failure(.system(ECONNREFUSED)), .failure(.system(ENOTDIR)):
            return nil
        case .failure(.system(EACCES)), .failure(.system(EPERM)):
            throw ControlFailure(
                .noPermission, "you may not use \(path); use the daemon's account or root, or join the group of its data_directory")
        case .failure(let failure):
            throw ControlFailure(.unavailable, "cannot reach the daemon on \(path): \(failure.words)")
        }
    }

    private init(_ socket: ControlSocket, patience: Double) {
        self.socket = socket
        self.patience = patience
    }

    public func send(_ request: ControlRequest) throws(ControlFailure) -> ControlReply {
        let line = try ControlMessage.line(request)
        // Millions of decisions may have to be read.
        let patience = if case .report = request { max(self.patience, Self.reportPatience) } else { self.patience }
        let answer: [UInt8]?
        do throws(ControlSocket.Failure) {
            try socket.write(line, within: patience)
            answer = try socket.readLine(atMost: ControlMessage.maximumReply, within: patience)
        } catch {
            let code: ControlFailure.Code = error == .timedOut ? .temporary : .unavailable
            throw ControlFailure(code, "the daemon did not answer: \(error.words)")
        }
        guard let answer else { throw ControlFailure(.unavailable, "the daemon hung up before it answered") }
        return try ControlMessage.reply(answer)
    }
}
