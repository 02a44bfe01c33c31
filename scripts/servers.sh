#!/usr/bin/env bash
# Real mail servers for the tests, each in a private root of its own.
#
#   scripts/servers.sh fetch [NAME...]      download and unpack (all of them without a name)
#   scripts/servers.sh check NAME...        exit 0 when each is fetched and can be run here, else say what is needed
#   scripts/servers.sh run NAME --folder DIR [--control FD] [--group GID] [--bind DIR]... -- COMMAND...
#   scripts/servers.sh readable DIR PATH    let everyone read PATH below a folder that `run` used
#   scripts/servers.sh clean DIR            remove such a folder
#   scripts/servers.sh list                 the names, and the state of each
#
# Nothing is installed: Debian's packages of these servers conflict with one another and with what the host runs, so
# `fetch` only unpacks them, with the libraries they need, below .build/servers/NAME. No host file outside the build
# folder changes, and no user or group is made.
#
# `run` gives COMMAND a mount and a process namespace of its own. Its /usr is the private root's; its /etc, /var and /run
# are those below DIR (made on the first run, kept for the next, and what the caller put there before stays); DIR and
# each --bind folder have the same path as outside; the network is the host's. DIR/owners may list files and folders
# with lines `MODE UID:GID PATH` (below DIR): the first run makes the folders that are missing and gives each its owner.
# COMMAND runs as the private root's root, with --group in another group (for what is otherwise set-group-ID).
# When COMMAND ends, all it started ends. With --control FD, each line read from that descriptor is a signal for COMMAND
# (TERM, HUP, ...), and its end of file kills everything at once: hold the other end in the process that tests, and
# nothing outlives it, however that process ends.
#
# As root this needs nothing more. Any other user needs user namespaces with subordinate ids (package uidmap), since
# mail servers change to users of their own.
#
# POSTERN_SERVERS names another folder than .build/servers.
set -euo pipefail
export LC_ALL=C
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
self=$here/scripts/servers.sh
servers=${POSTERN_SERVERS:-$here/.build/servers}
case $servers in /*) ;; *) servers=$PWD/$servers ;; esac

# Raise it when what is unpacked changes: older roots are then fetched anew.
recipe=1

names=(postfix exim4 opensmtpd postgrey swaks haproxy unbound rbldnsd nsd redis-server strace endlessh bind9-dnsutils dnsperf nftables chromium prometheus sqlgrey shells debootstrap lintian dovecot)

packages_of() {
    case $1 in
    postfix) echo postfix postfix-pcre netbase sasl2-bin libsasl2-modules ;;
    exim4) echo exim4-daemon-heavy netbase ;;
    opensmtpd) echo opensmtpd dash netbase ;;
    postgrey) echo postgrey netbase ;;
    dovecot) echo dovecot-core netbase ;;
    swaks) echo swaks libnet-ssleay-perl libio-socket-inet6-perl openssl netbase ;;
    haproxy) echo haproxy ;;
    strace) echo strace ;;
    sqlgrey) echo sqlgrey libdbd-sqlite3-perl netbase ;;
    shells) echo zsh fish ;;
    lintian) echo lintian dpkg base-files libc-bin perl-modules-5.36 diffstat dpkg-dev dash coreutils gzip xz-utils tar findutils file man-db groff-base netbase ;;
    debootstrap) echo debootstrap debian-archive-keyring gpgv wget ;;
    bind9-dnsutils) echo bind9-dnsutils ;;
    dnsperf) echo dnsperf ;;
    nftables) echo nftables iproute2 util-linux dash ;;
    endlessh) echo endlessh ;;
    unbound) echo unbound ;;
    rbldnsd) echo rbldnsd ;;
    nsd) echo nsd ;;
    redis-server) echo redis-server redis-tools ;;
    chromium) echo chromium-headless-shell fonts-dejavu-core fontconfig netbase ;;
    prometheus) echo prometheus netbase ;;
    *) fail "unknown server \"$1\"; known: ${names[*]}" ;;
    esac
}

# Wanted by maintainer scripts and init systems only, never by the programs themselves.
unneeded=' adduser debconf cdebconf dpkg tar cpio passwd init-system-helpers install-info runit-helper lsb-base sysvinit-utils
 e2fsprogs logsave ssl-cert usrmerge usr-is-merged usr-is-merged-and-symlinked sensible-utils ucf readline-common
 cron cron-daemon-common systemd systemd-cron systemd-standalone-sysusers opensysusers dmsetup mount
 libpam-modules libpam-modules-bin libpam-runtime exim4-base exim4-config db-util python3 mailcap mime-support '

fail() {
    echo "servers.sh: $*" >&2
    exit 1
}

# ---------------------------------------------------------------------------------------------------------------- fetch

# An index of our own: some images are set to keep none, and every question to apt would build it anew.
apt_options=(-o "Dir::Cache::pkgcache=$servers/apt/index" -o Dir::Cache::srcpkgcache=)

# The host's package lists where they know the package, else lists of our own below the build folder, fetched once.
choose_lists() {
    local package=$1
    for tool in apt-get apt-cache dpkg-deb tar flock; do
        command -v $tool >/dev/null || fail "$tool is missing: this needs Debian 12 (apt, dpkg, tar, util-linux)"
    done
    mkdir -p "$servers/apt"
    if known "$package"; then return; fi
    private_lists
    known "$package" || update_lists
    known "$package" || fail "apt knows no package \"$package\". The sources need Debian 12 main; then, as root: apt-get update"
}

known() { apt-cache "${apt_options[@]}" show --no-all-versions "$1" 2>/dev/null | grep '^Filename:' >/dev/null; }

private_lists() {
    mkdir -p "$servers/apt/lists/partial" "$servers/apt/cache/archives/partial"
    apt_options=(-o "Dir::State::lists=$servers/apt/lists" -o "Dir::Cache=$servers/apt/cache" -o APT::Sandbox::User=root
        -o Dir::Cache::pkgcache=pkgcache.bin -o Dir::Cache::srcpkgcache=)
}

update_lists() {
    echo "servers.sh: fetching package lists into $servers/apt" >&2
    # Some images empty the host's own caches after each update.
    printf '#clear APT::Update::%s;\n' Pre-Invoke Post-Invoke Post-Invoke-Success >"$servers/apt/conf"
    apt-get -c "$servers/apt/conf" "${apt_options[@]}" -qq update >&2 ||
        fail "no package lists could be fetched. As root: apt-get update   (then run this again)"
}

# The names of all packages that those given need, themselves included, one a line. Of alternatives the first is taken.
closure() {
    local -A seen=()
    local next=("$@") line name
    while [ ${#next[@]} -gt 0 ]; do
        for name in "${next[@]}"; do seen[$name]=1; done
        local found=()
        while read -r name; do
            case $unneeded in *[[:space:]]"$name"[[:space:]]*) continue ;; esac
            if [ -z "${seen[$name]:-}" ]; then
                seen[$name]=1
                found+=("$name")
            fi
        done < <(apt-cache "${apt_options[@]}" depends --important "${next[@]}" | awk '
            /^ [ |](Pre)?Depends: / {
                first = !alternative; alternative = /^ \|/; virtual = ($0 ~ /</)
                if (first && !virtual) { sub(/:.*/, "", $2); print $2 }
                provider = first && virtual; next
            }
            /^    / { if (provider) { print $1; provider = 0 }; next }
            { alternative = 0; provider = 0 }')
        next=("${found[@]}")
    done
    printf '%s\n' "${!seen[@]}" | sort
}

