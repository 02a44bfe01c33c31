#!/usr/bin/env bash
# Makes packaging/release.profdata.gz anew: which ways through the program a busy server takes, for scripts/release.sh. A build that
# counts does what `make bench` measures: mail through the gateway, the policy service, limits, the tarpit, lists over DNS.
#
#   scripts/profile.sh
#
# Functions that have changed since are built without it, so it is never wrong, only less: make it anew when the way of a
# message has changed. About half an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/profile_common.sh

tools=$(dirname "$(readlink -f "$(command -v swiftc)")")
runtime=$(find "$tools/../lib/clang" -name 'libclang_rt.profile-*.a' -path "*linux*$(uname -m)*" | head -n 1)
[ -n "$runtime" ] || { echo "profile: this toolchain has no libclang_rt.profile" >&2; exit 69; }
swift build "${release_options[@]}" --scratch-path .build-profile -Xswiftc -Xfrontend -Xswiftc -ir-profile-generate \
    -Xlinker "$runtime" -Xlinker -u -Xlinker __llvm_profile_runtime
swift build -c release --package-path Benchmarks --scratch-path .build-bench
scripts/servers.sh fetch postgrey postfix haproxy rbldnsd dnsperf endlessh

counts=$PWD/.build-profile/counts
rm -rf "$counts"
mkdir "$counts"
export POSTERN=$PWD/.build-profile/release/postern LLVM_PROFILE_FILE=$counts/%p.profraw
# Long enough that rows are merged.
scripts/bench.sh --no-build --seconds 8 --only policy
scripts/bench_gateway.sh --no-build --messages 3000 --rounds 1 --data-sessions 100 --held 500
scripts/bench_throttle.sh --no-build --messages 3000 --rounds 1 --only rate
scripts/bench_trap.sh --no-build --clients 2000 --seconds 5
scripts/bench_lists.py "$POSTERN" --addresses 100000 --seconds 3 --samples 2000

"$tools/llvm-profdata" merge --sparse --output "$counts/release.profdata" "$counts"/*.profraw
reads_profile "$counts/release.profdata"
# Without the time and the name of the file: the same profile is the same file.
gzip -9n <"$counts/release.profdata" >packaging/release.profdata.gz
ls -l packaging/release.profdata.gz
