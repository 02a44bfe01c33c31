import NIOCore
import PosternCore
import SMTPProtocol
import Testing

@testable import PosternServer

/// What is known of what backends offer, and to whom.
struct BackendDirectoryTests {
    private let first = ListenAddress.tcp(IPAddress("127.0.0.1")!, port: 2)
    private let second = ListenAddress.tcp(IPAddress("127.0.0.1")!, port: 3)
    private let all = Extensions(size: 1000, eightBitMIME: true, smtpUTF8: true, dsn: true, enhancedStatusCodes: true)
    private let few = Extensions(size: 1000, eightBitMIME: true, enhancedStatusCodes: true)
    private let start = NIODeadline.now()

    private func client(_ text: String) -> IPAddress { IPAddress(text)! }

    private func offersAll(_ directory: BackendDirectory, _ address: String, at now: NIODeadline? = nil) -> Bool? {
        directory.offered(to: client(address), now: now ?? start).map { $0.dsn && $0.smtpUTF8 }
    }

    @Test func whatAClientIsOfferedTakesNothingFromOthers() {
        let directory = BackendDirectory([first])
        #expect(directory.offered(to: client("192.0.2.1"), now: start) == nil)
        _ = directory.answered(first, all, now: start)
        directory.offered(first, few, to: client("192.0.2.1"), now: start)
        #expect(offersAll(directory, "192.0.2.1") == false)
        for other in ["192.0.2.2", "198.51.100.1", "2001:db8::1"] { #expect(offersAll(directory, other) == true, "\(other)") }
        #expect(directory.offered(to: nil, now: start)?.dsn == true)
        // However often we are told otherwise.
        _ = directory.answered(first, all, now: start + .minutes(5))
        #expect(offersAll(directory, "192.0.2.1", at: start + .minutes(5)) == false)
        // It has them now.
        directory.offered(first, all, to: client("192.0.2.1"), now: start + .minutes(6))
        #expect(offersAll(directory, "192.0.2.1", at: start + .minutes(6)) == true)
    }

    @Test func aClientMayBeOfferedMoreThanWeAre() {
        let directory = BackendDirectory([first])
        _ = directory.answered(first, few, now: start)
        directory.offered(first, all, to: client("192.0.2.1"), now: start)
        #expect(offersAll(directory, "192.0.2.1") == true && offersAll(directory, "192.0.2.2") == false)
    }

    @Test func severalAddressesSpeakForTheirNetwork() {
        let directory = BackendDirectory([first])
        _ = directory.answered(first, all, now: start)
        directory.offered(first, few, to: client("192.0.2.1"), now: start)
        directory.offered(first, few, to: client("192.0.2.2"), now: start)
        #expect(offersAll(directory, "192.0.2.3") == false && offersAll(directory, "192.0.3.3") == true)
        directory.offered(first, all, to: client("192.0.2.4"), now: start)
        #expect(offersAll(directory, "192.0.2.3") == true && offersAll(directory, "192.0.2.1") == false)
        // A /64 is one host's.
        directory.offered(first, few, to: client("2001:db8::1"), now: start)
        #expect(offersAll(directory, "2001:db8::2") == false && offersAll(directory, "2001:db8:0:1::2") == true)
    }

    @Test func itIsForgottenAfterAnHourUnlessItIsHeardAgain() {
        let directory = BackendDirectory([first])
        _ = directory.answered(first, all, now: start)
        directory.offered(first, few, to: client("192.0.2.1"), now: start)
        directory.offered(first, few, to: client("198.51.100.1"), now: start)
        directory.offered(first, few, to: client("192.0.2.1"), now: start + .minutes(50))
        let later = start + ClientOffers.lifetime
        #expect(offersAll(directory, "192.0.2.1", at: later) == false)
        #expect(offersAll(directory, "198.51.100.1", at: later) == true)
        #expect(offersAll(directory, "198.51.100.1", at: later - .seconds(1)) == false)
    }

    @Test func asMuchIsKeptAsThereIsRoomFor() {
        var offers = ClientOffers()
        func address(_ network: Int, _ host: Int = 0) -> IPAddress { IPAddress(v4: UInt32(10 << 24 + network << 8 + host)) }
        for network in 0...ClientOffers.mostNetworks { offers.note(few, to: address(network), now: start) }
        #expect(offers.count == ClientOffers.mostNetworks)
        // The oldest has gone.
        #expect(offers.known(of: address(0), now: start) == nil)
        #expect(offers.known(of: address(1), now: start) != nil)
        for host in 10...10 + ClientOffers.mostOfNetwork { offers.note(host == 10 ? all : few, to: address(1, host), now: start) }
        #expect(offers.count == ClientOffers.mostNetworks)
        // Its own word has given way: its network speaks for it.
        #expect(offers.known(of: address(1, 10), now: start)?.dsn == false)
    }

    @Test func aClientIsOfferedWhatAllBackendsOfferIt() {
        let directory = BackendDirectory([first, second])
        _ = directory.answered(first, all, now: start)
        #expect(offersAll(directory, "192.0.2.1") == true)
        var small = all
        small.size = 500
        _ = directory.answered(second, small, now: start)
        #expect(directory.offered(to: nil, now: start)?.size == 500)
        directory.offered(second, few, to: client("192.0.2.1"), now: start)
        #expect(offersAll(directory, "192.0.2.1") == false && offersAll(directory, "192.0.2.2") == true)
        // A limit of 0 is none, and so is a missing one.
        small.size = 0
        _ = directory.answered(second, small, now: start)
        #expect(directory.offered(to: nil, now: start)?.size == 1000)
    }

    @Test func whatIsKnownStaysWhileItIsDown() {
        let directory = BackendDirectory([first])
        let health = GatewaySettings.HealthSettings()
        _ = directory.answered(first, all, now: start)
        directory.offered(first, few, to: client("192.0.2.1"), now: start)
        for _ in 0..<health.failures { _ = directory.failed(first, health, now: start) }
        #expect(directory.entries.first?.outUntil != nil)
        #expect(offersAll(directory, "192.0.2.1") == false && offersAll(directory, "192.0.2.2") == true)
        // And when the settings are read again.
        directory.update([second, first])
        #expect(offersAll(directory, "192.0.2.1") == false && offersAll(directory, "192.0.2.2") == true)
    }

    /// It may turn us away and take clients.
    @Test func oneThatTellsUsNothingIsJudgedByWhatClientsHear() {
        let directory = BackendDirectory([first])
        var health = GatewaySettings.HealthSettings()
        health.refresh = .minutes(5)
        #expect(directory.due(health, now: start) == [first])
        directory.asked(first)
        #expect(directory.due(health, now: start) == [first])
        directory.asked(first)
        directory.offered(first, few, to: client("192.0.2.1"), now: start)
        #expect(offersAll(directory, "198.51.100.1") == false)
        directory.offered(first, all, to: client("192.0.2.2"), now: start)
        #expect(offersAll(directory, "198.51.100.1") == true && offersAll(directory, "192.0.2.1") == false)
        #expect(directory.due(health, now: start + .minutes(4)) == [])
        #expect(directory.due(health, now: start + .minutes(5)) == [first])
        directory.asked(first)
        // What it says to clients is not its word to us.
        _ = directory.answered(first, few, now: start + .minutes(5))
        directory.offered(first, all, to: client("192.0.2.1"), now: start + .minutes(10))
        #expect(directory.due(health, now: start + .minutes(10)) == [first])
    }
}
