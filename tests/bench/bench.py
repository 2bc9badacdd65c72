#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the bench programs against daemons of its own and judges what they say.

Usage: bench.py BUILD-DIRECTORY [ROW...]. Prints a table and writes bench.json
and plots into bench/ there. A ROW stands for all whose names begin with it and
a dot too; without any, all are measured. Speed is reported, never asserted: the
exit status is 1 only when a program failed. What the rows mean: README.md
beside this file.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import figures
import topic_disk
import topic_hostile
import topic_load
import topic_policy
import topic_request
import topic_run
import topic_watch
from judge import judge, notes_of, samples_of, table
from rows import ROWS
from setting import Setting, Unmeasured, huge_pages, say

TOPICS = [topic for module in (topic_request, topic_policy, topic_run,
                               topic_load, topic_disk, topic_watch,
                               topic_hostile)
          for topic in module.TOPICS]


def wanted_rows(words):
    """The rows that are meant; raises ValueError for a word that is none."""
    for word in words:
        if not any(is_of(row[0], word) for row in ROWS):
            raise ValueError(f"no row is called {word}; there are "
                             + " ".join(row[0] for row in ROWS))
    return [row for row in ROWS
            if not words or any(is_of(row[0], word) for word in words)]


def is_of(row, word):
    return row == word or row.startswith(word + ".")


def topics_of(rows):
    return [topic for topic in TOPICS
            if any(topic.has(row[0]) for row in rows)]


def measure(topic, setting):
    """Samples by row, and why some are missing."""
    names = [row[0] for row in ROWS if topic.has(row[0])]
    say(f"{names[0]} ...")
    if topic.must and setting.no_huge:
        return {}, dict.fromkeys(names, "not measured: " + setting.no_huge)
    setting.absent.clear()
    try:
        measured = topic.measure(setting)
        return measured, lacking(names, measured, setting.absent)
    except Unmeasured as why:
        return {}, dict.fromkeys(names, f"not measured: {why}")
    except (OSError, RuntimeError, ValueError, KeyError, IndexError,
            subprocess.CalledProcessError) as error:
        return {}, dict.fromkeys(names, f"failed: {error}")


def lacking(names, measured, absent):
    """Rows that a peer would have made."""
    why = ", ".join(sorted(absent)) + ": the peer is missing"
    return {name: why for name in names if absent and
            not samples_of(name, measured)["ours"]}


def measure_all(build, rows, no_huge):
    measured, missing = {}, {}
    with tempfile.TemporaryDirectory(prefix="treekv-bench-") as name:
        setting = Setting(build, pathlib.Path(name), build / "bench", no_huge)
        for topic in topics_of(rows):
            one, without = measure(topic, setting)
            measured.update(one)
            missing.update(without)
    return measured, missing, setting.curves


def show(rows, pages):
    print(f"\n{table(rows)}\n")
    print("median (min-max); ratio: ours / theirs, the median over pairs")
    print(f"caches in {pages}; {os.cpu_count()} processors, load "
          f"{os.getloadavg()[0]:.1f}")
    for note in notes_of(rows):
        print(note)


def end_orderly():
    """Servers end and huge pages are given back, whoever ends us."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))


def main():
    end_orderly()
    build = pathlib.Path(sys.argv[1]).resolve()
    target = build / "bench"
    target.mkdir(parents=True, exist_ok=True)
    try:
        wanted = wanted_rows(sys.argv[2:])
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    most = max(topic.huge for topic in topics_of(wanted))
    load = os.getloadavg()[0]
    with huge_pages(most) as no_huge:
        measured, missing, curves = measure_all(build, wanted, no_huge)
    rows = [judge(row, measured, missing) for row in wanted]
    pages = f"small pages: {no_huge}" if no_huge else "huge pages"
    result = {"pages": pages, "processors": os.cpu_count(), "load": load,
              "kernel": os.uname().release, "rows": rows, "curves": curves}
    (target / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    show(rows, pages)
    drawn = figures.draw(target, rows, curves)
    print("also in " + ", ".join(str(target / name)
                                 for name in ["bench.json", *drawn]))
    return 1 if any("failed" in why for why in missing.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
