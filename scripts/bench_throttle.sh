#!/usr/bin/env bash
# Measures limits: what counting costs in process, what it takes off the gateway's rate, and what clients that are made to wait
# cost: memory, and the latency of who is trusted.
#
#   scripts/bench_throttle.sh [--messages 10000] [--rounds 3] [--held 10000] [--only counting|rate|held] [--no-build]
#
# Every figure is of this machine and this minute: compare the ratios.
set -euo pipefail
cd "$(dirname "$0")/.."
messages=10000
rounds=3
held=10000
only=
build=yes
while [ $# -gt 0 ]; do
    case $1 in
    --messages) messages=$2; shift 2 ;;
    --rounds) rounds=$2; shift 2 ;;
    --held) held=$2; shift 2 ;;
    --only) only=$2; shift 2 ;;
    --no-build) build=no; shift ;;
    *) echo "usage: scripts/bench_throttle.sh [--messages 10000] [--rounds 3] [--held 10000] [--only SECTION] [--no-build]" >&2; exit 64 ;;
    esac
done

. scripts/bench_common.sh
[ "$build" = no ] || build_all
wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

if wanted counting; then
    echo "== counting in process"
    "$programs/counting" | sed 's/^/   /'
fi

mkdir -p "$work/sink" "$work/source"
mkfifo "$work/lifeline"
sink_port=$(free_port)
if wanted rate || wanted held; then
    scripts/servers.sh run postfix --folder "$work/sink" --control 8 -- /usr/sbin/smtp-sink -u nobody -m 20000 "127.0.0.1:$sink_port" 1024 \
        8<"$work/lifeline" >"$work/sink.log" 2>&1 &
    pids+=("$!")
    exec 9>"$work/lifeline"
    await_port "$sink_port"
fi

serve() { # NAME PORT LINES: a gateway before the sink, with these further lines of configuration
    mkdir -p "$work/$1"
    cat >"$work/$1.yaml" <<EOF
hostname: mx.example.test
data_directory: $work/$1
domains: ["*"]
listeners:
  - { name: mx, role: gateway, address: "127.0.0.1:$2", backend: "127.0.0.1:$sink_port", backend_client_info: none, probe: false, max_sessions: 40000 }
dns: { resolvers: [] }
greylist: { mode: off }
delays: { greeting: 0s, clean: 0s }
$3
EOF
    "$postern" serve --config "$work/$1.yaml" >/dev/null 2>"$work/$1.log" &
    served=$!
    pids+=("$served")
    await_port "$2"
}

if wanted rate; then
    # All default limits, and those that are not among them, so large that nobody is past one.
    most=1000000000
    limits="address messages $most/1h, address messages $most/1d, address recipients $most/1h, address recipients $most/1d"
    limits+=", address bytes 900G/1d, address attempts $most/1m, address attempts $most/1h, block messages $most/1h"
    limits+=", block attempts $most/1h, identity messages $most/1h, recipient-domain recipients $most/1h"
    with_port=$(free_port)
    serve with "$with_port" "throttle: { mode: on, limits: [$limits] }"
    without_port=$(free_port)
    serve without "$without_port" "throttle: { mode: off }"
    declare -A rates
    source_run() { # PORT OPTIONS...
        local port=$1
        shift
        scripts/servers.sh run postfix --folder "$work/source" -- /usr/sbin/smtp-source -s 32 -m "$messages" -l 4096 \
            -f a@sender.test -t b@example.test "$@" "127.0.0.1:$port"
    }
    measure() { # NAME PORT MODE OPTIONS...
        local name=$1 port=$2 mode=$3 began ended
        shift 3
        began=$(date +%s%N)
        source_run "$port" "$@"
        ended=$(date +%s%N)
        rates[$name$mode]+=" $((messages * 1000000000 / (ended - began)))"
    }
    source_run "$with_port" && source_run "$without_port"
    for mode in one many; do
        options=()
        [ "$mode" = one ] || options=(-d)
        echo "== 32 sessions, 4 KB messages, $mode a session, with all limits and without"
        for _ in $(seq "$rounds"); do
            measure with "$with_port" "$mode" "${options[@]}"
            measure without "$without_port" "$mode" "${options[@]}"
        done
        for name in with without; do echo "   $name: ${rates[$name$mode]# } messages/s"; done
    done
fi

if wanted held; then
    resident() { awk '/VmRSS/ { print $2 }' "/proc/$1/status"; }
    held_port=$(free_port)
    serve held "$held_port" "throttle: { mode: on, limits: [recipient-domain attempts 1/1h], hold: 60s, defer_at: 1, refuse_at: 1000, held_sessions: $((held * 2)) }
trusted: [127.0.0.1]"
    echo "== deliveries of who is trusted, with $held strangers made to wait"
    deliveries "$held_port"
    idle=$middle
    echo "   idle: p50$p50 us, p99$p99 us"
    before=$(resident "$served")
    mkfifo "$work/held.in"
    "$programs/smtp-hold" --port "$held_port" --sessions "$held" --mode rcpt <"$work/held.in" >"$work/held.out" &
    pids+=("$!")
    exec 7>"$work/held.in"
    for _ in $(seq 300); do grep -q holding "$work/held.out" && break; sleep 0.1; done
    waiting=$("$postern" status --config "$work/held.yaml" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["limits"]["held_now"])')
    per_session=$((($(resident "$served") - before) / held))
    # Less than the hold, or they would be let go meanwhile.
    deliveries "$held_port"
    echo "   $waiting wait: p50$p50 us, p99$p99 us"
    exec 7>&-
fi

echo
if wanted rate; then
    for mode in one many; do
        echo "rate, $mode a session, with limits / without:  $(ratio "$(median <<<"${rates[with$mode]}")" "$(median <<<"${rates[without$mode]}")")   (aim: at least 0.9)"
    done
fi
if wanted held; then
    echo "memory of a session that waits:              $per_session KiB   (aim: at most 40)"
    echo "p99 with $held waiting / idle:               $(ratio "$middle" "$idle")   (aim: at most 2)"
fi
