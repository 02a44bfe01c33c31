#!/usr/bin/env bash
# Measures the gateway beside HAProxy, which passes TCP through to the same smtp-sink, in one run on one machine, and prints
# ratios: rate and CPU time a message, memory of sessions in the midst of a message, and what held clients cost the others.
#
#   scripts/bench_gateway.sh [--messages 10000] [--rounds 3] [--data-sessions 2000] [--held 15000] [--no-build]
#
# Every figure is of this machine and this minute: compare the ratios.
set -euo pipefail
cd "$(dirname "$0")/.."
messages=10000
rounds=3
data_sessions=2000
held=15000
build=yes
while [ $# -gt 0 ]; do
    case $1 in
    --messages) messages=$2; shift 2 ;;
    --rounds) rounds=$2; shift 2 ;;
    --data-sessions) data_sessions=$2; shift 2 ;;
    --held) held=$2; shift 2 ;;
    --no-build) build=no; shift ;;
    *) echo "usage: scripts/bench_gateway.sh [--messages 10000] [--rounds 3] [--data-sessions 2000] [--held 15000] [--no-build]" >&2; exit 64 ;;
    esac
done

. scripts/bench_common.sh
[ "$build" = no ] || build_all

# The processes that listen on a port, of all namespaces.
listeners() {
    python3 - "$1" <<'EOF'
import glob, os, sys
wanted = "%04X" % int(sys.argv[1])
inodes = {l.split()[9] for l in open("/proc/net/tcp").read().splitlines()[1:] if l.split()[1].endswith(":" + wanted) and l.split()[3] == "0A"}
found = set()
for path in glob.glob("/proc/[0-9]*/fd/*"):
    try:
        if os.readlink(path)[8:-1] in inodes: found.add(path.split("/")[2])
    except OSError: pass
print(" ".join(sorted(found, key=int)))
EOF
}
# Clock ticks of user and system time, in hundredths of a second.
cpu() { local pid total=0; for pid in $1; do total=$((total + $(awk '{ print $14 + $15 }' "/proc/$pid/stat"))); done; echo "$total"; }
resident() { awk '/VmRSS/ { print $2 }' "/proc/$1/status"; }

sink_port=$(free_port)
proxy_port=$(free_port)
gateway_port=$(free_port)
mkdir -p "$work/sink" "$work/source" "$work/haproxy/etc/haproxy" "$work/data"
mkfifo "$work/lifeline"
cat >"$work/haproxy/etc/haproxy/haproxy.cfg" <<EOF
global
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 5m
    timeout server 5m
listen mail
    bind 127.0.0.1:$proxy_port
    server backend 127.0.0.1:$sink_port
EOF
cat >"$work/postern.yaml" <<EOF
hostname: mx.example.test
data_directory: $work/data
domains: ["*"]
listeners:
  - { name: mx, role: gateway, address: "127.0.0.1:$gateway_port", backend: "127.0.0.1:$sink_port", backend_client_info: none, probe: false }
dns: { resolvers: [] }
greylist: { mode: off }
delays: { greeting: 0s }
EOF
scripts/servers.sh run postfix --folder "$work/sink" --control 8 -- /usr/sbin/smtp-sink -u nobody -m 20000 "127.0.0.1:$sink_port" 1024 \
    8<"$work/lifeline" >"$work/sink.log" 2>&1 &
pids+=("$!")
scripts/servers.sh run haproxy --folder "$work/haproxy" --control 8 -- /usr/sbin/haproxy -db -f /etc/haproxy/haproxy.cfg \
    8<"$work/lifeline" >"$work/haproxy.log" 2>&1 &
pids+=("$!")
exec 9>"$work/lifeline"
await_port "$sink_port"
await_port "$proxy_port"
"$postern" serve --config "$work/postern.yaml" >/dev/null 2>"$work/postern.log" &
gateway=$!
pids+=("$gateway")
await_port "$gateway_port"
proxy=$(listeners "$proxy_port")

