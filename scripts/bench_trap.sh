#!/usr/bin/env bash
# Measures the tarpit beside endlessh (Debian), one after the other on one machine, at the same pace: memory and CPU for each
# client that is held, and connections accepted in a second.
#
#   scripts/bench_trap.sh [--clients 19000] [--seconds 20] [--no-build]
#
# A process here has 20,000 descriptors, and so has the one that makes the connections.
set -euo pipefail
cd "$(dirname "$0")/.."
clients=19000
seconds=20
build=yes
while [ $# -gt 0 ]; do
    case $1 in
    --clients) clients=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --no-build) build=no; shift ;;
    *) echo "usage: scripts/bench_trap.sh [--clients 19000] [--seconds 20] [--no-build]" >&2; exit 64 ;;
    esac
done

. scripts/bench_common.sh
[ "$build" = no ] || build_all
endlessh=$PWD/.build/servers/endlessh/usr/bin/endlessh
[ -x "$endlessh" ] || { echo "bench: no endlessh; run scripts/servers.sh fetch endlessh" >&2; exit 69; }
measured() { # NAME OPTIONS...: of the process $pid on $port
    local name=$1 result
    shift
    result=$("$programs/trap-load" --port "$port" --pid "$pid" --clients "$clients" --seconds "$seconds" "$@")
    stop "$pid"
    echo "$name: $(field "$result" bytes_each) octets a client, $(field "$result" cpu_percent) % of a core, $(field "$result" rate) connections/s, $(field "$result" held) held" >&2
    echo "$result"
}

ulimit -n "$(ulimit -Hn)"
# An octet, or a line of three, every five seconds.
endlessh() {
    port=$(free_port)
    "$endlessh" -p "$port" -m 100000 -d 5000 -l 3 -4 >/dev/null 2>&1 &
    pid=$!
    pids+=("$pid")
    await_port "$port"
}
tarpit() { # PACE of the greeting: starts one, on a port of its own
    port=$(free_port)
    cat >"$work/postern.yaml" <<EOF
data_directory: $work/data
listeners:
  - { name: trap, role: trap, address: "127.0.0.1:$port", mode: tarpit, pace: 5s, greeting_pace: $1, hold: 1h, capacity: $((clients + 100)) }
log: { level: warning }
dns: { resolvers: [] }
EOF
    "$postern" serve --config "$work/postern.yaml" >/dev/null 2>"$work/log" &
    pid=$!
    pids+=("$pid")
    await_port "$port"
}
# CPU is looked at while clients are due one after the other, as those are who came one after the other: who came all at once would
# be written to all at once by one of the two, and spread by the other. The tarpit greets quickly here, so that all are past that.
endlessh
theirs=$(measured endlessh --over 5)
tarpit 20ms
ours=$(measured postern --hello --over 5)
# All at once, at the usual pace: else what is measured is the greetings.
seconds=1
endlessh
their_arrivals=$(measured "endlessh, who arrive")
tarpit 5s
arrivals=$(measured "postern, who arrive")

echo
echo "memory a client:               $(field "$ours" bytes_each) octets   (at most 512, aim 100)"
echo "CPU, postern / endlessh:       $(ratio "$(field "$ours" cpu_percent)" "$(field "$theirs" cpu_percent)")   (aim: at most 1)"
echo "connections accepted:          $(field "$arrivals" rate) a second; endlessh $(field "$their_arrivals" rate)   (aim: 10,000)"
