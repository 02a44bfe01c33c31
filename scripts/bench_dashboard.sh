#!/usr/bin/env bash
# Measures what the dashboard costs and how quick it is, in one run on one machine: decisions a second without and with twenty
# live viewers and a scrape each second; the overview's first octet and size; searches among a million recent decisions.
#
#   scripts/bench_dashboard.sh [--seconds 10] [--decisions 1000000] [--rounds 3] [--no-build]
#
# Every figure is of this machine and this minute: compare the ratios.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=10
decisions=1000000
rounds=3
build=yes
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2; shift 2 ;;
    --decisions) decisions=$2; shift 2 ;;
    --rounds) rounds=$2; shift 2 ;;
    --no-build) build=no; shift ;;
    *) echo "usage: scripts/bench_dashboard.sh [--seconds 10] [--decisions 1000000] [--rounds 3] [--no-build]" >&2; exit 64 ;;
    esac
done
. scripts/bench_common.sh
[ "$build" = no ] || build_all
python3 scripts/bench_dashboard.py "$postern" "$programs/policy-load" "$seconds" "$decisions" "$rounds"
