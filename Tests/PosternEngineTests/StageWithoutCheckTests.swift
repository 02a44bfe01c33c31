import EngineTestSupport
import PosternCore
import PosternEngine
import Testing

/// A stage at which nothing is checked, and what would have been said there.
@Suite struct StageWithoutCheckTests {
    private static let senders: [ReversePath] = [.null, ReversePath("a@sender.example")]
    private static let signals: [[Check: Int]] = [[:], [.badOrder: 1], [.earlyTalk: 1, .nonSMTP: 9]]

    private static var variants: [EngineSettings] {
        var variants = [EngineSettings()]
        variants[0].delays.greeting = .fixed(.zero)
        let changes: [(inout EngineSettings) -> Void] = [
            { $0.delays.greeting = .auto }, { $0.delays.greeting = .fixed(.seconds(3)) }, { $0.delays.stage = .seconds(1) },
            { $0.bands.slow = 0 }, { $0.greylist.mode = .off }, { $0.greylist.mode = .shadow },
        ]
        for change in changes {
            var settings = variants[0]
            change(&settings)
            variants.append(settings)
        }
        return variants
    }

    @Test("what needs not be asked would have been accepted, at once and in one piece", arguments: variants)
    func spared(_ settings: EngineSettings) {
        let engine = Engine(settings: settings, domains: LastTwoLabels())
        let unchecked = StagesWithoutCheck(settings)
        var count = 0
        for stage in Stage.allCases {
            for sender in Self.senders {
                for signals in Self.signals where unchecked.contains(stage, nullSender: sender == .null, signals: signals) {
                    count += 1
                    var attempt = Attempt(
                        stage: stage, client: Client(address: IPAddress("192.0.2.7"), helo: "h.example"), sender: sender,
                        recipientCount: stage == .data ? 1 : 0)
                    attempt.isConversation = true
                    attempt.signals = signals
                    guard case .decided(let decision) = engine.begin(attempt, now: WallTime(milliseconds: 1_700_000_000_000)) else {
                        Issue.record("\(stage) was to be decided on evidence")
                        continue
                    }
                    #expect(decision.verdict == Verdict(.accept, [.stageHasNoCheck]), "\(stage) \(signals)")
                    #expect(decision.memory == MessageMemory())
                }
            }
        }
        #expect(count > 0)
    }

    @Test("without delays a session asks about its recipients only, and a bounce about its content")
    func plain() {
        let unchecked = StagesWithoutCheck(Self.variants[0])
        for stage in [Stage.connect, .ehlo, .helo, .mail, .data] {
            #expect(unchecked.contains(stage, nullSender: false, signals: [:]))
        }
        #expect(!unchecked.contains(.rcpt, nullSender: false, signals: [:]))
        #expect(!unchecked.contains(.data, nullSender: true, signals: [:]))
        #expect(!unchecked.contains(.mail, nullSender: false, signals: [.badOrder: 1]))
    }
}