# Downloads what is missing of the packages given and prints the path of each.
download() {
    local debs=$servers/packages listing file missing=() partial=$servers/packages/partial
    rm -rf "$partial"
    mkdir -p "$partial"
    # In an empty folder: apt does not list what it finds there already.
    listing=$(cd "$partial" && apt-get "${apt_options[@]}" -qq --print-uris download "$@" 2>/dev/null) ||
        listing=
    [ -n "$listing" ] || fail "apt finds no download address for: $*"
    while read -r _ file _; do
        [ -f "$debs/$file" ] || missing+=("$file")
    done <<<"$listing"
    if [ ${#missing[@]} -gt 0 ]; then
        echo "servers.sh: downloading ${#missing[@]} packages" >&2
        # Sandboxed, apt's own user could not write into the build folder.
        (cd "$partial" && apt-get "${apt_options[@]}" -o APT::Sandbox::User=root -q=2 -o Acquire::Retries=3 \
            download $(printf '%s\n' "${missing[@]}" | sed 's/_.*//') >&2) || return 1
        mv "$partial"/*.deb "$debs/"
    fi
    rmdir "$partial"
    while read -r _ file _; do
        [ -f "$debs/$file" ] || return 1
        echo "$debs/$file"
    done <<<"$listing"
}

complete() { [ "$(head -n 1 "$servers/$1/.complete" 2>/dev/null)" = "recipe $recipe" ]; }

fetch() {
    local name=$1 package wanted files directory
    packages_of "$name" >/dev/null
    complete "$name" && return
    mkdir -p "$servers"
    exec 8>"$servers/.lock"
    flock 8
    if complete "$name"; then return; fi
    read -r -a package <<<"$(packages_of "$name")"
    choose_lists "${package[0]}"
    mapfile -t wanted < <(closure "${package[@]}")
    if ! files=$(download "${wanted[@]}"); then
        # The usual cause: lists older than the archive, which keeps only the newest version of each package.
        private_lists
        update_lists
        mapfile -t wanted < <(closure "${package[@]}")
        files=$(download "${wanted[@]}") ||
            fail "downloading the packages of $name failed. Try: (cd /tmp && apt-get download ${package[0]})"
    fi
    directory=$servers/$name.new
    rm -rf "$directory"
    mkdir -p "$directory/usr" "$directory/etc" "$directory/var"
    local link
    for link in bin sbin lib lib32 lib64 libx32; do
        mkdir "$directory/usr/$link"
        ln -s "usr/$link" "$directory/$link"
    done
    local file
    while read -r file; do
        dpkg-deb --fsys-tarfile "$file" |
            tar -x -f - -C "$directory" --no-same-owner --keep-directory-symlink --delay-directory-restore \
                --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' ||
            fail "unpacking $file failed"
    done <<<"$files"
    # Another user may run what this one fetched.
    chmod -R u+w,a+rX "$directory"
    accounts "$directory/etc"
    { echo "recipe $recipe"; sed 's,.*/,,' <<<"$files"; } >"$directory/.complete"
    rm -rf "${servers:?}/$name"
    mv "$directory" "$servers/$name"
    flock -u 8
    echo "servers.sh: $name is in $servers/$name" >&2
}

# The users and groups that the packages' maintainer scripts would have made, and the names that a resolver needs.
accounts() {
    local etc=$1
    cat >"$etc/passwd" <<'PASSWD'
root:x:0:0:root:/root:/bin/false
daemon:x:1:1:daemon:/usr/sbin:/bin/false
mail:x:8:8:mail:/var/mail:/bin/false
postfix:x:101:101::/var/spool/postfix:/bin/false
Debian-exim:x:103:103::/var/spool/exim4:/bin/false
opensmtpd:x:104:104::/var/lib/opensmtpd/empty:/bin/false
opensmtpq:x:105:105::/var/lib/opensmtpd/empty:/bin/false
postgrey:x:106:106::/var/lib/postgrey:/bin/false
haproxy:x:107:107::/var/lib/haproxy:/bin/false
unbound:x:108:108::/var/lib/unbound:/bin/false
rbldns:x:109:109::/var/lib/rbldns:/bin/false
nsd:x:110:110::/var/lib/nsd:/bin/false
redis:x:111:111::/var/lib/redis:/bin/false
sqlgrey:x:112:112::/var/lib/sqlgrey:/bin/false
dovecot:x:113:113::/usr/lib/dovecot:/bin/false
dovenull:x:114:114::/nonexistent:/bin/false
vmail:x:1000:1000::/var/vmail:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
PASSWD
    { awk -F: '{ print $1 ":x:" $4 ":" }' "$etc/passwd" | sed 's/^nobody:/nogroup:/'; echo 'postdrop:x:102:'; echo 'sasl:x:45:postfix'; } >"$etc/group"
    echo '127.0.0.1 localhost' >"$etc/hosts"
    echo 'nameserver 127.0.0.1' >"$etc/resolv.conf"
    # Names come from the hosts file alone: a test never asks the Internet.
    printf '%s\n' 'passwd: files' 'group: files' 'hosts: files' 'services: files' 'protocols: files' >"$etc/nsswitch.conf"
    echo 'mail.example.test' >"$etc/mailname"
}

# ------------------------------------------------------------------------------------------------------------------ run

# How a namespace is made here: sets `isolate`, or fails with what is needed.
choose_isolation() {
    command -v unshare >/dev/null || fail "unshare is missing. As root: apt-get install util-linux"
    isolate=(unshare --mount --pid --fork --kill-child=KILL)
    if [ "$(id -u)" -ne 0 ]; then
        command -v newuidmap >/dev/null && grep -q "^\($(id -un)\|$(id -u)\):" /etc/subuid 2>/dev/null ||
            fail "running servers as $(id -un) needs subordinate user ids. As root: apt-get install uidmap && usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)   (or run the tests as root)"
        isolate+=(--user --map-root-user --map-auto)
    fi
}

check() {
    local name missing=()
    for name in "$@"; do
        packages_of "$name" >/dev/null
        complete "$name" || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] || fail "not fetched: ${missing[*]}. Run: scripts/servers.sh fetch ${missing[*]}"
    choose_isolation
    "${isolate[@]}" true 2>/dev/null || fail "no mount and process namespaces here (${isolate[*]}): run the tests as root, outside of a container that forbids them"
}

run() {
    local name=$1 folder= control= group=0 binds=()
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        --folder) folder=$2 && shift 2 ;;
        --control) control=$2 && shift 2 ;;
        --group) group=$2 && shift 2 ;;
        --bind) binds+=("$2") && shift 2 ;;
        --) shift && break ;;
        *) fail "unknown option $1" ;;
        esac
    done
    [ -n "$folder" ] && [ $# -gt 0 ] || fail "usage: run NAME --folder DIR [--control FD] [--group GID] [--bind DIR]... -- COMMAND"
    case $folder in /*) ;; *) fail "--folder takes an absolute path" ;; esac
    complete "$name" || fail "not fetched: $name. Run: scripts/servers.sh fetch $name"
    choose_isolation
    exec "${isolate[@]}" "$BASH" "$self" inside "$servers/$name" "$folder" "${control:-none}" "$group" "${#binds[@]}" "${binds[@]}" "$@"
}

# The first process of the new namespaces: builds the view, starts COMMAND in it, and ends with it.
inside() {
    local root=$1 folder=$2 control=$3 group=$4 count=$5
    shift 5
    local binds=("${@:1:count}")
    shift "$count"
    local view=$folder/.view path
    mkdir -p "$view" "$folder/etc" "$folder/var" "$folder/run"
    exec 7>"$folder/.lock"
    flock 7
    if [ ! -e "$folder/.ready" ]; then
        # -n: what the caller put there stays.
        cp -Rn "$root/etc/." "$folder/etc/"
        cp -Rn "$root/var/." "$folder/var/"
        mkdir -p "$folder/var/log" "$folder/var/spool" "$folder/var/lib" "$folder/var/mail"
        ln -sfn /run "$folder/var/run"
        chmod 755 "$folder" "$folder/var" "$folder/etc" "$folder/run"
        if [ -e "$folder/owners" ]; then
            local mode owner
            while read -r mode owner path; do
                [ -e "$folder/$path" ] || mkdir -p "$folder/$path"
                chown "$owner" "$folder/$path"
                chmod "$mode" "$folder/$path"
            done <"$folder/owners"
        fi
        touch "$folder/.ready"
    fi
    exec 7>&-
    mount -t tmpfs -o mode=755,size=64m view "$view"
    for path in bin sbin lib lib32 lib64 libx32; do ln -s "usr/$path" "$view/$path"; done
    mkdir -p "$view"/{usr,etc,var,dev,proc,run,tmp,root,mnt}
    chmod 1777 "$view/tmp"
    mount --bind "$root/usr" "$view/usr"
    mount -o remount,bind,ro "$view/usr" 2>/dev/null || true
    # Exim starts itself anew to deliver, and must then be root: as an ordinary user's file it could not become that.
    path=/usr/sbin/exim4
    if [ -e "$view$path" ] && [ "$(stat -c %a:%u "$view$path")" != 4755:0 ]; then
        cp "$view$path" "$view/.exim4"
        chmod 4755 "$view/.exim4"
        mount --bind "$view/.exim4" "$view$path"
    fi
    mount --bind "$folder/etc" "$view/etc"
    mount --bind "$folder/var" "$view/var"
    mount --bind "$folder/run" "$view/run"
    mount -t proc proc "$view/proc" 2>/dev/null || mount --rbind /proc "$view/proc"
    for path in null zero full random urandom tty; do
        : >"$view/dev/$path"
        mount --bind "/dev/$path" "$view/dev/$path"
    done
    mkdir "$view/dev/shm"
    chmod 1777 "$view/dev/shm"
    ln -s /proc/self/fd "$view/dev/fd"
    for path in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${path%:*}" "$view/dev/${path#*:}"; done
    for path in "$folder" "${binds[@]}"; do
        mkdir -p "$view$path"
        mount --bind "$path" "$view$path"
    done

    [ "$control" != none ] || exec chroot --userspec="0:$group" "$view" "$@"
    local main status=0
    eval "exec 9<&$control $control</dev/null"
    # In the background, so that signals can be handed on; without `<&0` its standard input would then be /dev/null.
    chroot --userspec="0:$group" "$view" "$@" <&0 9<&- &
    main=$!
    (
        while read -r -u 9 signal; do kill -s "$signal" "$main" 2>/dev/null || true; done
        kill -KILL -1
    ) </dev/null >/dev/null 2>&1 &
    exec 9<&-
    # Quietly: that it was killed is no news to who asked for it.
    wait "$main" 2>/dev/null || status=$?
    exit "$status"
}

# In a user namespace some files belong to subordinate ids, which only such a namespace may touch.
readable() {
    used "$1"
    "${isolate[@]}" chmod -R a+rX "$1/$2"
}

clean() {
    [ -e "$1" ] || return 0
    used "$1"
    "${isolate[@]}" rm -rf --one-file-system "$1"
}

used() {
    [ -e "$1/.view" ] || fail "$1 was not used by run"
    choose_isolation
}

list() {
    local name
    for name in "${names[@]}"; do
        if complete "$name"; then echo "$name: $servers/$name"; else echo "$name: not fetched"; fi
    done
}

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
fetch)
    [ $# -gt 0 ] || set -- "${names[@]}"
    for name in "$@"; do fetch "$name"; done
    ;;
check) check "$@" ;;
run) [ $# -gt 0 ] || fail "usage: run NAME --folder DIR ... -- COMMAND" && run "$@" ;;
inside) inside "$@" ;;
readable) [ $# -eq 2 ] || fail "usage: readable DIR PATH" && readable "$@" ;;
clean) [ $# -eq 1 ] || fail "usage: clean DIR" && clean "$1" ;;
list) list ;;
*) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$self" ;;
esac
