#!/usr/bin/env bash
# Installs the libraries that a build needs, on Debian; never a mail server. Where it may not, it prints the command.
set -eu
packages=(libsqlite3-dev libpsl-dev libc-ares-dev libmaxminddb-dev zlib1g-dev libzstd-dev pkg-config)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if ! command -v swift >/dev/null; then
    echo "setup: no Swift toolchain found; get Swift 6.2 or later from https://www.swift.org/install/linux/" >&2
    exit 1
fi
[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "setup: some libraries are missing; this installs them:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
}
