// Holds SMTP sessions open, each from one of many loopback addresses, until its standard input ends.
//
// idle: takes the greeting and says no more. slow: a byte of a command every ten seconds. data: in the midst of a message, of
// which so much has been sent. rcpt: after RCPT, whose reply is awaited. Prints `holding N` once all are there, and at the end how many were closed meanwhile.

import ArgumentParser
import Glibc
import Loopback

struct Options: ParsableArguments {
    enum Mode: String, ExpressibleByArgument, CaseIterable {
        case idle
        case slow
        case data
        case rcpt
    }

    @Option var port: UInt16
    @Option var sessions: Int
    @Option var mode = Mode.idle
    @Option(help: "How much of a message is sent.") var kilobytes = 64

    func validate() throws {
        guard (1...100_000).contains(sessions), (1...100_000).contains(kilobytes) else {
            throw ValidationError("1 to 100000 sessions, 1 to 100000 kilobytes")
        }
    }
}

/// One session: the commands it has still to say, each after the reply to the one before.
struct Session {
    let descriptor: Int32
    var toSay: ArraySlice<[UInt8]>
    /// What has come of the reply that is awaited.
    var reply: [UInt8] = []
    var unsent: ArraySlice<UInt8> = []
    var isOpen = true
    var isHeld: Bool { toSay.isEmpty && unsent.isEmpty }
}

let options = Options.parseOrExit()
allowDescriptors()
signal(SIGPIPE, SIG_IGN)

/// What a session says, in order; for `data` the content comes behind the reply to DATA.
let script: [[UInt8]] =
    switch options.mode {
    case .idle, .slow: [[]]
    case .rcpt:
        [
            Array("EHLO client.example\r\n".utf8), Array("MAIL FROM:<a@sender.test>\r\n".utf8),
            Array("RCPT TO:<b@example.test>\r\n".utf8),
        ]
    case .data:
        [
            Array("EHLO client.example\r\n".utf8), Array("MAIL FROM:<a@sender.test>\r\n".utf8),
            Array("RCPT TO:<b@example.test>\r\n".utf8), Array("DATA\r\n".utf8),
            Array(
                repeating: Array(("Subject: held and never ended, line after line of it".prefix(62) + "\r\n").utf8),
                count: options.kilobytes * 20
            )
            .flatMap { $0 },
        ]
    }

func open(_ index: Int) -> Session {
    // 127.1.0.1 and on: 250 sessions an address.
    let descriptor = connected(to: options.port, from: 0x7f01_0001 + UInt32(index / 250))
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    return Session(descriptor: descriptor, toSay: script[...])
}

extension Session {
    mutating func received() {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count == 0 || (count < 0 && errno != EAGAIN) {
            isOpen = false
            return
        }
        guard count > 0, !toSay.isEmpty else { return }
        reply += buffer[..<count]
        // The reply is whole where its last line is.
        guard reply.suffix(2).elementsEqual([13, 10]) else { return }
        let last = reply.dropLast(2).split(separator: 10).last ?? []
        guard last.count < 4 || last[last.startIndex + 3] != UInt8(ascii: "-") else { return }
        guard let first = reply.first, first == UInt8(ascii: "2") || first == UInt8(ascii: "3") else {
            print("refused: \(String(decoding: reply, as: UTF8.self))")
            exit(1)
        }
        reply = []
        unsent = toSay.removeFirst()[...]
        send()
    }

    mutating func send() {
        while !unsent.isEmpty {
            let sent = unsent.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, 0) }
            guard sent > 0 else { return }
            unsent = unsent.dropFirst(sent)
        }
    }
}

var sessions: [Session] = []
sessions.reserveCapacity(options.sessions)

/// Waits at most so long for input, of the sessions at these places too; false once the standard input has ended.
func attend(_ sessions: inout [Session], at places: some Sequence<Int>, milliseconds: Int32) -> Bool {
    let open = places.filter { sessions[$0].isOpen }
    var polled = [pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)]
    for place in open {
        let session = sessions[place]
        polled.append(pollfd(fd: session.descriptor, events: Int16(POLLIN) | (session.unsent.isEmpty ? 0 : Int16(POLLOUT)), revents: 0))
    }
    poll(&polled, nfds_t(polled.count), milliseconds)
    for (place, polled) in zip(open, polled.dropFirst()) {
        if polled.revents & Int16(POLLOUT) != 0 { sessions[place].send() }
        if polled.revents & ~Int16(POLLOUT) != 0 { sessions[place].received() }
    }
    return polled[0].revents == 0
}

var goesOn = true
while goesOn, sessions.count < options.sessions || !sessions.allSatisfy({ $0.isHeld || !$0.isOpen }) {
    // A few at a time, so that the listener's queue never overflows.
    let behind = sessions.count { !$0.isHeld && $0.isOpen }
    for _ in 0..<max(0, min(100 - behind, options.sessions - sessions.count)) { sessions.append(open(sessions.count)) }
    goesOn = attend(&sessions, at: sessions.indices, milliseconds: 1)
}
print("holding \(sessions.count { $0.isOpen })")
fflush(nil)
// A byte of each every ten seconds, and a look once a second whether it is still open, evenly: all at once would be a load of its own.
let tick: useconds_t = 20_000
var ticks = 0
while goesOn {
    goesOn = attend(&sessions, at: stride(from: ticks % 50, to: sessions.count, by: 50), milliseconds: 0)
    if options.mode == .slow {
        for place in stride(from: ticks % 500, to: sessions.count, by: 500) where sessions[place].isOpen {
            var byte = UInt8(ascii: "x")
            _ = Glibc.send(sessions[place].descriptor, &byte, 1, 0)
        }
    }
    ticks += 1
    if goesOn { usleep(tick) }
}
print("closed \(sessions.count { !$0.isOpen })")
