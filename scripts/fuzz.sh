#!/usr/bin/env bash
# Fuzzes every parser and machine of the pure targets (libFuzzer), each from its corpus in Fuzz/Corpus.
#
#   scripts/fuzz.sh [--seconds N] [--only CHECK]
#
# Without --seconds: a fixed number of executions of each, 2 million in all, from a fixed seed. With it: each for so long, from
# a seed of its own; what it learns stays in .build-fuzz/corpus for the next time. An input that fails is kept in
# .build-fuzz/failures; run it again with .build-fuzz/release/fuzz --check=CHECK FILE.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=
only=
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2; shift 2 ;;
    --only) only=$2; shift 2 ;;
    *) echo "usage: scripts/fuzz.sh [--seconds N] [--only CHECK]" >&2; exit 64 ;;
    esac
done

# Executions of each in a run of fixed length; those of whole sessions take the most time.
declare -A runs=(
    [server-session]=130000 [backend-session]=130000 [command]=200000 [xclient]=150000 [proxy-header]=150000 [reply]=150000
    [data]=150000 [chunk]=120000 [policy-request]=150000 [socketmap]=150000
    [spf]=100000 [list-service]=150000 [dns-message]=150000 [list-reader]=60000 [zone]=150000
    [mail-log]=60000
)
order=(server-session backend-session chunk data command reply proxy-header policy-request socketmap spf xclient list-service dns-message list-reader zone mail-log)
[ -z "$only" ] || order=("$only")

swift build -c release --sanitize fuzzer --package-path Fuzz --scratch-path .build-fuzz
fuzz=$PWD/.build-fuzz/release/fuzz
failures=$PWD/.build-fuzz/failures
logs=$(mktemp -d "${TMPDIR:-/tmp}/postern-fuzz.XXXXXX")
trap 'rm -rf "$logs"' EXIT
mkdir -p "$failures"

one() {
    local check=$1 corpus limit dict=Fuzz/smtp.dict
    [ "$check" != spf ] || dict=Fuzz/spf.dict
    if [ -n "$seconds" ]; then
        corpus=$PWD/.build-fuzz/corpus/$check
        mkdir -p "$corpus"
        limit=(-max_total_time="$seconds")
    else
        # What is learnt is thrown away, so that every run begins alike.
        corpus=$logs/corpus-$check
        mkdir "$corpus"
        limit=(-runs="${runs[$check]}" -seed=1)
    fi
    if "$fuzz" --check="$check" "${limit[@]}" -max_len=600 -timeout=10 -print_final_stats=1 -dict="$dict" \
        -artifact_prefix="$failures/$check-" "$corpus" "Fuzz/Corpus/$check" >"$logs/$check" 2>&1; then
        awk -v check="$check" '/^stat::number_of_executed_units/ { print check ": " $2 " executions" }' "$logs/$check" | tee "$logs/$check.count"
    else
        echo "fuzz: $check failed:" >&2
        grep -av '^#' "$logs/$check" | cut -c1-2000 | tail -n 60 >&2
        return 1
    fi
}
failed=0
jobs_at_once=$(nproc)
running=0
for check in "${order[@]}"; do
    if [ "$running" -ge "$jobs_at_once" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    one "$check" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
[ "$failed" = 0 ] || exit 1
total=$(cat "$logs"/*.count | awk '{ total += $2 } END { print total }')
echo "fuzz: $total executions, nothing found"
[ -n "$only$seconds" ] || [ "$total" -ge 1000000 ] || { echo "fuzz: fewer than a million" >&2; exit 1; }
