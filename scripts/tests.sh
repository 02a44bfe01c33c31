#!/usr/bin/env bash
# Runs a part of the built tests and says at the end which of them failed, and why.
#
#   scripts/tests.sh [--no-parallel] [--filter EXPRESSION] [--skip EXPRESSION]
#
# Much of the suite waits for real servers and real clocks. Up to three failed tests are therefore run once more, one at a time and
# by themselves, and named with what went wrong, since a test that needs a quiet machine is worth a look: who fails again has failed.
# A run that ends early, as by a crash, has failed.
set -uo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What happens goes to FILE.events, one JSON object a line.
run() {
    local file=$1
    shift
    swift test --skip-build --event-stream-output-path "$file.events" --event-stream-version 0 "$@" 2>&1 | tee "$file.log"
}
# The tests that failed, as Module.Suite/name(), without the suites that hold them.
failed() {
    sed -nE '/"kind":"testEnded"/ { /"symbol":"fail"/ s|.*"testID":"([^"]*\\/[^"]*)\\/[^"\\]*".*|\1|p }' "$1.events" | sed 's|\\/|/|g' | sort -u
}
ended() { grep -q '"kind":"runEnded"' "$1.events" 2>/dev/null; }
why() { grep -aE 'recorded an issue|^error: ' "$1.log" | cut -c1-1000 | head -n 40; }

run "$work/first" "$@" && exit 0
ended "$work/first" || { echo "tests: the run did not come to its end" >&2; exit 1; }
mapfile -t names < <(failed "$work/first")
if [ ${#names[@]} -eq 0 ] || [ ${#names[@]} -gt 3 ]; then
    echo "tests: ${#names[@]} failed:" >&2
    printf '  %s\n' "${names[@]}" >&2
    why "$work/first" >&2
    exit 1
fi
expression=$(printf '%s\n' "${names[@]}" | sed -E 's/[][(){}.*+?^$|\\`]/\\&/g; s/.*/^&\//' | paste -sd'|')
echo "tests: failed, and run once more, alone:" >&2
printf '  %s\n' "${names[@]}" >&2
why "$work/first" >&2
run "$work/second" --no-parallel --filter "$expression" &&
    [ "$(grep -c '"kind":"testStarted".*\\/' "$work/second.events")" -ge ${#names[@]} ] && exit 0
echo "tests: failed twice:" >&2
printf '  %s\n' "${names[@]}" >&2
why "$work/second" >&2
exit 1
