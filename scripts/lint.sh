#!/usr/bin/env bash
# Keeps what no compiler keeps: the format, and which target may import what (docs/architecture.md).
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0
complain() { printf 'lint: %s\n' "$*" >&2; failed=1; }

swift format lint --strict --recursive --parallel Package.swift Sources Tests $( [ -d Benchmarks ] && echo Benchmarks/Package.swift Benchmarks/Sources ) $( [ -d Fuzz ] && echo Fuzz/Package.swift Fuzz/Sources ) || failed=1

# The pure targets: values in, values out. No input or output, no clock, no randomness, no database.
declare -A allowed=(
    [PosternCore]=""
    [PolicyProtocol]="PosternCore"
    [SMTPProtocol]="PosternCore"
    [DNSProtocol]="PosternCore"
    [AddressTables]="PosternCore"
    [Counting]="CMemory PosternCore"
    [PosternEngine]="AddressTables Counting PosternCore"
    [PublishedLists]="AddressTables DNSProtocol PosternCore PosternEngine PosternReplay"
    [SPF]="PosternCore"
    [PosternReplay]="DNSProtocol PosternCore PosternEngine"
)
for target in "${!allowed[@]}"; do
    [ -d "Sources/$target" ] || continue
    while IFS=: read -r file line import; do
        module=$(sed -E 's/^ *(@[A-Za-z_]+(\([a-z]*\))? +)*((public|package|internal|private|fileprivate) +)?import +((struct|class|enum|protocol|func|var|let|typealias) +)?([A-Za-z_]+).*/\7/' <<<"$import")
        case " ${allowed[$target]} " in
            *" $module "*) ;;
            *) complain "$file:$line: $target may not import $module" ;;
        esac
    done < <(grep -rnE '^ *(@[A-Za-z_]+(\([a-z]*\))? +)*((public|package|internal|private|fileprivate) +)?import ' "Sources/$target" --include='*.swift')
    while IFS= read -r hit; do
        complain "$hit: $target reads no clock and no randomness"
    done < <(grep -rnE '\b(ContinuousClock|SuspendingClock|SystemRandomNumberGenerator|clock_gettime|gettimeofday|getrandom|Date\(\)|Task\.sleep)\b|\.random\(|\.randomElement\(|\.shuffled\(\)|\.shuffle\(\)' "Sources/$target" --include='*.swift' | grep -vE 'using: *&' | cut -c1-160)
done

# Every import is a dependency that Package.swift names for the target.
python3 scripts/check_imports.py || failed=1

# The container is built from what is here: every path that its file names exists, and the libraries are those of setup.sh.
while read -r path; do
    [ -e "$path" ] || complain "packaging/Containerfile: there is no $path"
done < <(sed -nE 's/^COPY +([^-. ][^ ]*) .*/\1/p' packaging/Containerfile)
for package in $(sed -nE 's/^packages=\((.*)\)$/\1/p' scripts/setup.sh); do
    grep -qw -- "$package" packaging/Containerfile || complain "packaging/Containerfile: $package of scripts/setup.sh is missing"
done
for target in $(sed -nE 's/^RUN make +(.*)$/\1/p' packaging/Containerfile); do
    grep -qE "^$target:" Makefile || complain "packaging/Containerfile: the Makefile has no $target"
done
grep -q "/.build/deb/" packaging/Containerfile && grep -q '^output=.build/deb$' scripts/deb.sh || complain "packaging/Containerfile: scripts/deb.sh writes elsewhere"

# Lines that owe a reason beside them (a comment on the line or the one above).
while IFS=: read -r file line text; do
    above=$(sed -n "$((line - 1))p" "$file")
    if ! grep -q '//' <<<"$text" && ! grep -q '//' <<<"$above"; then
        complain "$file:$line: say why: $(sed 's/^ *//' <<<"$text" | cut -c1-100)"
    fi
done < <(grep -rnE 'fatalError\(|try!|as!|@unchecked Sendable|nonisolated\(unsafe\)|\b(TODO|FIXME|XXX)\b' Sources --include='*.swift')

[ "$failed" = 0 ] && echo "lint: clean"
exit "$failed"
