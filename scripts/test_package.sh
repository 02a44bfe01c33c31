#!/usr/bin/env bash
# Installs the Debian package in a fresh Debian 12, starts what it brings, asks it something, upgrades, removes and purges it.
#
#   scripts/test_package.sh [--program FILE] [--package FILE]
#
# Without --package it makes one from FILE, .build/debug/postern where it is left out. The system is made by debootstrap in
# .build/roots, once; each run has a copy of its own laid over it and leaves nothing behind. Needs root, or says so and exits with
# 77, as it does where the machine lets nobody mount; with the environment variable CI set that is a failure.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
self=$here/scripts/test_package.sh
roots=${POSTERN_ROOTS:-$here/.build/roots}
export LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
umask 022
export DEBIAN_FRONTEND=noninteractive
mirror=${POSTERN_MIRROR:-http://deb.debian.org/debian}
# Raise it when what is in the system changes.
recipe=1
# What the package needs, so that a run fetches nothing, and what the tests do.
included=systemd,init-system-helpers,adduser,libpsl5,publicsuffix,libc-ares2,libmaxminddb0,libsqlite3-0,zlib1g,libzstd1,libstdc++6

fail() { echo "package: $*" >&2; exit 1; }
skip() {
    [ -z "${CI:-}" ] || fail "$*"
    echo "package: not tested: $*" >&2
    exit 77
}

# -------------------------------------------------------------------------------------------------------------- the system

fetch() {
    [ "$(cat "$roots/bookworm/.complete" 2>/dev/null)" = "recipe $recipe" ] && return
    mkdir -p "$roots"
    exec 8>"$roots/.lock"
    flock 8
    [ "$(cat "$roots/bookworm/.complete" 2>/dev/null)" = "recipe $recipe" ] && return
    local new=$roots/bookworm.new tools=${POSTERN_SERVERS:-$here/.build/servers}/debootstrap
    # It is a shell script; nothing is installed. What it calls is the host's, where that has it.
    "$here/scripts/servers.sh" fetch debootstrap
    export DEBOOTSTRAP_DIR=$tools/usr/share/debootstrap PATH=$PATH:$tools/usr/bin
    rm -rf "$new"
    echo "package: making a Debian 12 in $roots, once" >&2
    sh "$tools/usr/sbin/debootstrap" --keyring="$tools/usr/share/keyrings/debian-archive-keyring.gpg" --variant=minbase --include="$included" bookworm "$new" "$mirror" >"$roots/debootstrap.log" 2>&1 ||
        { tail -n 20 "$roots/debootstrap.log" >&2; fail "debootstrap failed"; }
    rm -rf "$new"/var/cache/apt/archives/*.deb
    echo "recipe $recipe" >"$new/.complete"
    rm -rf "$roots/bookworm"
    mv "$new" "$roots/bookworm"
    flock -u 8
}

# ---------------------------------------------------------------------------------------------------------- inside the root

say() { echo "package: $*"; }
policy() { # PORT SENDER: what Postfix would be told
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf 'request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.7\nclient_name=unknown\nhelo_name=mail.example.org\nsender=%s\nrecipient=b@example.net\ninstance=1\n\n' "$2" >&3
    head -n 1 <&3
    exec 3>&-
}
web() { # METHOD PATH [FORM]: what the dashboard answers
    exec 3<>"/dev/tcp/127.0.0.1/8025"
    printf '%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s' \
        "$1" "$2" "$(printf %s "${3:-}" | wc -c)" "${3:-}" >&3
    cat <&3
    exec 3>&-
}
# By systemd itself, which is the first process here.
serve() {
    systemctl start postern.service || { journalctl --no-pager -u postern.service | tail -n 30 >&2; fail "the service did not start"; }
    systemctl is-active --quiet postern.service || fail "the service is not active"
}
ps_user() { stat -c %U "/proc/$(systemctl show -p MainPID --value postern.service)"; }
stop() {
    systemctl stop postern.service || fail "the service cannot be stopped"
    systemctl show -p Result -p ExecMainStatus postern.service | sort | tr '\n' ' ' | grep -q '^ExecMainStatus=0 Result=success' ||
        { journalctl --no-pager -u postern.service | tail -n 30 >&2; fail "the service did not end well"; }
}

# Runs in the fresh system, with the package as /package.deb.
inside() {
    mount -t proc proc /proc
    mount -t tmpfs tmpfs /tmp

    apt-get install -y --no-install-recommends /package.deb >/tmp/install 2>&1 || {
        # A library that is new, or lists that are old.
        apt-get update -qq && apt-get install -y --no-install-recommends /package.deb >/tmp/install 2>&1 || { cat /tmp/install >&2; fail "it cannot be installed"; }
    }
    say "installed"
    # Ports are its own from here on, and nobody is reached by accident.
    exec unshare --net --uts --ipc --cgroup --pid --fork --kill-child=KILL /bin/bash /test_package.sh boot
}

# Makes systemd the first process of its own namespaces, and `running` what it starts.
boot() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup || fail "no control groups here, which systemd needs"
    mount -t tmpfs -o mode=755 run /run
    mkdir -p /dev/pts /dev/shm
    [ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
    cat >/etc/systemd/system/package-test.service <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=file:/result
StandardError=file:/result
ExecStart=/bin/bash /test_package.sh running
# The first process ends with the code of the test.
ExecStopPost=/bin/sh -c 'systemctl exit "$EXIT_STATUS"'
UNIT
    exec env -i container=lxc PATH="$PATH" /lib/systemd/systemd --system --log-level=err --log-target=null --show-status=no \
        --unit=package-test.service </dev/null >/dev/null 2>&1
}

running() {
    # SIOCSIFFLAGS: IFF_UP and IFF_RUNNING for lo; a minimal system has no ip(8).
    perl -e 'socket(my $s, 2, 2, 0) or die; my $r = pack("a16sx14", "lo", 0x41); ioctl($s, 0x8914, $r) or die "lo: $!"'
    getent passwd postern >/dev/null || fail "there is no account"
    [ "$(stat -c %U:%a /var/lib/postern)" = postern:750 ] || fail "the data folder: $(stat -c %U:%a /var/lib/postern)"
    [ -L /etc/systemd/system/multi-user.target.wants/postern.service ] || fail "the service is not enabled"
    [ ! -e /etc/systemd/system/sockets.target.wants/postern-policy.socket ] || fail "the socket is enabled, though its address may be another"
    [ "$(postern --version)" = "$(dpkg-query -W -f '${Version}' postern)" ] || fail "the version"
    found=$(postern config check 2>&1) || fail "its own configuration: $found"
    [ "$found" = "/etc/postern/postern.yaml: the configuration is good" ] || fail "its own configuration: $found"

    systemd-analyze verify --man=no /usr/lib/systemd/system/postern.service /usr/lib/systemd/system/postern-policy.socket 2>/tmp/verify ||
        { cat /tmp/verify >&2; fail "systemd-analyze verify"; }
    [ ! -s /tmp/verify ] || { cat /tmp/verify >&2; fail "systemd-analyze verify"; }
    # 10 is unprotected, 0 is perfect; systemd calls what is below 2 OK.
    exposure=$(systemd-analyze security --offline=yes --no-pager postern.service 2>/dev/null | sed -n 's/.*Overall exposure level for postern.service: \([0-9.]*\).*/\1/p')
    [ -n "$exposure" ] && awk -v e="$exposure" 'BEGIN { exit !(e <= 1.9) }' || fail "systemd-analyze security rates it $exposure, above 1.9"
    say "systemd-analyze security: $exposure (at most 1.9)"

    serve
    policy 10023 a@example.org | grep -q '^action=DEFER_IF_PERMIT' || fail "it does not answer"
    postern status | grep -q '1 deferred' || fail "postern status: $(postern status)"
    postern greylist list | grep -q a@example.org || fail "postern greylist list"
    [ "$(ps_user)" = postern ] || fail "it runs as $(ps_user)"
    journalctl --no-pager -u postern.service | grep -q 'msg=ready' || fail "nothing is in the journal"

    # What docs/first-hour.md has somebody do who looks for a message: find it, read why it waits, let it through.
    policy 10023 d@example.org >/dev/null
    found=$(web GET '/find?q=d@example.org')
    reference=$(sed -n 's,.*href="/find/\([0-9A-Z]*\)".*,\1,p' <<<"$found" | head -n 1)
    [ -n "$reference" ] || fail "the dashboard does not find the message: $found"
    decision=$(web GET "/find/$reference")
    grep -q 'It waits after one attempt. A retry passes from' <<<"$decision" && grep -q 'Why, at that time' <<<"$decision" ||
        fail "the dashboard does not say why it waits: $decision"
    token=$(sed -n 's/.*name="form_token" value="\([0-9a-f]*\)".*/\1/p' <<<"$decision" | head -n 1)
    web POST /act "form_token=$token&reference=$reference&action=pass&subject=" | head -n 1 | grep -q ' 303 ' || fail "it cannot be let through"
    policy 10023 d@example.org | grep -q '^action=DUNNO' || fail "what was let through waits all the same"
    web GET /changes | grep -q 'The next attempt from d@example.org to b@example.net passes' || fail "the change is not noted"
    say "a message was found in the dashboard, and released"

    sed -i 's/delay: 3m/delay: 4m/' /etc/postern/postern.yaml
    systemctl reload postern.service || fail "it cannot be reloaded"
    journalctl --no-pager -u postern.service | grep -q 'key=greylist.delay .*4m' || fail "the journal does not say what changed"
    echo 'nonsense: 1' >>/etc/postern/postern.yaml
    ! systemctl reload postern.service 2>/dev/null || fail "a configuration with errors was taken"
    systemctl is-active --quiet postern.service || fail "a configuration with errors ended it"
    sed -i '/^nonsense/d' /etc/postern/postern.yaml
    stop
    say "started by systemd, asked, reloaded, stopped"

    # The socket is open while nobody answers, and whoever asks then is answered.
    systemctl start postern-policy.socket || fail "the socket"
    policy 10023 b@example.org | grep -q '^action=DEFER_IF_PERMIT' || fail "socket activation"
    systemctl is-active --quiet postern.service || fail "the socket did not start the service"
    systemctl restart postern.service
    policy 10023 c@example.org | grep -q '^action=DEFER_IF_PERMIT' || fail "after a restart behind its socket"
    systemctl stop postern-policy.socket
    stop
    say "activated by its socket"

    # A port below 1024, as the capability in the unit allows.
    sed -i 's/127.0.0.1:10023/127.0.0.1:923/' /etc/postern/postern.yaml
    serve
    policy 923 a@example.org | grep -q '^action=DEFER_IF_PERMIT' || fail "it does not answer on a low port"

    # It runs on through an upgrade, and what the admin changed stays, with what was learnt.
    apt-get install -y --reinstall --no-install-recommends /package.deb >/tmp/install 2>&1 || { cat /tmp/install >&2; fail "it cannot be installed again"; }
    grep -q 127.0.0.1:923 /etc/postern/postern.yaml || fail "an upgrade changed the configuration"
    systemctl is-active --quiet postern.service || fail "an upgrade ended the service"
    postern greylist list | grep -q a@example.org || fail "an upgrade lost what was learnt"
    say "upgraded"

    for shell in bash-completion/completions/postern zsh/vendor-completions/_postern fish/vendor_completions.d/postern.fish; do
        [ -s "/usr/share/$shell" ] || fail "no completion: $shell"
    done
    bash -c '. /usr/share/bash-completion/completions/postern && complete -p postern' >/dev/null || fail "bash completion"
    # minbase leaves manual pages out of what it unpacks only where told so; ours are there.
    [ -s /usr/share/man/man1/postern-explain.1.gz ] && [ -s /usr/share/man/man5/postern.yaml.5.gz ] || fail "no manual"

    apt-get remove -y postern >/tmp/remove 2>&1 || { cat /tmp/remove >&2; fail "it cannot be removed"; }
    [ ! -e /usr/bin/postern ] && [ -e /etc/postern/postern.yaml ] && [ -e /var/lib/postern/postern.db ] || fail "removing took too much, or too little"
    [ ! -e /etc/systemd/system/multi-user.target.wants/postern.service ] || true
    dpkg --purge postern >/tmp/remove 2>&1 || { cat /tmp/remove >&2; fail "it cannot be purged"; }
    left=$(find / -xdev \( -path /proc -o -path /tmp -o -path /var/log -o -path /var/lib/dpkg -o -path /var/cache \) -prune -o -name '*postern*' -print)
    [ -z "$left" ] || fail "purging left: $left"
    ! systemctl is-active --quiet postern.service || fail "it still runs"
    say "removed and purged"
}

# What Debian's own checker says of the package: nothing above a hint, but for what packaging/debian/lintian explains.
lintian() {
    local root=${POSTERN_SERVERS:-$here/.build/servers}/lintian folder=$work/lintian
    if ! "$here/scripts/servers.sh" check lintian 2>/dev/null; then
        [ -z "${CI:-}" ] || fail "lintian is missing: scripts/servers.sh fetch lintian"
        echo "package: not checked by lintian: scripts/servers.sh fetch lintian" >&2
        return 0
    fi
    # As much of a Debian as it looks at, and room for what it unpacks.
    mkdir -p "$folder/work" "$folder/etc/apt/apt.conf.d" "$folder/etc/dpkg/origins" "$folder/var/lib/dpkg"
    touch "$folder/var/lib/dpkg/status"
    echo 'Vendor: Debian' >"$folder/etc/dpkg/origins/debian"
    ln -s debian "$folder/etc/dpkg/origins/default"
    cp "$package" "$folder/postern.deb"
    # A package from a debug build has the runtime's folder in it, and is not compressed.
    local quick=()
    [ -z "$runtime" ] || quick=(--suppress-tags custom-library-search-path,mismatched-override,uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball)
    "$here/scripts/servers.sh" run lintian --folder "$folder" -- /usr/bin/env TMPDIR="$folder/work" /usr/bin/lintian --allow-root --no-cfg \
        --fail-on error,warning --info --tag-display-limit 0 "${quick[@]}" "$folder/postern.deb" </dev/null >"$work/lintian.log" 2>&1 ||
        { cat "$work/lintian.log" >&2; fail "lintian"; }
    say "lintian has nothing to say"
}

# ------------------------------------------------------------------------------------------------------------------- outside

case ${1:-} in
inside | boot | running)
    "$1"
    exit
    ;;
