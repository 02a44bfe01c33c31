# What the measuring scripts share; they source it, from the project's folder. `work` is a folder of the run's own; processes whose
# numbers are in `pids` end with it, and so does what runs in private roots at the other end of descriptor 9, their lifeline.
# shellcheck shell=bash
postern=${POSTERN:-$PWD/.build/release/postern}
programs=$PWD/.build-bench/release

build_all() {
    scripts/release.sh
    swift build -c release --package-path Benchmarks --scratch-path .build-bench
}

work=$(mktemp -d "${TMPDIR:-/tmp}/postern-bench.XXXXXX")
pids=()
cleanup() {
    exec 9>&-
    local pid
    for pid in "${pids[@]:-}"; do [ -n "$pid" ] && kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

# Ends a process of ours.
stop() { kill "$1" && wait "$1" 2>/dev/null || true; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
await_port() {
    for _ in $(seq 400); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
        sleep 0.05
    done
    echo "bench: nothing listens on port $1" >&2
    return 1
}

# What a delivery takes, 50 a second, in microseconds: of three rounds, since a virtual machine may stand still for longer than that.
# Sets p50 and p99, all of them, and middle, the middle p99.
deliveries() { # PORT
    local run
    p50=
    p99=
    for _ in 1 2 3; do
        run=$("$programs/smtp-latency" --port "$1" --messages 350 --rate 50)
        p50+=" $(field "$run" p50_us)"
        p99+=" $(field "$run" p99_us)"
    done
    middle=$(median <<<"$p99")
}

# Figures: a field of an object of JSON, a quotient with two digits, a whole number, the middle one of several.
field() { python3 -c 'import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$1" "$2"; }
ratio() { python3 -c 'import sys; print("%.2f" % (float(sys.argv[1]) / max(float(sys.argv[2]), 0.001)))' "$1" "$2"; }
whole() { python3 -c 'import sys; print("%d" % float(sys.argv[1]))' "$1"; }
median() { tr ' ' '\n' | grep . | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
