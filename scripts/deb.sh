#!/usr/bin/env bash
# Makes the Debian package from a built program.
#
#   scripts/deb.sh [--program FILE] [--output DIR] [--quick]
#
# FILE is .build/release/postern where it is left out (`make deb` builds that, with the Swift runtime inside). The manual pages,
# the completions and the version come from the program itself. DIR is .build/deb. --quick does not compress, for tests.
# DEBFULLNAME and DEBEMAIL name the maintainer. Prints the path of the package.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
umask 022
program=.build/release/postern
output=.build/deb
compression=(-Zxz)
while [ $# -gt 0 ]; do
    case $1 in
    --program) program=$2; shift 2 ;;
    --output) output=$2; shift 2 ;;
    --quick) compression=(-Znone); shift ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 64 ;;
    esac
done
fail() { echo "deb.sh: $*" >&2; exit 1; }
for tool in dpkg-deb dpkg-shlibdeps strip gzip python3; do
    command -v $tool >/dev/null || fail "$tool is missing. As root: apt-get install dpkg-dev binutils gzip python3"
done
[ -x "$program" ] || fail "$program is not built: make deb"
program=$(realpath "$program")

work=$(mktemp -d "${TMPDIR:-/tmp}/postern-deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
version=$("$program" --version)
architecture=$(dpkg --print-architecture)
documents=$root/usr/share/doc/postern

install -D -m 755 "$program" "$root/usr/bin/postern"
strip --strip-all --remove-section=.comment --remove-section=.note "$root/usr/bin/postern"
install -D -m 644 packaging/postern.yaml "$root/etc/postern/postern.yaml"
install -D -m 644 -t "$root/usr/lib/systemd/system" packaging/systemd/postern.service packaging/systemd/postern-policy.socket
install -D -m 644 packaging/systemd/postern.sysusers "$root/usr/lib/sysusers.d/postern.conf"
install -D -m 644 -t "$documents/examples" packaging/systemd/postern-spare-time.conf
[ ! -d packaging/examples ] || cp -R --no-preserve=mode,ownership packaging/examples/. "$documents/examples/"
mkdir -p "$documents/docs"
find docs -maxdepth 1 -type f -exec install -m 644 -t "$documents/docs" {} +
install -m 644 README.md "$documents/README.md"
install -m 644 packaging/debian/copyright "$documents/copyright"
# The time of the last change, so that the same sources make the same package.
stamp=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
maintainer="${DEBFULLNAME:-Postern maintainers} <${DEBEMAIL:-postmaster@localhost}>"
{
    echo "postern ($version) unstable; urgency=medium"
    printf '\n  * Version %s; what is new stands in the history of the sources.\n\n' "$version"
    echo " -- $maintainer  $(date -u -R -d "@$stamp")"
} | gzip -9n >"$documents/changelog.gz"
install -D -m 644 packaging/debian/lintian/postern "$root/usr/share/lintian/overrides/postern"

# What the program says of itself.
scripts/manpages.py "$program" "$root/usr/share/man"
for section in 1 5; do
    mkdir -p "$root/usr/share/man/man$section"
    mv "$root"/usr/share/man/*."$section" "$root/usr/share/man/man$section/"
    gzip -9n "$root/usr/share/man/man$section"/*
done
# They are read by shells, never run.
completion() { mkdir -p "$(dirname "$2")" && "$program" --generate-completion-script "$1" | sed '1{/^#!/d}' >"$2"; }
completion bash "$root/usr/share/bash-completion/completions/postern"
completion zsh "$root/usr/share/zsh/vendor-completions/_postern"
completion fish "$root/usr/share/fish/vendor_completions.d/postern.fish"

# The libraries that the program names, as the packages that hold them.
mkdir -p "$work/debian"
touch "$work/debian/control"
# A debug build has the Swift runtime beside it, of which there is no package: what names it is for tests only.
lenient=()
runtime=$(ldd "$program" | sed -n 's,.* => \(/.*\)/libswiftCore\.so .*,\1,p')
[ -z "$runtime" ] || [ "${compression[0]}" = -Znone ] || fail "$program needs the Swift runtime; build it with --static-swift-stdlib"
[ -z "$runtime" ] || lenient=(--ignore-missing-info "-l$runtime")
depends=$(cd "$work" && dpkg-shlibdeps "${lenient[@]}" -O -e"$root/usr/bin/postern" 2>"$work/shlibdeps.log") || { cat "$work/shlibdeps.log" >&2; fail "dpkg-shlibdeps"; }
depends=${depends#shlibs:Depends=}

install -d "$root/DEBIAN"
size=$(du -sk --exclude=DEBIAN "$root" | cut -f1)
sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$architecture|" -e "s|@SIZE@|$size|" -e "s|@DEPENDS@|$depends|" \
    -e "s|@MAINTAINER@|$maintainer|" packaging/debian/control.in >"$root/DEBIAN/control"
echo /etc/postern/postern.yaml >"$root/DEBIAN/conffiles"
install -m 755 -t "$root/DEBIAN" packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm
(cd "$root" && find etc usr -type f -print0 | LC_ALL=C sort -z | grep -zv '^etc/' | xargs -0 md5sum >DEBIAN/md5sums)
find "$root" -exec touch --no-dereference --date="@$stamp" {} +
mkdir -p "$output"
package=$output/postern_${version}_${architecture}.deb
SOURCE_DATE_EPOCH=$stamp dpkg-deb --root-owner-group "${compression[@]}" --build "$root" "$package" >/dev/null
echo "$package"
