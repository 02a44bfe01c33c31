import CDatagrams
import Glibc
import PosternCore
import PublishedLists

/// The memory of a batch of datagrams: what was received, and the replies to it. Used by one thread.
final class DatagramBatch {
    private let batch: UnsafeMutablePointer<cdatagram_batch_memory>
    private let replies: UnsafeMutablePointer<cdatagram_header>
    private let vectors: UnsafeMutablePointer<iovec>
    private let received: UnsafeMutableRawBufferPointer
    private let sent: UnsafeMutableRawBufferPointer
    /// Replies that wait to be sent.
    private var count = 0

    private static let size = Int(cdatagram_batch)
    private static let replySize = ListResponder.largestDatagram

    init?() {
        guard let batch = cdatagram_make() else { return nil }
        self.batch = batch
        replies = .allocate(capacity: Self.size)
        replies.initialize(repeating: cdatagram_header(), count: Self.size)
        vectors = .allocate(capacity: Self.size)
        vectors.initialize(repeating: iovec(), count: Self.size)
        received = .allocate(byteCount: Self.size * DatagramServer.longestQuery, alignment: 16)
        sent = .allocate(byteCount: Self.size * Self.replySize, alignment: 16)
    }

    deinit {
        free(batch)
        replies.deallocate()
        vectors.deallocate()
        received.deallocate()
        sent.deallocate()
    }

    /// How many came; below zero with `errno`.
    func receive(from descriptor: Int32, tellsAddresses: Bool) -> Int {
        Int(
            cdatagram_receive(
                descriptor, batch, received.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt32(DatagramServer.longestQuery),
                tellsAddresses ? 1 : 0))
    }

    private func address(_ index: Int32) -> IPAddress? {
        switch cdatagram_family(batch, index) {
        case 4: IPAddress(v4: cdatagram_v4(batch, index))
        case 6: IPAddress(v6High: cdatagram_v6(batch, index, 0), low: cdatagram_v6(batch, index, 1))
        default: nil
        }
    }

    func answer(
        _ received: Int, _ service: ListService, _ limiter: inout ResponseRateLimiter, _ time: ZoneTime, _ totals: inout BatchTotals
    ) {
        count = 0
        let knowsAsker = service.allowed != nil || !limiter.isOff
        let milliseconds = limiter.isOff ? 0 : Self.milliseconds
        for index in 0..<received {
            let start = index * DatagramServer.longestQuery
            let length = Int(cdatagram_length(batch, Int32(index)))
            let query = UnsafeRawBufferPointer(rebasing: self.received[start..<start + min(length, DatagramServer.longestQuery)])
            var manner = ListResponder.Manner.datagram
            if knowsAsker {
                guard let address = address(Int32(index)) else { continue }
                if service.allowed?.contains(address) == false { manner = .stranger }
                if !limiter.isOff, !service.unlimited.contains(address) {
                    switch limiter.decide(address, now: milliseconds) {
                    case .answer: break
                    case .slip:
                        manner = .slip
                        totals.slipped += 1
                    case .drop:
                        totals.dropped += 1
                        continue
                    }
                }
            }
            let place = count * Self.replySize
            let room = UnsafeMutableRawBufferPointer(rebasing: sent[place..<place + Self.replySize])
            let response = service.responder.respond(to: query, into: room, manner, time)
            if manner != .slip { totals.count(response.outcome) }
            // A reply to port 0 goes nowhere.
            guard response.count > 0, cdatagram_port(batch, Int32(index)) != 0 else { continue }
            cdatagram_reply(
                batch, Int32(index), replies, Int32(count), vectors, room.baseAddress?.assumingMemoryBound(to: UInt8.self),
                UInt32(response.count))
            count += 1
        }
    }

    /// Sends the replies; returns how many the system did not take.
    func send(on descriptor: Int32) -> Int {
        var first = 0
        var unsent = 0
        while first < count {
            let done = Int(cdatagram_send(descriptor, replies, Int32(first), Int32(count - first)))
            if done > 0 {
                first += done
            } else if errno != EINTR {
                // The first of them cannot be sent; the others may.
                unsent += 1
                first += 1
            }
        }
        return unsent
    }

    /// Of the clock that never jumps.
    private static var milliseconds: UInt64 {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
        return UInt64(now.tv_sec) * 1000 + UInt64(now.tv_nsec) / 1_000_000
    }
}
