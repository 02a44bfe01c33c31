#!/usr/bin/env python3
"""Writes the manual pages from what the program itself says, so that they never say anything else.

    scripts/manpages.py PROGRAM FOLDER

FOLDER/postern.1 and a page for each verb (postern-explain.1, postern-import-sqlgrey.1, ...) come from the same text as --help;
FOLDER/postern.yaml.5 from `config reference`.
"""
import json
import pathlib
import re
import subprocess
import sys


def run(program, *arguments):
    return subprocess.run([program, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def escaped(text):
    """Text for roff: a hyphen that can be copied, no command by accident."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def body(text):
    """The discussion of a verb: paragraphs, headings in capitals, and lines set in by two spaces, which stay as they are."""
    out, verbatim = [], False
    for line in text.strip("\n").split("\n"):
        if line.startswith("  "):
            if not verbatim:
                out += [".PP", ".RS 4", ".nf"]
                verbatim = True
            out.append(escaped(line[2:]))
            continue
        if verbatim and line.strip():
            out += [".fi", ".RE"]
            verbatim = False
        if re.fullmatch(r"[A-Z][A-Z ]+", line.strip()):
            out.append(f".SH {line.strip()}")
        elif line.strip():
            out.append(escaped(line.strip()))
        else:
            out.append("" if verbatim else ".PP")
    if verbatim:
        out += [".fi", ".RE"]
    # A paragraph that nothing follows, or a heading, is none.
    return [line for i, line in enumerate(out) if not (line == ".PP" and (i + 1 == len(out) or out[i + 1].startswith((".SH", ".PP"))))]


def name_of(argument):
    dashes = {"long": "--", "short": "-", "longWithSingleDash": "-"}
    return [dashes[n["kind"]] + n["name"] for n in argument.get("names") or []]


def synopsis(words, command):
    parts = [f"\\fB{escaped(' '.join(words))}\\fR"]
    for argument in command.get("arguments", []):
        if not argument.get("shouldDisplay", True):
            continue
        value = f"\\fI{escaped(argument.get('valueName') or 'value')}\\fR"
        if argument["kind"] == "positional":
            part = value + ("..." if argument.get("isRepeating") else "")
        else:
            part = f"\\fB{escaped(name_of(argument)[-1])}\\fR" + (f" {value}" if argument["kind"] == "option" else "")
        parts.append(f"[{part}]" if argument.get("isOptional") else part)
    if command.get("subcommands"):
        parts.append("\\fIverb\\fR ...")
    return " ".join(parts)


def options(command):
    out = []
    for argument in command.get("arguments", []):
        if not argument.get("shouldDisplay", True):
            continue
        value = escaped(argument.get("valueName") or "value")
        names = ", ".join(f"\\fB{escaped(n)}\\fR" for n in name_of(argument)) or f"\\fI{value}\\fR"
        if argument["kind"] == "option":
            names += f" \\fI{value}\\fR"
        text = " ".join(filter(None, [argument.get("abstract"), argument.get("discussion")]))
        if argument.get("allValues"):
            text += f" One of: {', '.join(argument['allValues'])}."
        if argument.get("defaultValue"):
            text += f" Default: {argument['defaultValue']}."
        out += [".TP", names, escaped(text) if text else "\\&"]
    return out


def visible(command):
    return [c for c in command.get("subcommands", []) if c["commandName"] != "help" and c.get("shouldDisplay", True)]


def page(words, command, version, others):
    title = "-".join(words)
    abstract = command.get("abstract", "").rstrip(".")
    out = [f'.TH "{escaped(title.upper())}" 1 "" "Postern {version}" "Postern"', ".SH NAME", f"{escaped(title)} \\- {escaped(abstract)}"]
    out += [".SH SYNOPSIS", synopsis(words, command)]
    text = body(command["discussion"]) if command.get("discussion") else [escaped(command.get("abstract", ""))]
    head = next((i for i, line in enumerate(text) if line.startswith(".SH")), len(text))
    out += [".SH DESCRIPTION"] + (text[:head] or [escaped(command.get("abstract", ""))])
    if visible(command):
        out.append(".SH VERBS")
        for sub in visible(command):
            out += [".TP", f"\\fB{escaped('-'.join(words + [sub['commandName']]))}\\fR(1)", escaped(sub.get("abstract", ""))]
    out += ([".SH OPTIONS"] + options(command)) if options(command) else []
    out += text[head:]
    see = [f"\\fB{escaped(other)}\\fR({section})" for other, section in others if other != title]
    out += [".SH SEE ALSO", ", ".join(see)]
    return "\n".join(out) + "\n"


def pages(words, command, version, folder):
    near = [("postern", 1)] if len(words) > 1 else []
    near += [("-".join(words + [c["commandName"]]), 1) for c in visible(command)][:30]
    (folder / f"{'-'.join(words)}.1").write_text(page(words, command, version, near + [("postern.yaml", 5)]))
    for sub in visible(command):
        pages(words + [sub["commandName"]], sub, version, folder)


def inline(text):
    """The Markdown that the reference uses within a line."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text.replace("\\|", "|"))
    parts = text.split("`")
    return "".join(f"\\fB{escaped(p)}\\fR" if i % 2 else escaped(re.sub(r"\*([^*]+)\*", r"\1", p)) for i, p in enumerate(parts))


def reference(text, version):
    out = [f'.TH "POSTERN.YAML" 5 "" "Postern {version}" "Postern"', ".SH NAME", "postern.yaml \\- configuration of postern(1)", ".SH DESCRIPTION"]
    verbatim = False
    for line in text.split("\n")[1:]:
        if line.startswith("```"):
            verbatim = not verbatim
            out += [".PP", ".RS 4", ".nf"] if verbatim else [".fi", ".RE"]
        elif verbatim:
            out.append(escaped(line))
        elif line.startswith("#"):
            out.append(f".SH {escaped(line.lstrip('# ').upper())}")
        elif line.startswith("|"):
            cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            if set("".join(cells)) <= set("-") or cells[0] in ("key", "type"):
                continue
            if len(cells) == 4:
                out += [".TP", inline(cells[0]), f"{inline(cells[3])} [{inline(cells[1])}; default {inline(cells[2])}]"]
            else:
                out += [".TP", inline(cells[0]), inline(" ".join(cells[1:]))]
        elif line.startswith("- "):
            out += [".IP \\(bu 2", inline(line[2:])]
        elif line.strip() and not line.startswith("<!--"):
            out.append(inline(line.strip()))
        elif not line.strip():
            out.append(".PP")
    kept = [l for i, l in enumerate(out) if not (l == ".PP" and (i + 1 == len(out) or out[i + 1].startswith(".")))]
    return "\n".join(kept + [".SH SEE ALSO", "\\fBpostern\\fR(1), \\fBpostern\\-config\\fR(1)"]) + "\n"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    command = json.loads(run(program, "--experimental-dump-help"))["command"]
    version = run(program, "--version").strip()
    pages(["postern"], command, version, folder)
    (folder / "postern.yaml.5").write_text(reference(run(program, "config", "reference"), version))


main()
