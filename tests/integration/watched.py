#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Evaluates an expression over what was seen and what the daemon says.

Usage: watched.py SEEN STATUS LIST EXPRESSION. s: the last line of kvwatch; h:
its histograms; m: metrics, of 'treekvctl status --json'; c: caches by name, of
'treekvctl list --json'; cache(name), process(pid): their rows of s. Prints the
value and exits with 1 unless it is true.
"""

import json
import pathlib
import sys


def rows(path):
    text = pathlib.Path(path).read_text() if pathlib.Path(path).exists() else ""
    return json.loads(text or "null")


def main():
    s = rows(sys.argv[1])
    m = (rows(sys.argv[2]) or {}).get("metrics")
    c = {row["name"]: row for row in rows(sys.argv[3]) or []}

    def cache(name):
        return next((row for row in s["caches"]
                     if row["cache"] == c[name]["cache"]), None)

    def process(pid):
        return next((row for row in s["processes"] if row["pid"] == pid), None)

    names = {"s": s, "h": s["histograms"], "m": m, "c": c, "cache": cache,
             "process": process}
    value = eval(sys.argv[4], names)  # the test's own words
    print(f"{sys.argv[4]}: {value}")
    return 0 if value else 1


if __name__ == "__main__":
    sys.exit(main())
