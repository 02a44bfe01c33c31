#!/usr/bin/env python3
"""Replays labelled mail under each profile and prints what it costs and gains: the figures of docs/tuning.md.

    scripts/tuning.py                    # the part that is for tuning
    scripts/tuning.py --held-out         # the part that was not looked at while tuning
    scripts/tuning.py --set 'bands: { greylist: 2 }' --set 'greylist: { delay: 1m }'    # one run for each setting
    scripts/tuning.py --checks           # which checks fire on ham and on spam
    scripts/tuning.py --odds             # what each check tells of a client, in the unit of the weights

The data is traffic/*.tsv.gz with labels in $POSTERN_TESTDATA, else in ../shared/testdata.
"""
import argparse
import csv
import gzip
import hashlib
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

PROJECT = pathlib.Path(__file__).resolve().parent.parent
FILES = ["spamassassin_2002.tsv.gz", "csdmc2010.tsv.gz"]


def sha(text):
    return hashlib.sha256(text.encode()).digest()


def is_held_out(sender):
    """A third of the sender domains (their last two labels), by hash: the same ones in every run."""
    domain = sender.rsplit("@", 1)[-1].lower()
    return sha(".".join(domain.split(".")[-2:]))[0] < 85


def rows(folder, held_out):
    seen = set()
    for name in FILES:
        with gzip.open(folder / name, "rt", encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                # One collection has messages of the other; and some messages are of unknown kind.
                key = (row["t_utc"], row["client_ip"], row["mail_from"], row["rcpt_to"])
                if row["label"] not in ("ham", "spam") or key in seen or not row["client_ip"]:
                    continue
                seen.add(key)
                if is_held_out(row["mail_from"]) == held_out:
                    yield row


def table(folder, held_out, listed_share, listed_ham, first_half=False):
    """Rows for `postern replay`. A DNS list is assumed, since the data has none: it names this share of the addresses that
    only spam came from, and this share of all others, chosen by hash."""
    data = sorted(rows(folder, held_out), key=lambda row: float(row["t_utc"]))
    kind = {}
    for row in data:
        kind.setdefault(row["client_ip"], set()).add(row["label"])
    out = ["time,client_address,client_name,helo,sender,recipient,label,bytes,reverse,dnsbl"]
    for row in data[: len(data) // 2] if first_half else data:
        share = listed_share if kind[row["client_ip"]] == {"spam"} else listed_ham
        listed = share is not None and int.from_bytes(sha("list" + row["client_ip"])[:4], "big") < share * 2**32
        name = row["rdns"].strip().lower().rstrip(".")
        if "." not in name or name[0] == "[" or name.replace(".", "").isdigit():
            name = ""
        dnsbl = "" if share is None else "list.example=127.0.0.2" if listed else "none"
        fields = [row["t_utc"], row["client_ip"], name or "unknown", row["helo"], row["mail_from"], row["rcpt_to"], row["label"], row["bytes"],
                  name or "none", dnsbl]
        out.append(",".join('"%s"' % field.replace('"', '""') for field in fields))
    return "\n".join(out) + "\n"


def replay(postern, folder, text, settings, weight):
    config = pathlib.Path(folder) / "c.yaml"
    config.write_text("hostname: mx.example.net\ndns: { resolvers: [127.0.0.1] }\n" + settings + "\n")
    file = pathlib.Path(folder) / "t.csv"
    file.write_text(text)
    done = subprocess.run(
        [postern, "replay", "--config", str(config), "--list", f"list.example*{weight}", "--json", str(file)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)["policies"][0]


def odds(postern, folder, held_out):
    """How much more often a check fires on a client that sends spam than on one that sends ham, each counted once."""
    lines = table(folder, held_out, None, None).splitlines()
    clients, count = set(), {"ham": 0, "spam": 0}
    out = lines[:1]
    for line, row in zip(lines[1:], csv.DictReader(lines)):
        client = (row["client_address"], row["label"])
        if client not in clients:
            clients.add(client)
            count[row["label"]] += 1
            out.append(line)
    with tempfile.TemporaryDirectory() as place:
        # Where greylisting is off nobody is known, so that all are judged.
        policy = replay(postern, place, "\n".join(out) + "\n", "greylist: { mode: off }", 4)
    print("%d clients that sent ham, %d that sent spam" % (count["ham"], count["spam"]))
    print("| check | of ham's clients % | of spam's clients % | binary logarithm of the ratio |")
    print("|---|---|---|---|")
    for check in policy["checks"]:
        ham, spam = check["fired_ham"], check["fired_spam"]
        if check["check"] in ("greylist", "always-reachable") or not ham + spam:
            continue
        ratio = ((spam + 0.5) / (count["spam"] + 1)) / ((ham + 0.5) / (count["ham"] + 1))
        print("| `%s` | %s | %s | %.1f |" % (check["check"], percent(ham, count["ham"]), percent(spam, count["spam"]), math.log2(ratio)))


def percent(part, whole):
    return "%.2f" % (100 * part / whole) if whole else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("POSTERN_TESTDATA") or PROJECT.parent / "shared/testdata")
    parser.add_argument("--postern", default=str(PROJECT / ".build/debug/postern"))
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--set", action="append", default=[], help="lines of configuration; one run for each")
    parser.add_argument("--weight", type=float, default=4, help="of the assumed list")
    parser.add_argument("--odds", action="store_true", help="how much more often each check fires on clients of spam than on clients of ham")
    parser.add_argument("--checks", action="store_true")
    options = parser.parse_args()
    folder = pathlib.Path(options.data) / "traffic"
    if not folder.is_dir():
        sys.exit(f"there is no {folder}; set POSTERN_TESTDATA")
    if options.odds:
        return odds(options.postern, folder, options.held_out)
    evidence = [("no list", None, None), ("a list that knows nobody", 0, 0), ("a list of 60 % of the bots", 0.6, 0),
                ("a list of 90 % of the bots, 1 % of the others", 0.9, 0.01)]
    print("| profile | evidence | ham deliveries | ham deferred % | of the second half % | ham lost % | spam deliveries | spam stopped % | spam keys back in time % |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for settings in options.set or [""]:
            if settings:
                print(f"| `{settings}` | | | | | | | | |")
            for profile in ("classic", "selective"):
                for name, share, ham_share in evidence:
                    if profile == "classic" and share == 0:
                        continue
                    text = table(folder, options.held_out, share, ham_share)
                    policy = replay(options.postern, place, text, f"profile: {profile}\n{settings}", options.weight)
                    ham, spam = policy["ham"], policy["spam"]
                    # What the first half alone does is what it does of the whole: the rest is the second half, with a memory.
                    early = replay(
                        options.postern, place, table(folder, options.held_out, share, ham_share, True), f"profile: {profile}\n{settings}",
                        options.weight)["ham"]
                    stopped = spam["blocked"] + spam["refused"]
                    print("| %s | %s | %d | %s | %s | %s | %d | %s | %s |" % (
                        profile, name, ham["deliveries"], percent(ham["deferred"], ham["deliveries"]),
                        percent(ham["deferred"] - early["deferred"], ham["deliveries"] - early["deliveries"]),
                        percent(ham["blocked"] + ham["refused"], ham["deliveries"]), spam["deliveries"], percent(stopped, spam["deliveries"]),
                        percent(spam["triplets_in_time"], spam["new_triplets"])))
                    if options.checks:
                        for check in policy["checks"]:
                            if check["fired"]:
                                print("|  | %s | | %s |  |  | | %s | |" % (check["check"], percent(check["fired_ham"], ham["deliveries"]),
                                                                        percent(check["fired_spam"], spam["deliveries"])))


if __name__ == "__main__":
    main()
