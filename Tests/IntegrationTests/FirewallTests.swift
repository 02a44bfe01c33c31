import Foundation
import IntegrationSupport
import Testing

/// Who is refused at connect cannot even open a socket, where nftables is told: in a network of its own.
@Suite("firewall", .serialized, .servers("nftables"))
struct FirewallTests {
    /// Brings up the loopback of a network namespace, makes the sets and rules of docs/throttle.md, runs the daemon, and
    /// says what three clients meet.
    private static let scenario = #"""
        import fcntl, socket, struct, subprocess, sys, time
        postern, config, nft, port = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
        with socket.socket() as s:
            request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)
            fcntl.ioctl(s, 0x8914, request)
        for line in [
            "add table inet postern", "add set inet postern refused4 { type ipv4_addr; flags timeout; }",
            "add set inet postern refused6 { type ipv6_addr; flags interval, timeout; }",
            "add chain inet postern input { type filter hook input priority -10; }",
            f"add rule inet postern input tcp dport {port} ip saddr @refused4 drop",
            f"add rule inet postern input tcp dport {port} ip6 saddr @refused6 drop"]:
            subprocess.run([nft, line], check=True)
        daemon = subprocess.Popen([postern, "serve", "--config", config])
        def connect(source, patience=1):
            s = socket.socket()
            s.settimeout(patience)
            s.bind((source, 0))
            try:
                s.connect(("127.0.0.1", port))
                return s
            except OSError as e:
                s.close()
                return None
        deadline = time.time() + 30
        while connect("127.0.0.1") is None and time.time() < deadline: time.sleep(0.05)
        def tries(source, attempts):
            s = connect(source)
            if s is None: return "no socket"
            f = s.makefile("rwb")
            s.settimeout(20)
            def ask(command):
                if command: f.write(command + b"\r\n"); f.flush()
                while True:
                    line = f.readline()
                    if line[3:4] != b"-": return line.decode().strip()
            reply = ask(b"")
            if not reply.startswith("220"): return reply
            ask(b"EHLO bot.test")
            for _ in range(attempts):
                ask(b"MAIL FROM:<a@sender.test>")
                reply = ask(b"RCPT TO:<a@one.test>")
                ask(b"RSET")
            return reply
        try:
            print("hammers:", tries("127.0.0.9", 12), flush=True)
            refused = time.time()
            deadline = time.time() + 20
            while connect("127.0.0.9", 0.3) is not None and time.time() < deadline: time.sleep(0.1)
            print("then:", tries("127.0.0.9", 1), flush=True)
            print("another:", "greeted" if connect("127.0.0.10") else "no socket", flush=True)
            print(subprocess.run([nft, "list", "set", "inet", "postern", "refused4"], stdout=subprocess.PIPE, text=True).stdout, flush=True)
            deadline = time.time() + 20
            while connect("127.0.0.9", 0.3) is None and time.time() < deadline: time.sleep(0.1)
            print("later:", "greeted" if connect("127.0.0.9") else "no socket", "after", int(time.time() - refused), flush=True)
        finally:
            daemon.terminate()
            daemon.wait(20)
        """#

    @Test("a client that hammers on is refused by the kernel for a while, its neighbour is not, and it comes in again by itself")
    func refused() async throws {
        let folder = try TemporaryFolder("firewall")
        // nft of its private root, by that root's own loader.
        let libraries = ServerRoots.folder + "/nftables/usr/lib"
        let loader = try #require(
            try FileManager.default.contentsOfDirectory(atPath: libraries).lazy.compactMap { triple in
                try? FileManager.default.contentsOfDirectory(atPath: "\(libraries)/\(triple)").first { $0.hasPrefix("ld-linux") }.map {
                    "\(libraries)/\(triple)/\($0) --library-path \(libraries)/\(triple)"
                }
            }.first)
        let nft = try folder.write("#!/bin/sh\nexec \(loader) \(ServerRoots.folder)/nftables/usr/sbin/nft \"$@\"\n", to: "nft")
        chmod(nft, 0o755)
        let port = try FreePort.next()
        let backend = try FreePort.next()
        let configuration = try folder.write(
            """
            hostname: mx.example.test
            data_directory: \(folder.file("data"))
            dns: { resolvers: [] }
            greylist: { mode: off }
            delays: { greeting: 0s, clean: 0s }
            listeners: [ { name: throttle, role: throttle, address: "127.0.0.1:\(port)", routes: { one.test: "127.0.0.1:\(backend)" } } ]
            throttle:
              limits: [address attempts 2/1h]
              hold: 1ms
              refuse_for: 6s
              nftables_file: \(folder.file("refused.nft"))
              nftables_command: ["\(nft)", "-f", "\(folder.file("refused.nft"))"]

            """, to: "postern.yaml")
        let isolation = geteuid() == 0 ? ["--net"] : ["--user", "--map-root-user", "--net"]
        let process = try RunningProcess(
            executable: "/usr/bin/unshare",
            isolation + ["/usr/bin/env", "python3", "-c", Self.scenario, PosternProcess.executable, configuration, nft, "\(port)"],
            log: folder.file("output"))
        let exit = try await process.waitForExit(within: .seconds(90))
        let output = process.log
        #expect(exit == .status(0), "\(output)")
        #expect(output.contains("hammers: 451 4.7.1") || output.contains("hammers: 451 4.7.0"), "\(output)")
        #expect(output.contains("then: no socket"), "\(output)")
        #expect(output.contains("another: greeted"), "\(output)")
        #expect(output.contains("127.0.0.9 timeout 6s"), "\(output)")
        #expect(output.contains("later: greeted"), "\(output)")
    }
}
