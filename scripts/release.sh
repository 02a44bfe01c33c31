#!/usr/bin/env bash
# Builds the command for use: Swift's runtime inside, without the checks of exclusive access at run time, which the suite has
# made with the debug build, and with the profile of a busy server (scripts/profile.sh) where this compiler can read it.
#
#   scripts/release.sh [OPTIONS OF swift build]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/profile_common.sh

# Its name tells of what is in it: another one is built with anew.
kept=packaging/release.profdata.gz
profile=$PWD/.build/release-$(sha256sum "$kept" | cut -c 1-12).profdata
mkdir -p .build
# The compiler leaves an object alone whose code has not changed, whatever profile that was made with.
if [ ! -e "$profile" ]; then
    find -L .build/release -name '*.o' -delete 2>/dev/null || true
    rm -f .build/release-*.profdata
fi
gzip -dc "$kept" >"$profile.new"
mv "$profile.new" "$profile"
guided=()
if reads_profile "$profile"; then
    guided=(-Xswiftc -Xfrontend -Xswiftc "-ir-profile-use=$profile")
else
    echo "release: this Swift cannot read $kept; built without it, Postern uses about a tenth more CPU" >&2
fi
exec swift build "${release_options[@]}" ${guided[@]+"${guided[@]}"} "$@"
