#!/usr/bin/env bash
# Builds the command for use: Swift's runtime inside, and without the checks of exclusive access at run time, which the
# suite has made with the debug build.
set -euo pipefail
cd "$(dirname "$0")/.."
exec swift build -c release --static-swift-stdlib -Xswiftc -enforce-exclusivity=unchecked --product postern "$@"
