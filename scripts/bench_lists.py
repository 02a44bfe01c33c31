#!/usr/bin/env python3
"""Measures the DNS service beside rbldnsd (Debian), in one run: the same addresses, the same questions, the same dnsperf.

  scripts/bench_lists.py POSTERN [--addresses 1000000] [--seconds 10] [--samples 10000]

Prints CPU time per query, memory of the list, time until the first answer, and whether both answer alike.
"""
import argparse
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("postern")
parser.add_argument("--addresses", type=int, default=1_000_000)
parser.add_argument("--seconds", type=int, default=10)
parser.add_argument("--samples", type=int, default=10_000)
options = parser.parse_args()

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERVERS = os.environ.get("POSTERN_SERVERS", HERE + "/.build/servers")
ZONE = "bl.example.net"
TICK = os.sysconf("SC_CLK_TCK")
running = []


def unpacked(server, program):
    """The program of a private root, with its libraries, as it stands: it needs no files of its own."""
    root = f"{SERVERS}/{server}"
    path = f"{root}/usr/{program}"
    if not os.path.exists(path):
        sys.exit(f"bench: {server} is missing: scripts/servers.sh fetch rbldnsd dnsperf")
    libraries = f"{root}/usr/lib/x86_64-linux-gnu"
    return [f"{libraries}/ld-linux-x86-64.so.2", "--library-path", f"{libraries}:{root}/lib/x86_64-linux-gnu", path]


def free_port():
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
                return tcp.getsockname()[1]
            except OSError:
                continue


def question(name, kind=1, number=0):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def answer(reply):
    """The code, and the data of the answers."""
    number, flags, questions, answers = struct.unpack(">HHHH", reply[:8])
    place = 12
    while reply[place]:
        place += 1 + reply[place]
    place += 5
    data = []
    for _ in range(answers):
        while reply[place] and reply[place] < 192:
            place += 1 + reply[place]
        place += 2 if reply[place] else 1
        size = struct.unpack(">H", reply[place + 8:place + 10])[0]
        data.append(reply[place + 10:place + 10 + size])
        place += 10 + size
    return flags & 15, sorted(data)


def ask(port, name, kind=1, patience=1.0):
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(patience)
        client.connect(("127.0.0.1", port))
        client.send(question(name, kind))
        return answer(client.recv(4096))


def start(command, port, log):
    """Starts a server; returns it and the milliseconds until its first right answer."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=log, stderr=log)
    running.append(process)
    while time.monotonic() - began < 60:
        if process.poll() is not None:
            sys.exit(f"bench: {command[-1]} ended with {process.returncode}; see {log.name}")
        try:
            if ask(port, f"{known}.{ZONE}", patience=0.02) == (0, [b"\x7f\0\0\x02"]):
                return process, (time.monotonic() - began) * 1000
        except (OSError, IndexError, struct.error):
            time.sleep(0.002)
    sys.exit("bench: no right answer after a minute")


def cpu(process):
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident(process):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{process.pid}/status").read()).group(1)) / 1024


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    running.remove(process)


def load(process, port, queries, seconds):
    before = cpu(process)
    output = subprocess.run(
        unpacked("dnsperf", "bin/dnsperf") + ["-s", "127.0.0.1", "-p", str(port), "-d", queries, "-l", str(seconds), "-c", "4", "-q", "400"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    completed = int(re.search(r"Queries completed:\s+(\d+)", output).group(1))
    lost = int(re.search(r"Queries lost:\s+(\d+)", output).group(1))
    return (cpu(process) - before) / completed * 1e6, completed / seconds, lost


folder = tempfile.mkdtemp(prefix="postern-bench.")
# rbldnsd leaves root behind.
os.chmod(folder, 0o755)
try:
    chance = random.Random(20261121)
    addresses = set()
    while len(addresses) < options.addresses:
        addresses.add(chance.randrange(1 << 24, 224 << 24))
    listed = list(addresses)
    dotted = lambda a: f"{a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}"
    reverse = lambda a: f"{a & 255}.{a >> 8 & 255}.{a >> 16 & 255}.{a >> 24}"
    known = reverse(listed[0])
    with open(f"{folder}/list.txt", "w") as file:
        file.writelines(dotted(a) + "\n" for a in listed)
    some = lambda: chance.choice(listed) if chance.random() < 0.5 else chance.randrange(1 << 24, 224 << 24)
    with open(f"{folder}/queries", "w") as file:
        file.writelines(f"{reverse(some())}.{ZONE} A\n" for _ in range(200_000))
    log = open(f"{folder}/log", "w")

    def configure(data, subscriptions):
        port = free_port()
        with open(f"{folder}/{data}.yaml", "w") as file:
            file.write(
                f"""hostname: ns.example.org
