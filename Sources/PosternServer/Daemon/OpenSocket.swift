import Glibc
import Logging
import PosternConfiguration
import PosternControl
import PosternCore

/// A listener's socket, before anything reads from it.
struct OpenSocket {
    let name: String
    let address: ListenAddress
    let descriptor: Int32
    /// Of a DNS service: the socket for UDP on the same address.
    var datagrams: Int32?
    /// Of a UNIX socket of ours. That of one that the service manager opened is the manager's, who listens on (sd_listen_fds(3)).
    var file: SocketFile?

    /// Takes each listener's socket from the service manager where it hands one over, else opens it.
    static func all(of configuration: Configuration, logger: Logger) throws -> [OpenSocket] {
        var inherited = ServiceManners.inheritedSockets()
        var sockets: [OpenSocket] = []
        for listener in configuration.listeners {
            let index = inherited.firstIndex {
                $0.name == listener.name || SocketAddresses.local($0.descriptor)?.description == listener.address.description
            }
            if let index {
                let socket = inherited.remove(at: index)
                let bound = SocketAddresses.local(socket.descriptor)?.description
                if let bound, bound != listener.address.description {
                    logger.warning(
                        "the service manager opened another address than the configuration names; make them the same",
                        metadata: ["listener": "\(listener.name)", "opened": "\(bound)", "configured": "\(listener.address)"])
                }
                var open = OpenSocket(
                    name: listener.name, address: SocketAddresses.local(socket.descriptor) ?? listener.address,
                    descriptor: socket.descriptor)
                if listener.role == .dnsbl {
                    open = try withDatagrams(open, listener, &inherited)
                } else if ListeningSocket.kind(socket.descriptor) != SOCK_STREAM {
                    throw StartFailure(
                        StartFailure.configuration,
                        "the service manager handed over something other than a stream socket; it needs ListenStream=",
                        listener: listener.name)
                }
                sockets.append(open)
                continue
            }
            do throws(ListenFailure) {
                if listener.role == .dnsbl, case .tcp(let host, let port) = listener.address {
                    let (descriptor, datagrams, bound) = try ListeningSocket.openBoth(host, port)
                    sockets.append(OpenSocket(name: listener.name, address: bound, descriptor: descriptor, datagrams: datagrams))
                    continue
                }
                sockets.append(try ours(listener.name, listener.address))
            } catch {
                throw StartFailure(StartFailure.configuration, "\(error)", listener: listener.name)
            }
        }
        for left in inherited {
            logger.warning(
                "a socket was handed over that no listener has the name or address of; it is closed", metadata: ["name": "\(left.name)"])
            close(left.descriptor)
        }
        return sockets
    }

    /// One that nobody has handed over.
    static func ours(_ name: String, _ address: ListenAddress) throws(ListenFailure) -> OpenSocket {
        let (descriptor, bound) = try ListeningSocket.open(address)
        var open = OpenSocket(name: name, address: bound, descriptor: descriptor)
        if case .unix(let path, _, _) = bound { open.file = SocketFile(path) }
        return open
    }

    /// Of a DNS service the service manager hands over two sockets, in any order.
    private static func withDatagrams(
        _ first: OpenSocket, _ listener: Configuration.Listener, _ inherited: inout [(name: String, descriptor: Int32)]
    ) throws -> OpenSocket {
        let kind = ListeningSocket.kind(first.descriptor)
        guard kind == SOCK_STREAM || kind == SOCK_DGRAM else {
            throw StartFailure(
                StartFailure.configuration,
                "the service manager handed over something other than a socket for streams or datagrams; the DNS service needs ListenStream= and ListenDatagram=",
                listener: listener.name)
        }
        let isDatagram = kind == SOCK_DGRAM
        let other = inherited.firstIndex {
            ListeningSocket.kind($0.descriptor) == (isDatagram ? SOCK_STREAM : SOCK_DGRAM)
                && SocketAddresses.local($0.descriptor)?.description == first.address.description
        }
        guard let other else {
            throw StartFailure(
                StartFailure.configuration, "the DNS service was handed one socket; it needs ListenStream= and ListenDatagram=",
                listener: listener.name)
        }
        let second = inherited.remove(at: other).descriptor
        let (stream, datagrams) = isDatagram ? (second, first.descriptor) : (first.descriptor, second)
        return OpenSocket(name: first.name, address: first.address, descriptor: stream, datagrams: datagrams)
    }
}
