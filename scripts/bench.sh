#!/usr/bin/env bash
# Measures the policy service beside its peers, in one run on one machine, and prints ratios: postgrey (Debian) and a
# responder that knows nothing and answers DUNNO. All get the same load from the same program.
#
#   scripts/bench.sh [--seconds 10] [--rows 10000000] [--skip-large] [--only policy|resolver|evidence|replay|large] [--no-build]
#
# Every figure is of this machine and this minute: compare the ratios.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=10
rows=10000000
large=yes
only=
build=yes
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2; shift 2 ;;
    --rows) rows=$2; shift 2 ;;
    --skip-large) large=no; shift ;;
    --only) only=$2; shift 2 ;;
    --no-build) build=no; shift ;;
    *) echo "usage: scripts/bench.sh [--seconds 10] [--rows 10000000] [--skip-large] [--only SECTION] [--no-build]" >&2; exit 64 ;;
    esac
done

wants() { [ -z "$only" ] || [ "$only" = "$1" ]; }
. scripts/bench_common.sh
[ "$build" = no ] || build_all

start_postern() { # FOLDER [LINES]: sets port and pid
    port=$(free_port)
    local lines=${2:-"dns: { resolvers: [] }"}
    cat >"$work/postern.yaml" <<EOF
data_directory: $1
listeners:
  - { name: policy, role: policy, address: "127.0.0.1:$port" }
log: { level: warning }
$lines
EOF
    "$postern" serve --config "$work/postern.yaml" >/dev/null 2>"$work/postern.log" &
    pid=$!
    pids+=("$pid")
    await_port "$port"
}
# The p99 at half of a rate, in microseconds: of several rounds, since a virtual machine may stand still for longer than an answer takes.
# Sets rounds, all of them, and half, the middle one.
half_load() { # RATE NEXT
    local next=$2 paced
    rounds=
    for _ in 1 2 3 4 5; do
        paced=$("$programs/policy-load" --port "$port" --seconds "$seconds" --rate "$(python3 -c 'import sys; print(float(sys.argv[1]) / 2)' "$1")" --start "$next")
        next=$(field "$paced" next)
        rounds+=" $(field "$paced" p99_us)"
    done
    half=$(median <<<"$rounds")
}
resident() { awk '/VmHWM/ { print int($2 / 1024) }' "/proc/$1/status"; }

if wants policy; then
echo "== postgrey, new triplets"
port=$(free_port)
mkdir -p "$work/postgrey/etc/postgrey"
cp .build/servers/postgrey/usr/share/postgrey/whitelist_* "$work/postgrey/etc/postgrey/"
# Its own user in its private root.
echo "700 106:106 var/lib/postgrey" >"$work/postgrey/owners"
# It ends, with all it started, when the other end of its lifeline is closed.
mkfifo "$work/lifeline"
scripts/servers.sh run postgrey --folder "$work/postgrey" --control 8 -- /usr/bin/perl -T /usr/sbin/postgrey \
    --inet="127.0.0.1:$port" --dbdir=/var/lib/postgrey --quiet 8<"$work/lifeline" >"$work/postgrey.log" 2>&1 &
pid=$!
pids+=("$pid")
exec 9>"$work/lifeline"
await_port "$port"
postgrey=$("$programs/policy-load" --port "$port" --seconds "$seconds")
exec 9>&-
wait "$pid" 2>/dev/null || true
echo "   $(whole "$(field "$postgrey" rate)") answers/s, p99 $(field "$postgrey" p99_us) us"

echo "== postern, new triplets, empty store, and a stateless responder, by turns"
dunno_port=$(free_port)
"$programs/dunno-responder" "$dunno_port" >/dev/null &
dunno=$!
pids+=("$dunno")
await_port "$dunno_port"
mkdir "$work/empty"
start_postern "$work/empty"
next=0
rates=
dunno_rates=
for _ in 1 2 3; do
    stateless=$("$programs/policy-load" --port "$dunno_port" --seconds "$seconds")
    dunno_rates+=" $(whole "$(field "$stateless" rate)")"
    run=$("$programs/policy-load" --port "$port" --seconds "$seconds" --start "$next")
    next=$(field "$run" next)
    rates+=" $(whole "$(field "$run" rate)")"
done
stop "$dunno"
empty=$(median <<<"$rates")
stateless=$(median <<<"$dunno_rates")
half_load "$empty" "$next"
echo "   stateless responder:$dunno_rates answers/s"
echo "   postern:$rates answers/s, $(resident "$pid") MiB at most; at half that load, behind the full one, p99$rounds us"
stop "$pid"

echo
echo "postern / postgrey:            $(ratio "$empty" "$(field "$postgrey" rate)")   (aim: at least 20)"
echo "postern / stateless responder: $(ratio "$empty" "$stateless")   (aim: at least 0.5)"
echo "p99 at half load:              $half us   (aim: below 5000)"
fi

