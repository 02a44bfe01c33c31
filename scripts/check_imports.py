#!/usr/bin/env python3
"""Compares the imports of each target with the dependencies that Package.swift names for it."""
import json
import pathlib
import re
import subprocess
import sys

ALWAYS = {"Swift", "Glibc", "Foundation", "FoundationEssentials", "Dispatch", "Testing", "Synchronization", "XCTest"}
PATTERN = re.compile(
    r"^(?:@\w+(?:\(\w+\))?\s+)*(?:(?:public|package|internal|private|fileprivate)\s+)?import\s+"
    r"(?:(?:struct|class|enum|protocol|func|var|let|typealias)\s+)?(\w+)", re.M)

description = json.loads(subprocess.check_output(["swift", "package", "dump-package"]))
# A test may depend on a program to have it built, and then run it.
programs = {target["name"] for target in description["targets"] if target["type"] == "executable"}
failed = False
for target in description["targets"]:
    named = set()
    for dependency in target["dependencies"]:
        for kind in ("byName", "target", "product"):
            if kind in dependency:
                named.add(dependency[kind][0])
    folder = pathlib.Path(target.get("path") or ("Tests" if target["type"] == "test" else "Sources") + "/" + target["name"])
    used = set()
    for file in folder.rglob("*.swift"):
        for module in PATTERN.findall(file.read_text()):
            used.add(module)
            if module not in named | ALWAYS | {target["name"]}:
                print(f"lint: {file}: imports {module}, which Package.swift does not name for {target['name']}", file=sys.stderr)
                failed = True
    for module in sorted(named - used - programs):
        if target["type"] != "system":
            print(f"lint: Package.swift: {target['name']} names {module} and does not import it", file=sys.stderr)
            failed = True
sys.exit(failed)
