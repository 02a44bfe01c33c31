import Foundation
import IntegrationSupport
import PosternCore
import PosternEngine
import PublishedLists
import Testing

@testable import Subscriptions

struct SubscriptionTests {
    private func refresh(_ subscription: Subscription, at second: UInt32 = 1000) async -> String {
        switch await subscription.refresh(with: nil, ZoneTime(now: second), checked: WallTime(seconds: Int64(second))) {
        case .unchanged: "unchanged"
        case .changed(let list, _, _): "\(list.count)"
        case .failed(let why): why
        }
    }

    private func addresses(_ count: Int) -> String { (0..<count).map { "10.0.\($0 / 256).\($0 % 256)\n" }.joined() }

    @Test func aListThatShrinksAndGoesOnChangingIsBelievedTheSecondTime() async throws {
        let folder = try TemporaryFolder("subscription")
        let file = try folder.write(addresses(2000), to: "list")
        let subscription = Subscription(
            SubscriptionSettings(name: "x", source: .file(file), format: .text, colour: .black), folder: folder.file("kept"))
        #expect(await refresh(subscription) == "2000")
        _ = try folder.write(addresses(50), to: "list")
        #expect(await refresh(subscription).contains("it has 50 entries, and had 2000"))
        _ = try folder.write(addresses(51), to: "list")
        #expect(await refresh(subscription) == "51")
        // One that is whole in between makes the next small one the first again.
        _ = try folder.write(addresses(3000), to: "list")
        #expect(await refresh(subscription) == "3000")
        _ = try folder.write(addresses(60), to: "list")
        #expect(await refresh(subscription).contains("not believed"))
        _ = try folder.write(addresses(3001), to: "list")
        #expect(await refresh(subscription) == "3001")
        _ = try folder.write(addresses(61), to: "list")
        #expect(await refresh(subscription).contains("not believed"))
    }

    @Test func spansGoOnOverARestart() async throws {
        let folder = try TemporaryFolder("subscription")
        let file = try folder.write("198.51.100.20,black,100s\n198.51.100.21,black,10s\n198.51.100.22\n", to: "list")
        let settings = SubscriptionSettings(name: "x", source: .file(file), format: .csv, colour: .black)
        #expect(await refresh(Subscription(settings, folder: folder.file("kept"))) == "3")
        let again = Subscription(settings, folder: folder.file("kept"))
        let list = try #require(await again.restore(ZoneTime(now: 1050), checked: WallTime(seconds: 1050)))
        #expect(list.count == 2 && list.table.listing(of: IPAddress("198.51.100.20")!, at: 1050)?.expires == 1100)
        #expect(await refresh(again, at: 1050) == "unchanged")
        // One that has expired as a whole is still the list that was fetched.
        _ = try folder.write("198.51.100.20,black,100s\n", to: "list")
        #expect(await refresh(again, at: 1100) == "1")
        let last = Subscription(settings, folder: folder.file("kept"))
        #expect(await last.restore(ZoneTime(now: 1300), checked: WallTime(seconds: 1300))?.count == 0)
        #expect(await refresh(last, at: 1300) == "unchanged")
    }

    @Test func whatIsKeptIsJudgedWhereItIsReadInAnotherFormat() async throws {
        let folder = try TemporaryFolder("subscription")
        let file = try folder.write("192.0.2.1,block,,x\n192.0.2.2,block,,y\n", to: "list")
        var settings = SubscriptionSettings(name: "x", source: .file(file), format: .csv, colour: .black)
        #expect(await refresh(Subscription(settings, folder: folder.file("kept"))) == "2")
        settings.format = .text
        let other = Subscription(settings, folder: folder.file("kept"))
        #expect(await other.restore(ZoneTime(now: 1050), checked: WallTime(seconds: 1050)) == nil)
        #expect(await refresh(other).hasPrefix("no line of it is an entry"))
        settings.format = .csv
        #expect(
            await Subscription(settings, folder: folder.file("kept")).restore(ZoneTime(now: 1060), checked: WallTime(seconds: 1060))?.count
                == 2)
    }
}
