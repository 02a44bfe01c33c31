#!/usr/bin/env bash
# Makes packaging/release.profdata.gz anew: which ways through the program a busy server takes, for scripts/release.sh. A build that
# counts does what `make bench` measures: mail through the gateway, the policy service, limits, the tarpit, lists over DNS.
#
#   scripts/profile.sh
#
# Functions that have changed since are built without it, so it is never wrong, only less: make it anew when the way of a
# message has changed. About a quarter of an hour on two cores.
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
export POSTERN=$PWD/.build-profile/release/postern
counted() { # NAME COMMAND...: what the command counts goes under this name
    LLVM_PROFILE_FILE=$counts/$1.%p.profraw "${@:2}"
}
# Long enough that rows are merged.
counted policy scripts/bench.sh --no-build --seconds 8 --only policy
counted gateway scripts/bench_gateway.sh --no-build --messages 20000 --rounds 1 --data-sessions 100 --held 500
counted throttle scripts/bench_throttle.sh --no-build --messages 3000 --rounds 1 --only rate
counted trap scripts/bench_trap.sh --no-build --clients 2000 --seconds 5
counted lists scripts/bench_lists.py "$POSTERN" --addresses 100000 --seconds 3 --samples 2000

# What is hot is measured by the sum of all counts. So each kind of work is weighed until one message, one request and one question count
# alike, however many of them there were; and the compiler's own small functions, which every module has and which are added up as often
# as there are modules, are left out: they alone would be three quarters of it.
weights=(policy=1 gateway=20 throttle=20 trap=1 lists=1)
inputs=()
for weight in "${weights[@]}"; do
    for file in "$counts/${weight%=*}".*.profraw; do inputs+=(--weighted-input="${weight#*=},$file"); done
done
"$tools/llvm-profdata" merge --sparse --no-function='^__swift_' --output "$counts/release.profdata" "${inputs[@]}"
reads_profile "$counts/release.profdata"
# Without the time and the name of the file: the same profile is the same file.
gzip -9n <"$counts/release.profdata" >packaging/release.profdata.gz
ls -l packaging/release.profdata.gz
