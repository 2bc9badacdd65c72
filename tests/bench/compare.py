#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Has it become faster? Two builds in alternation.

Builds REVISION in a git worktree in BUILD-DIRECTORY/base, with the bench
programs of this tree, so that both are measured alike. ROUNDS 0: as few as can
show anything.

In every round each topic is measured with both builds, one right after the
other, the other one first every other time. Of a round a row has one figure a
build: the ratio to its peer, where it has one, else its own median. What counts
is the difference of their logarithms, round by round. Were the builds the same,
either sign would be as likely: so p is the share of all assignments of signs
with a mean as far from zero (an exact permutation test; beyond 2^14 a random
sample of them). Rows are named as moved by the rule of Benjamini and Hochberg:
of those named, one in a hundred is expected to be wrong.
"""

import argparse
import itertools
import json
import math
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

from bench import end_orderly, measure, topics_of, wanted_rows
from judge import columns, ratio_of, samples_of, short
from setting import Setting, huge_pages, say

FALSE_SHARE = 0.01
EXACT = 14
FLIPS = 20000
MORE_IS_BETTER = ("tokens/s", "MiB/s", "GB/s", "1/s", "%")


# ---- the other build ----

def git(*arguments, **more):
    return subprocess.run(["git", *map(str, arguments)], check=True, text=True,
                          stdout=subprocess.PIPE, **more).stdout.strip()


def make_tree(tree, revision):
    """Of that revision, but for what measures it."""
    git("worktree", "prune")
    if not (tree / ".git").exists():
        shutil.rmtree(tree, ignore_errors=True)
        git("worktree", "add", "--force", "--detach", tree, revision)
    git("-C", tree, "checkout", "--force", "--detach", revision)
    here = pathlib.Path(__file__).parent
    for file in here.glob("*.[ch]"):
        to = tree / "tests/bench" / file.name
        if not to.exists() or to.read_bytes() != file.read_bytes():
            shutil.copyfile(file, to)


def build_base(build, revision):
    """Its build directory; what does not build is said and left out."""
    tree, base = build / "base/tree", build / "base/build"
    make_tree(tree, revision)
    make = ["make", "-C", tree, f"O={base}"]
    subprocess.run([*make, "all"], check=True, stdout=sys.stderr)
    programs = [base / "tests/bench" / file.stem for file in
                sorted((tree / "tests/bench").glob("bench_*.c"))]
    programs += [base / "tests/helpers" / name
                 for name in ("kvwriter", "kvwatch", "kvmany")]
    subprocess.run([*make, "--keep-going", *programs], check=False,
                   stdout=sys.stderr)
    for program in programs:
        if not program.exists():
            say(f"{revision} has no {program.name}")
    return base


# ---- measuring ----

def figure(row, measured):
    """One number, or None."""
    samples = samples_of(row[0], measured)
    if not samples["ours"]:
        return None
    ratio = ratio_of(samples["ours"], samples["theirs"])
    value = ratio if ratio else statistics.median(samples["ours"])
    return value if value > 0 else None


def one_round(topic, settings):
    """Figures by row of both, or of those rows that both have."""
    got = []
    for setting in settings:
        measured, missing = measure(topic, setting)
        for why in sorted(set(missing.values())):
            say(f"  {why}")
        got.append(measured)
    return got


def rounds_for(rows):
    """So many that one of them alone could be named."""
    return max(6, math.ceil(math.log2(2 * rows / FALSE_SHARE)))


def measure_rounds(rows, topics, settings, rounds):
    """By row: pairs (base, new)."""
    pairs = {row[0]: [] for row in rows}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        swap = number % 2
        for topic in topics:
            got = one_round(topic, settings[::-1] if swap else settings)
            base, new = got[::-1] if swap else got
            for row in rows:
                both = figure(row, base), figure(row, new)
                if topic.has(row[0]) and None not in both:
                    pairs[row[0]].append(both)
    return pairs


# ---- judging ----

def signs(n):
    """All assignments but for a common sign, or a sample of them."""
    if n <= EXACT:
        return ((1, *more) for more in
                itertools.product((1, -1), repeat=n - 1))
    source = random.Random(1)
    return ([source.choice((1, -1)) for _ in range(n)] for _ in range(FLIPS))


def chance(differences):
    """How likely a mean so far from zero is, if there is nothing in it."""
    seen = abs(sum(differences)) - 1e-12
    n = hits = 0
    for flips in signs(len(differences)):
        n += 1
        hits += abs(sum(f * d for f, d in zip(flips, differences))) >= seen
    return hits / n


def named(chances):
    """Names of what has moved: Benjamini and Hochberg."""
    ordered = sorted(chances.items(), key=lambda item: item[1])
    most = 0
    for i, (_, p) in enumerate(ordered, 1):
        if p <= FALSE_SHARE * i / len(ordered):
            most = i
    return {name for name, _ in ordered[:most]}


def judge_rows(rows, pairs):
    rows = [row for row in rows if len(pairs[row[0]]) > 1]
    differences = {row[0]: [math.log(new / base) for base, new in
                            pairs[row[0]]] for row in rows}
    chances = {name: chance(of) for name, of in differences.items()}
    moved = named(chances)
    ret = []
    for name, _, _, unit, _ in rows:
        of = differences[name]
        change = math.exp(statistics.mean(of)) - 1
        better = (change > 0) == (unit in MORE_IS_BETTER)
        ret.append({
            "name": name, "rounds": len(of),
            "base": statistics.median(base for base, _ in pairs[name]),
            "new": statistics.median(new for _, new in pairs[name]),
            "change": change, "noise": statistics.stdev(of),
            "chance": chances[name], "moved": name in moved,
            "verdict": ("better" if better else "worse")
            if name in moved else "",
        })
    return ret


def show(result):
    lines = [("row", "rounds", "base", "new", "change", "a round's noise",
              "chance", "")]
    for row in result:
        lines.append((row["name"], str(row["rounds"]), short(row["base"]),
                      short(row["new"]), f"{100 * row['change']:+.1f} %",
                      f"{100 * row['noise']:.1f} %", f"{row['chance']:.4f}",
                      row["verdict"]))
    print(f"\n{columns(lines)}\n")
    print("base, new: medians over rounds, of ratios where there is a peer")
    moved = [row["name"] for row in result if row["moved"]]
    print("beyond noise: " + (", ".join(moved) or "none"))


def arguments_of():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("build", type=pathlib.Path, metavar="BUILD-DIRECTORY")
    parser.add_argument("revision", metavar="REVISION")
    parser.add_argument("rounds", type=int, metavar="ROUNDS")
    parser.add_argument("rows", nargs="*", metavar="ROW")
    arguments = parser.parse_args()
    try:
        rows = wanted_rows(arguments.rows)
    except ValueError as error:
        parser.error(str(error))
    topics = [topic for topic in topics_of(rows)
              if arguments.rows or not topic.slow]
    rows = [row for row in rows if any(t.has(row[0]) for t in topics)]
    return arguments, topics, rows


def main():
    end_orderly()
    arguments, topics, rows = arguments_of()
    build = arguments.build.resolve()
    revision = git("rev-parse", "--verify", arguments.revision + "^{commit}")
    rounds = arguments.rounds or rounds_for(len(rows))
    base = build_base(build, revision)
    most = max(topic.huge for topic in topics)
    with huge_pages(most) as no_huge, \
            tempfile.TemporaryDirectory(prefix="treekv-bench-") as name:
        settings = []
        for which in (base, build):
            folder = pathlib.Path(name) / str(len(settings))
            folder.mkdir()
            (which / "bench").mkdir(parents=True, exist_ok=True)
            settings.append(Setting(which, folder, which / "bench", no_huge))
        pairs = measure_rounds(rows, topics, settings, rounds)
    result = judge_rows(rows, pairs)
    (build / "bench/compare.json").write_text(json.dumps(
        {"base": revision, "processors": os.cpu_count(), "rows": result},
        indent=1) + "\n")
    show(result)
    print(f"base is {revision}; also in {build / 'bench/compare.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
