// Writes a Postfix log to standard output, the same every time: strangers that are greylisted and do not come back, and mailers
// that are let in, some of them often.
//
//     maillog-writer LINES

import Glibc

/// SplitMix64.
struct Numbers {
    var state: UInt64 = 7

    mutating func next(_ bound: UInt64) -> Int {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return Int((z ^ z >> 31) % bound)
    }
}

guard CommandLine.arguments.count == 2, let wanted = Int(CommandLine.arguments[1]), wanted > 0 else {
    print("usage: maillog-writer LINES")
    exit(64)
}

let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }

/// Of a year that is no leap year.
func stamp(_ second: Int) -> String {
    var day = second / 86_400
    var month = 0
    while day >= lengths[month % 12] {
        day -= lengths[month % 12]
        month += 1
    }
    let padded = day < 9 ? " \(day + 1)" : "\(day + 1)"
    return "\(months[month % 12]) \(padded) \(two(second / 3600 % 24)):\(two(second / 60 % 60)):\(two(second % 60))"
}

var numbers = Numbers()
var milliseconds = 0
var number = 0

/// What is written, in large pieces.
struct Log {
    var output: [UInt8] = []
    var lines = 0

    mutating func flush() {
        var start = 0
        while start < output.count {
            let written = output[start...].withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
            guard written > 0 else { exit(74) }
            start += written
        }
        output.removeAll(keepingCapacity: true)
    }

    mutating func line(_ text: String) {
        output.append(contentsOf: text.utf8)
        output.append(10)
        lines += 1
        if output.count > 1 << 20 { flush() }
    }
}

var log = Log()
while log.lines < wanted {
    milliseconds += numbers.next(2000)
    number += 1
    let head = "\(stamp(milliseconds / 1000)) mx postfix/"
    let process = 1000 + number % 50
    if numbers.next(10) < 4 {
        let client = "unknown[\(1 + numbers.next(222)).\(numbers.next(256)).\(numbers.next(256)).\(numbers.next(256))]"
        let user = "u\(number % 50)@example.net"
        log.line("\(head)smtpd[\(process)]: connect from \(client)")
        log.line(
            "\(head)smtpd[\(process)]: NOQUEUE: reject: RCPT from \(client): 450 4.2.0 <\(user)>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/example.net.html; from=<b\(numbers.next(1_000_000))@spam\(number % 1000).example> to=<\(user)> proto=ESMTP helo=<win\(number)>"
        )
        log.line("\(head)smtpd[\(process)]: disconnect from \(client) ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4")
    } else {
        // The lower its number the more a mailer sends.
        let first = numbers.next(7000)
        let sender = min(first, numbers.next(7000))
        let client =
            sender < 3000
            ? "mail-wr1-f\(sender % 70).google.com[209.85.\(221 - sender % 3).\(sender % 250)]"
            : "mx\(sender % 3).example\(sender).org[198.\(18 + sender % 2).\(sender % 250).\(sender / 250)]"
        let from = sender < 3000 ? "user\(sender)@gmail.com" : "a\(sender % 7)@example\(sender).org"
        let user = "u\(numbers.next(50))@example.net"
        let queue = String(0xA0_0000_0000 + number, radix: 16, uppercase: true)
        log.line("\(head)smtpd[\(process)]: connect from \(client)")
        log.line("\(head)smtpd[\(process)]: \(queue): client=\(client)")
        log.line("\(head)cleanup[\(process)]: \(queue): message-id=<\(number).\(numbers.next(1_000_000_000))@mail.example>")
        log.line("\(head)qmgr[77]: \(queue): from=<\(from)>, size=\(1000 + numbers.next(90_000)), nrcpt=1 (queue active)")
        log.line("\(head)smtpd[\(process)]: disconnect from \(client) ehlo=2 starttls=1 mail=1 rcpt=1 data=1 quit=1 commands=7")
        log.line(
            "\(head)lmtp[\(process)]: \(queue): to=<\(user)>, relay=mx[private/dovecot-lmtp], delay=0.42, delays=0.3/0.01/0.02/0.09, dsn=2.0.0, status=sent (250 2.0.0 <\(user)> aaaabbbb Saved)"
        )
        log.line("\(head)qmgr[77]: \(queue): removed")
    }
}
log.flush()
