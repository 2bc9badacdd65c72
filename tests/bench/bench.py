#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the bench programs against daemons of its own and judges what they say.

Prints a table and writes bench.json and plots into bench/ of the build
directory, anew after every topic, so that a run that is ended has left what it
had measured. A ROW stands for all whose names begin with it and a dot too;
without any, all are measured. Speed is reported, never asserted: the exit
status is 1 only when a program failed or took too long. What the rows mean:
README.md beside this file.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

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

CLEAN_UP_LIMIT = 60  # seconds
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


@contextlib.contextmanager
def limited(seconds):
    """RuntimeError in what takes longer; and again in a clean-up that hangs."""
    def end(*_):
        raise RuntimeError(f"has not ended within {seconds} s")

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds, CLEAN_UP_LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def measure(topic, setting):
    """Samples by row, and why some are missing."""
    names = [row[0] for row in ROWS if topic.has(row[0])]
    say(f"{names[0]} ...")
    setting.absent.clear()
    begin = time.monotonic()
    try:
        # Others may have taken some since the run began.
        with limited(topic.limit), huge_pages(topic.huge) as setting.no_huge:
            setting.lacked = setting.lacked or setting.no_huge
            if topic.must and setting.no_huge:
                raise Unmeasured(setting.no_huge)
            measured = topic.measure(setting)
        return measured, lacking(names, measured, setting.absent)
    except Unmeasured as why:
        return {}, dict.fromkeys(names, f"not measured: {why}")
    except (OSError, RuntimeError, ValueError, LookupError,
            subprocess.SubprocessError) as error:
        say(f"  failed: {error}")
        return {}, dict.fromkeys(names, f"failed: {error}")
    finally:
        setting.took[names[0]] = round(time.monotonic() - begin, 1)


def lacking(names, measured, absent):
    """Rows that a peer would have made."""
    why = ", ".join(sorted(absent)) + ": the peer is missing"
    return {name: why for name in names if absent and
            not samples_of(name, measured)["ours"]}


def report(wanted, measured, missing, setting):
    """What bench.json holds, of the topics so far."""
    rows = [judge(row, measured, missing) for row in wanted]
    pages = f"small pages: {setting.lacked}" if setting.lacked else \
        "huge pages"
    return {"pages": pages, "processors": os.cpu_count(),
            "kernel": os.uname().release, "rows": rows,
            "curves": setting.curves, "seconds": setting.took}


def write_down(target, result):
    """Returns the names of its files."""
    (target / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    return ["bench.json", *figures.draw(target, result["rows"],
                                        result["curves"])]


def measure_all(build, target, wanted, no_huge):
    measured, missing, load = {}, {}, os.getloadavg()[0]
    result = {"rows": []}
    with tempfile.TemporaryDirectory(prefix="treekv-bench-") as name:
        setting = Setting(build, pathlib.Path(name), target, no_huge)
        for topic in topics_of(wanted):
            one, without = measure(topic, setting)
            measured.update(one)
            missing.update(without)
            result = {"load": load,
                      **report(wanted, measured, missing, setting)}
            files = write_down(target, result)
    return result, files


def show(result):
    rows = result["rows"]
    print(f"\n{table(rows)}\n")
    print("median (min-max); ratio: ours / theirs, the median over pairs")
    print(f"caches in {result['pages']}; {result['processors']} processors, "
          f"load {result['load']:.1f} before and {os.getloadavg()[0]:.1f} "
          f"after; {sum(result['seconds'].values()) / 60:.0f} minutes")
    for note in notes_of(rows):
        print(note)
    print(f"goals: {sum(row['met'] is True for row in rows)} met; missed: "
          + (", ".join(row["name"] for row in rows if row["met"] is False)
             or "none"))


def end_orderly():
    """Servers end and huge pages are given back, whoever ends us."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))


def arguments_of():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("build", type=pathlib.Path, metavar="BUILD-DIRECTORY",
                        help="where 'make bench-programs' has built")
    parser.add_argument("rows", nargs="*", metavar="ROW",
                        help="what to measure (default: everything)")
    arguments = parser.parse_args()
    arguments.build = arguments.build.resolve()
    if not (arguments.build / "bin/treekvd").exists():
        parser.error(f"{arguments.build} has no bin/treekvd; 'make bench' "
                     "builds what is needed")
    try:
        arguments.wanted = wanted_rows(arguments.rows)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def main():
    end_orderly()
    arguments = arguments_of()
    target = arguments.build / "bench"
    target.mkdir(parents=True, exist_ok=True)
    most = max(topic.huge for topic in topics_of(arguments.wanted))
    with huge_pages(most) as no_huge:
        result, files = measure_all(arguments.build, target, arguments.wanted,
                                    no_huge)
    show(result)
    print("also in " + ", ".join(str(target / name) for name in files))
    return 1 if any("failed" in (row["note"] or "") for row in
                    result["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