if wants resolver; then
echo
echo "== resolver, a responder in the same process"
quick=$("$programs/resolver-load" --seconds "$seconds")
slow=$("$programs/resolver-load" --seconds "$seconds" --delay 20)
echo "uncached questions:            $(whole "$(field "$quick" uncached_rate)")/s   (aim: at least 50000)"
echo "with 20 ms of delay:           $(whole "$(field "$slow" uncached_rate)")/s, $(field "$slow" server_timeouts) lost"
echo "answered from the cache:       $(whole "$(field "$quick" cached_rate)")/s   (aim: at least 1000000)"
fi

if wants evidence; then
echo
echo "== policy service with evidence: names, SPF and one DNS list of each client"
start_dns() { # DELAY: sets dns_port and dns_pid
    "$programs/dns-responder" --delay "$1" >"$work/dns.port" &
    dns_pid=$!
    pids+=("$dns_pid")
    for _ in $(seq 100); do [ -s "$work/dns.port" ] && break; sleep 0.05; done
    dns_port=$(cat "$work/dns.port")
}
looking_up() { # prints the lines of configuration
    echo "dns: { resolvers: [\"127.0.0.1:$dns_port\"] }"
    echo "dns_lists: [bl.example*4]"
}
mkdir "$work/bare" "$work/cached" "$work/uncached"
start_postern "$work/bare"
bare=$("$programs/policy-load" --port "$port" --seconds "$seconds" --clients 2000)
stop "$pid"
start_dns 0
start_postern "$work/cached" "$(looking_up)"
sleep 2
"$programs/policy-load" --port "$port" --seconds 3 --clients 2000 >/dev/null
cached=$("$programs/policy-load" --port "$port" --seconds "$seconds" --clients 2000 --start 10000000)
stop "$pid"
stop "$dns_pid"
start_dns 20
start_postern "$work/uncached" "$(looking_up)"
sleep 2
uncached=$("$programs/policy-load" --port "$port" --seconds "$seconds" --connections 500 --rate 5000)
stop "$pid"
stop "$dns_pid"
echo "   bare greylist $(whole "$(field "$bare" rate)") answers/s; all evidence known $(whole "$(field "$cached" rate)")/s, p99 $(field "$cached" p99_us) us"
echo "cached evidence / bare:        $(ratio "$(field "$cached" rate)" "$(field "$bare" rate)")   (aim: at least 0.5)"
echo "uncached, 20 ms of delay:      $(whole "$(field "$uncached" rate)")/s, p99 $(field "$uncached" p99_us) us   (aim: 5000/s, at most 100000 us)"
fi

if wants replay; then
echo
echo "== replay of a log of two million lines"
"$programs/maillog-writer" 2000000 >"$work/mail.log"
replayed() { # FILE ARGUMENT...: lines a second, and the most memory in MiB
    python3 - "$postern" "$@" <<'PYTHON'
import json, os, resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run([sys.argv[1], "replay", "--json", *sys.argv[2:]], stdout=subprocess.PIPE, check=True)
seconds = time.monotonic() - began
lines = json.loads(done.stdout)["input"]["counts"]["lines"]
print("%d %d" % (lines / seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024))
PYTHON
}
touch "$work/empty.yaml"
read -r rate memory < <(replayed "$work/mail.log")
echo "one policy:                    $rate lines/s, $memory MiB at most   (aim: at least 200000)"
read -r rate memory < <(replayed "$work/mail.log" --against "$work/empty.yaml")
echo "two policies:                  $rate lines/s"
gzip -1 -k "$work/mail.log"
read -r rate memory < <(replayed "$work/mail.log.gz")
echo "the same, from gzip:           $rate lines/s"
rm "$work/mail.log" "$work/mail.log.gz"
fi

[ "$large" = yes ] && wants large || exit 0

echo
echo "== postern with $rows triplets on disk"
mkdir "$work/large"
start_postern "$work/large"
next=0
while [ "$next" -lt "$rows" ]; do
    fill=$("$programs/policy-load" --port "$port" --seconds 20 --start "$next")
    next=$(field "$fill" next)
    echo "   filled to $next at $(whole "$(field "$fill" rate)")/s"
done
stop "$pid"
began=$(date +%s%N)
start_postern "$work/large"
ready=$((($(date +%s%N) - began) / 1000000))
full=$("$programs/policy-load" --port "$port" --seconds "$seconds" --start "$next")
# Beside an empty store at the same time of the same machine.
mkdir "$work/fresh"
large_port=$port
large_pid=$pid
start_postern "$work/fresh"
fresh=$("$programs/policy-load" --port "$port" --seconds "$seconds")
stop "$pid"
port=$large_port
pid=$large_pid
half_load "$(field "$full" rate)" "$(field "$full" next)"
echo "   $(whole "$(field "$full" rate)") answers/s, empty store $(whole "$(field "$fresh" rate)"); at half that load p99$rounds us"
echo
echo "large / empty store:           $(ratio "$(field "$full" rate)" "$(field "$fresh" rate)")   (aim: at least 0.7)"
echo "resident memory at most:       $(resident "$pid") MiB   (aim: at most 400)"
echo "ready after:                   $ready ms   (aim: at most 2000)"
echo "p99 at half load:              $half us   (aim: below 5000)"
stop "$pid"