esac
program=$here/.build/debug/postern package=
while [ $# -gt 0 ]; do
    case $1 in
    --program) program=$2; shift 2 ;;
    --package) package=$(realpath "$2"); shift 2 ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$self" >&2; exit 64 ;;
    esac
done
[ "$(id -u)" = 0 ] || skip "this needs root"
unshare --mount true 2>/dev/null || skip "no mount namespaces here"
runtime=
[ -n "$package" ] || runtime=$(ldd "$program" | sed -n 's,.* => \(/.*\)/libswiftCore\.so .*,\1,p')
work=$(mktemp -d "${TMPDIR:-/tmp}/postern-package.XXXXXX")
trap 'rm -rf "$work"' EXIT
if [ -z "$package" ]; then
    # Only its being there is tested: what the linker kept for debuggers is stripped, and nothing is compressed.
    package=$(cd "$here" && scripts/deb.sh --quick --program "$program" --output "$work/deb")
    package=$(realpath "$package")
fi
lintian
fetch
began=$SECONDS
# All of it ends with its first process.
unshare --mount --pid --fork --kill-child=KILL bash -euo pipefail -c '
    base=$1 work=$2 package=$3 self=$4 runtime=$5
    mkdir -p "$work/over"
    mount -t tmpfs -o size=2g,mode=755 over "$work/over"
    mkdir "$work/over/upper" "$work/over/work" "$work/over/root"
    if ! mount -t overlay -o "lowerdir=$base,upperdir=$work/over/upper,workdir=$work/over/work" overlay "$work/over/root" 2>/dev/null; then
        cp -a "$base/." "$work/over/root/"
    fi
    root=$work/over/root
    rm -f "$root/.complete"
    cp "$package" "$root/package.deb"
    cp "$self" "$root/test_package.sh"
    # What a release has inside.
    if [ -n "$runtime" ]; then
        mkdir "$root/opt/swift"
        mount --bind -o ro "$runtime" "$root/opt/swift"
        echo /opt/swift >"$root/etc/ld.so.conf.d/swift.conf"
        chroot "$root" ldconfig
    fi
    for node in null zero full random urandom tty; do
        [ -e "$root/dev/$node" ] || : >"$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    cp --dereference /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
    status=0
    chroot "$root" /bin/bash /test_package.sh inside || status=$?
    cat "$root/result" 2>/dev/null || true
    exit "$status"
' bash "$roots/bookworm" "$work" "$package" "$self" "$runtime"
echo "package: tested in $((SECONDS - began)) s"
