"""The measuring part of bench_dashboard.sh: PROGRAM LOAD SECONDS DECISIONS ROUNDS."""
import http.client
import json
import pathlib
import signal
import socket
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

program, load, seconds, decisions, rounds = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Daemon:
    def __init__(self, folder):
        self.policy, self.admin = free_port(), free_port()
        config = folder / "postern.yaml"
        config.write_text(
            f"""data_directory: {folder}/data
listeners:
  - {{ name: policy, role: policy, address: "127.0.0.1:{self.policy}" }}
  - {{ name: admin, role: admin, address: "127.0.0.1:{self.admin}" }}
log: {{ level: warning }}
dns: {{ resolvers: [] }}
decisions: {{ keep: 30d }}
""")
        self.process = subprocess.Popen([program, "serve", "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                self.get("/ready")
                return
            except OSError:
                time.sleep(0.02)
        raise SystemExit("the daemon does not start")

    def get(self, path):
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
        connection.request("GET", path)
        response = connection.getresponse()
        first = time.perf_counter() - began
        body = response.read()
        connection.close()
        if response.status != 200:
            raise OSError(response.status)
        return body, first, time.perf_counter() - began

    def load(self, start):
        out = subprocess.run(
            [load, "--port", str(self.policy), "--seconds", str(seconds), "--start", str(start)], check=True, stdout=subprocess.PIPE)
        return json.loads(out.stdout)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


class Viewers:
    """Twenty that look on live, and a scrape each second."""

    def __init__(self, daemon):
        self.ended = threading.Event()
        self.events = 0
        self.sockets = []
        for _ in range(20):
            s = socket.create_connection(("127.0.0.1", daemon.admin))
            s.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            s.settimeout(0.5)
            self.sockets.append(s)
        self.threads = [threading.Thread(target=self.read), threading.Thread(target=self.scrape, args=(daemon,))]
        for thread in self.threads:
            thread.start()

    def read(self):
        while not self.ended.is_set():
            for s in self.sockets:
                try:
                    self.events += s.recv(65536).count(b"event: now")
                except OSError:
                    pass

    def scrape(self, daemon):
        while not self.ended.wait(1):
            daemon.get("/metrics")

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        for s in self.sockets:
            s.close()


with tempfile.TemporaryDirectory(prefix="postern-bench.") as name:
    folder = pathlib.Path(name)
    daemon = Daemon(folder)
    start, without, with_viewers, events = 0, [], [], 0
    daemon.load(start)
    for number in range(rounds):
        # Each first in turn, since the store grows.
        for watched in ((False, True) if number % 2 == 0 else (True, False)):
            start += 10_000_000
            viewers = Viewers(daemon) if watched else None
            rate = daemon.load(start)["rate"]
            if viewers:
                viewers.end()
                events += viewers.events
            (with_viewers if watched else without).append(rate)
    a, b = statistics.median(without), statistics.median(with_viewers)
    print(f"decisions/s without viewers:    {a:.0f}")
    print(f"with 20 viewers and a scrape/s: {b:.0f} ({events} events)")
    print(f"with / without:                 {b / a:.3f}   (aim: at least 0.95)")

    pages = [daemon.get("/") for _ in range(20)]
    text = pages[0][0].decode()
    assets = sum(len(daemon.get(path)[0]) for path in {p.split('"')[0] for p in text.split('"/assets/')[1:]} for path in [f"/assets/{path}"])
    print(f"overview, first octet:          {statistics.median(p[1] for p in pages) * 1000:.1f} ms, at most {max(p[1] for p in pages) * 1000:.1f}   (aim: below 50)")
    print(f"overview, in all:               {(len(pages[0][0]) + assets) / 1000:.0f} kB   (aim: below 200)")
    daemon.stop()

    # A million decisions as a site has them over days, written straight into the table.
    db = sqlite3.connect(folder / "data" / "postern.db")
    db.execute("DELETE FROM decision_lots")
    now = int(time.time() * 1000)
    step = max(6 * 86_400_000 // decisions, 1)

    def packed(n):
        """A decision as DecisionLot reads it."""
        at = now - (decisions - n) * step
        x = n * 2654435761 & 0xFFFFFFFF
        texts = ["defer" if n % 3 else "accept", f"{1 + (x >> 24) % 223}.{x >> 16 & 255}.{x >> 8 & 255}.{x & 255}",
                 f"user{x % 400_000}@org{n % 5000}.example.com", f"box{n % 977}@example.org", "", f"host{n}.example.net", "", "policy",
                 "RCPT", "first attempt" if n % 3 else "passed before"]
        body = struct.pack("<qqq", at << 12, at, -(1 << 63)) + b"".join(bytes([len(t)]) + t.encode() for t in texts)
        return struct.pack("<I", len(body)) + body

    def rows(size=10):
        for n in range(0, decisions, size):
            some = range(n, min(n + size, decisions))
            yield (now - (decisions - some[-1]) * step) << 12, len(some), b"".join(map(packed, reversed(some)))

    db.executemany("INSERT INTO decision_lots VALUES (?,?,?)", rows())
    db.execute("UPDATE counts SET decisions = ?", (decisions,))
    db.commit()
    db.close()
    daemon = Daemon(folder)
    cold = daemon.get("/api/v1/decisions?q=nobody@nowhere.test")[2]
    began = time.perf_counter()
    while daemon.get("/api/v1/decisions?q=nobody@nowhere.test")[2] > 0.02 and time.perf_counter() - began < 180:
        time.sleep(1)
    print(f"search before the index is made: {cold * 1000:.0f} ms; made after {time.perf_counter() - began:.0f} s")
    time.sleep(5)
    reference = json.loads(daemon.get("/api/v1/decisions?from=user12345@&limit=1")[0])
    searches = {
        "no match": "/api/v1/decisions?q=nobody@nowhere.test", "one sender": "/api/v1/decisions?q=user123456@",
        "a common domain": "/api/v1/decisions?q=org77.example", "an address": "/api/v1/decisions?q=77.12.34.5",
        "a recipient": "/api/v1/decisions?to=box500@", "sender and recipient": "/api/v1/decisions?from=user77777@&to=box3",
        "the page": "/find?q=user2222", "three characters": "/api/v1/decisions?q=zzz",
        "explain": "/api/v1/explain?ip=192.0.2.1&from=a@example.com&to=b@example.org", "what waits": "/api/v1/waiting?from=user5555@",
    }
    if reference:
        searches["a reference"] = "/api/v1/decisions?q=" + reference[0]["reference"]
    for what, path in searches.items():
        times = [daemon.get(path)[2] for _ in range(10)]
        print(f"{what + ':':32}{statistics.median(times) * 1000:.1f} ms, at most {max(times) * 1000:.1f}   (aim: below 100)")
    with open(f"/proc/{daemon.process.pid}/status") as status:
        print("resident memory:                " + [line for line in status if line.startswith("VmRSS")][0].split()[1] + " KiB")
    daemon.stop()
