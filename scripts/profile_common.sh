# What the release build and the making of its profile share; they source it, from the project's folder.
# shellcheck shell=bash
release_options=(-c release --static-swift-stdlib -Xswiftc -enforce-exclusivity=unchecked --product postern)

# Whether this compiler can use the profile: its form changes with LLVM's versions.
reads_profile() { # FILE
    local folder result=1
    folder=$(mktemp -d "${TMPDIR:-/tmp}/postern-profile.XXXXXX")
    echo 'let one = 1' >"$folder/probe.swift"
    swiftc -O -Xfrontend "-ir-profile-use=$1" -emit-ir "$folder/probe.swift" -o /dev/null 2>/dev/null && result=0
    rm -rf "$folder"
    return "$result"
}
