import PosternCore
import PosternEngine
import Testing

@testable import PosternServer

struct ReplyTextTests {
    /// Limits may be as short as a second, and whoever is past one is told the moment that `throttle list` shows.
    @Test(arguments: [
        (WallTime.Span.milliseconds(-500), "1 second"), (.milliseconds(400), "1 second"), (.milliseconds(1001), "2 seconds"),
        (.seconds(59), "59 seconds"), (.hours(1), "3600 seconds"),
    ])
    func aThrottledClientIsToldWhenItMayComeBack(wait: WallTime.Span, words: String) {
        let now = WallTime(seconds: 1_795_000_000)
        let text = ReplyText.throttled(
            until: now + wait, now: now, settings: ThrottleSettings(), hostname: "mx.example.org", reference: Reference(value: 7))
        #expect(text.contains("please come back in \(words); lists and large senders"), "\(text)")
    }
}
