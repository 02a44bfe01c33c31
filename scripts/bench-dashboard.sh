#!/usr/bin/env bash
# Measures what the dashboard costs and how quick it is, in one run on one machine: decisions a second without and with twenty
# live viewers and a scrape each second; the overview's first octet and size; searches among a million recent decisions.
#
#   scripts/bench-dashboard.sh [--seconds 10] [--decisions 1000000] [--rounds 3]
#
# Every figure is of this machine and this minute: compare the ratios.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=10
decisions=1000000
rounds=3
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2; shift 2 ;;
    --decisions) decisions=$2; shift 2 ;;
    --rounds) rounds=$2; shift 2 ;;
    *) echo "usage: scripts/bench-dashboard.sh [--seconds 10] [--decisions 1000000] [--rounds 3]" >&2; exit 64 ;;
    esac
done
if [ -z "${POSTERN_BUILT:-}" ]; then
    swift build -c release --static-swift-stdlib --product postern
    swift build -c release --package-path Benchmarks --scratch-path .build-bench --product policy-load
fi
exec python3 scripts/bench_dashboard.py .build/release/postern .build-bench/release/policy-load "$seconds" "$decisions" "$rounds"