data_directory: {folder}/{data}
listeners: [ {{ name: lists, role: dnsbl, address: "127.0.0.1:{port}", zone: {ZONE}, rate_limit: 0 }} ]
subscriptions: [ {subscriptions} ]
dns: {{ resolvers: [] }}
log: {{ level: warning }}
""")
        return port, [options.postern, "serve", "--config", f"{folder}/{data}.yaml"]

    subscription = f"{{ name: bots, source: {folder}/list.txt, list: black, every: 1h }}"
    port, command = configure("empty", "")
    known, real = "2.0.0.127", known
    process, _ = start(command, port, log)
    empty = resident(process)
    stop(process)
    known = real

    port, command = configure("full", subscription)
    process, first = start(command, port, log)
    stop(process)
    # The second start reads what was kept.
    process, ready = start(command, port, log)
    subprocess.run([options.postern, "export", "rbldnsd", "--config", f"{folder}/full.yaml", "--output", f"{folder}/zone"],
                   check=True, stdout=subprocess.DEVNULL)
    time.sleep(1)
    memory = resident(process) - empty
    other_port = free_port()
    rbldnsd = unpacked("rbldnsd", "sbin/rbldnsd") + [
        "-n", "-f", *(["-u", "nobody"] if os.getuid() == 0 else []), "-b", f"127.0.0.1/{other_port}", f"{ZONE}:combined:{folder}/zone"]
    other, other_ready = start(rbldnsd, other_port, log)
    other_memory = resident(other)

    rounds = []
    for _ in range(3):
        ours = load(process, port, f"{folder}/queries", options.seconds)
        theirs = load(other, other_port, f"{folder}/queries", options.seconds)
        rounds.append((ours, theirs))

    differences = 0
    for kind in (1, 16):
        for _ in range(options.samples // 2):
            name = f"{reverse(some())}.{ZONE}"
            if ask(port, name, kind) != ask(other_port, name, kind):
                differences += 1
                print(f"   {name} {kind}: {ask(port, name, kind)} and {ask(other_port, name, kind)}")
    stop(process)
    stop(other)

    print(f"== DNS service beside rbldnsd, {options.addresses} addresses")
    for ours, theirs in rounds:
        print(f"   CPU per query {ours[0]:.2f} us and {theirs[0]:.2f} us, {ours[1]:.0f}/s and {theirs[1]:.0f}/s, lost {ours[2]} and {theirs[2]}")
    ratio = sorted(ours[0] / theirs[0] for ours, theirs in rounds)[1]
    print(f"CPU per query / rbldnsd:       {ratio:.2f}   (aim: at most 1, better 0.8)")
    print(f"memory of the list:            {memory:.1f} MiB, rbldnsd {other_memory:.1f} MiB in all   (aim: at most 32)")
    print(f"ready after:                   {ready:.0f} ms, the first time {first:.0f} ms; rbldnsd {other_ready:.0f} ms   (aim: at most 500)")
    print(f"answers that differ:           {differences} of {options.samples}   (aim: 0)")
finally:
    for process in running:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
