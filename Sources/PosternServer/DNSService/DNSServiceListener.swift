import DNSListServer
import Dispatch
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import PosternConfiguration
import PosternControl
import PosternCore
import PosternEngine
import PublishedLists

/// One listener with role `dnsbl`: a thread of its own for UDP, channels for TCP.
final class DNSServiceListener: RunningListener {
    let name: String
    let address: ListenAddress
    let role = Configuration.Role.dnsbl
    private let datagrams: DatagramServer
    private let streams: any Channel
    private let connections: ConnectionSet
    private let shared: StreamService

    private init(
        name: String, address: ListenAddress, datagrams: DatagramServer, streams: any Channel, connections: ConnectionSet,
        shared: StreamService
    ) {
        self.name = name
        self.address = address
        self.datagrams = datagrams
        self.streams = streams
        self.connections = connections
        self.shared = shared
    }

    /// Starts to answer on a listening descriptor and a bound, blocking one for datagrams, both of which it then owns.
    static func start(
        name: String, address: ListenAddress, descriptor: Int32, datagramDescriptor: Int32, group: any EventLoopGroup,
        service: ListService, time: @escaping @Sendable () -> ZoneTime, logger: Logger
    ) async throws -> DNSServiceListener {
        let connections = ConnectionSet()
        let shared = StreamService(service, time: time)
        let streams = try await ServerBootstrap(group: group)
            .pausing(name, ShortageLog(logger: logger))
            .childChannelInitializer { channel in
                connections.insert(channel)
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers([
                        IdleStateHandler(allTimeout: DNSStreamHandler.patience), DNSStreamHandler(shared),
                    ])
                }
            }
            .withBoundSocket(descriptor)
            .get()
        let tellsAddresses =
            switch address {
            case .tcp(let host, _): host == host.masked(to: 0)
            case .unix: false
            }
        let datagrams = DatagramServer(
            descriptor: datagramDescriptor, tellsAddresses: tellsAddresses, service: service, time: time, seed: .random(in: .min ... .max))
        return DNSServiceListener(
            name: name, address: address, datagrams: datagrams, streams: streams, connections: connections, shared: shared)
    }

    func update(_ service: ListService) {
        shared.update(service)
        datagrams.update(service)
    }

    var service: ListService { shared.service }

    func drain(patience: WallTime.Span) async {
        try? await streams.close()
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async { [datagrams] in
                datagrams.stop()
                continuation.resume()
            }
        }
        await connections.drain(patience: patience)
    }

    var report: StatusReport.DNSService {
        let totals = datagrams.totals + shared.totals
        return StatusReport.DNSService(
            name: name, zones: service.responder.zones.map { "\($0.settings.name)" }.sorted(),
            queries: totals.outcomes.reduce(0, +) + totals.dropped + totals.slipped, listed: totals[.listed],
            notListed: totals[.notListed], refused: totals[.refused], malformed: totals[.rejected] + totals[.ignored],
            rateLimited: totals.dropped + totals.slipped, overTCP: totals.overStreams, unsent: totals.unsent)
    }
}

/// What the connections of a DNS service share.
final class StreamService: Sendable {
    private let state: NIOLockedValueBox<(service: ListService, totals: ListServiceTotals)>
    let time: @Sendable () -> ZoneTime
    let places = StreamPlaces()

    init(_ service: ListService, time: @escaping @Sendable () -> ZoneTime) {
        state = NIOLockedValueBox((service, ListServiceTotals()))
        self.time = time
    }

    var service: ListService { state.withLockedValue { $0.service } }
    var totals: ListServiceTotals { state.withLockedValue { $0.totals } }

    func update(_ service: ListService) { state.withLockedValue { $0.service = service } }

    func count(_ outcome: AnswerKind) {
        state.withLockedValue {
            $0.totals[outcome] += 1
            $0.totals.overStreams += 1
        }
    }
}