source_run() { # PORT OPTIONS...: sends the messages, and fails where one is refused
    local port=$1
    shift
    scripts/servers.sh run postfix --folder "$work/source" -- /usr/sbin/smtp-source -s 32 -m "$messages" -l 4096 \
        -f a@sender.test -t b@example.test "$@" "127.0.0.1:$port"
}

# Sockets of sessions that have ended wait for a minute, and the end of that costs whoever runs then.
settle() {
    for _ in $(seq 70); do
        [ "$(sed -n 's/^TCP:.* tw \([0-9]*\) .*/\1/p' /proc/net/sockstat)" -ge 1000 ] || return 0
        sleep 1
    done
}

declare -A rates costs
measure() { # NAME PORT PIDS MODE OPTIONS...
    local name=$1 port=$2 processes=$3 mode=$4 began ended before after
    shift 4
    before=$(cpu "$processes")
    began=$(date +%s%N)
    source_run "$port" "$@"
    ended=$(date +%s%N)
    after=$(cpu "$processes")
    rates[$name$mode]+=" $((messages * 1000000000 / (ended - began)))"
    costs[$name$mode]+=" $(((after - before) * 10000 / messages))"
}

# Once around, so that nothing is measured that only happens once.
source_run "$proxy_port" -d && source_run "$gateway_port" -d
# Each session of the second leaves sockets that wait for a minute.
for mode in many one; do
    settle
    options=()
    [ "$mode" = one ] || options=(-d)
    echo "== 32 sessions, 4 KB messages, $mode a session"
    for _ in $(seq "$rounds"); do
        measure haproxy "$proxy_port" "$proxy" "$mode" "${options[@]}"
        measure gateway "$gateway_port" "$gateway" "$mode" "${options[@]}"
    done
    for name in haproxy gateway; do
        echo "   $name: ${rates[$name$mode]# } messages/s, ${costs[$name$mode]# } us of CPU each"
    done
done

echo "== $data_sessions sessions in the midst of a message"
"$programs/smtp-hold" --port "$gateway_port" --sessions 50 --mode data < <(sleep 3) >/dev/null
before=$(resident "$gateway")
mkfifo "$work/data.in" "$work/held.in"
"$programs/smtp-hold" --port "$gateway_port" --sessions "$data_sessions" --mode data <"$work/data.in" >"$work/data.out" &
pids+=("$!")
exec 7>"$work/data.in"
for _ in $(seq 600); do grep -q holding "$work/data.out" && break; sleep 0.1; done
sleep 1
per_session=$((($(resident "$gateway") - before) / data_sessions))
echo "   $(cat "$work/data.out"), $per_session KiB each"
exec 7>&-
sleep 2

echo "== deliveries with $held clients held"
settle
deliveries "$gateway_port"
idle=$middle
echo "   idle gateway: p50$p50 us, p99$p99 us"
"$programs/smtp-hold" --port "$gateway_port" --sessions "$held" --mode slow <"$work/held.in" >"$work/held.out" &
pids+=("$!")
exec 7>"$work/held.in"
for _ in $(seq 1200); do grep -q holding "$work/held.out" && break; sleep 0.1; done
deliveries "$gateway_port"
echo "   $(cat "$work/held.out"): p50$p50 us, p99$p99 us; $(($(resident "$gateway") / 1024)) MiB resident"
exec 7>&-

echo
# Each session of the second leaves sockets that wait for a minute.
for mode in many one; do
    settle
    echo "rate, $mode a session, gateway / HAProxy:  $(ratio "$(median <<<"${rates[gateway$mode]}")" "$(median <<<"${rates[haproxy$mode]}")")   (aim: at least 0.8)"
    echo "CPU, $mode a session, gateway / HAProxy:   $(ratio "$(median <<<"${costs[gateway$mode]}")" "$(median <<<"${costs[haproxy$mode]}")")   (aim: at most 1.5)"
done
echo "memory of a session in DATA:               $per_session KiB   (aim: at most 40)"
echo "p99 with $held held / idle:                $(ratio "$middle" "$idle")   (aim: at most 2)"
