# SPDX-License-Identifier: BSD-2-Clause
#
# Is a table on a screen what --json says? Rows are found by their names,
# columns by their titles; a figure like 12.3k stands for what rounds to it.
# Usage: top_screen.py SCREEN JSON [NAMES in their sequence]

import json
import sys

lines = open(sys.argv[1]).read().splitlines()
top = json.load(open(sys.argv[2]))
wanted = sys.argv[3].split() if len(sys.argv) > 3 else []
caches = {c["name"]: c for c in top["caches"]}
UNITS = {"k": 1e3, "M": 1e6, "G": 1e9}
BYTES = {"B": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def near(shown, value, units):
    """Is @value shown as @shown, in three digits or more?"""
    digits, unit = shown, 1
    if shown[-1] in units:
        digits, unit = shown[:-1], units[shown[-1]]
    return abs(float(digits) * unit - value) <= max(0.006 * value, 0.5)


def budget(cache):
    one = cache["budget"]
    return max(one) if isinstance(one, list) else one


CHECKS = {
    "OWNER": lambda c, s: s == c["owner"],
    "STATE": lambda c, s: c["state"].startswith(s),
    "PID": lambda c, s: s == str(c["writer_pid"] or "-"),
    "POLICY": lambda c, s: s == c["policy"],
    "TOKENS": lambda c, s: near(s, c["tail"], UNITS),
    "HELD/BUDGET": lambda c, s: s == f'{c["held"]}/{budget(c)}',
    "RATIO": lambda c, s: near(s, c["tail"] / c["held"], UNITS),
    "MEMORY": lambda c, s: near(s, c["bytes"], BYTES),
    "STALLS": lambda c, s: near(s, c["stalls"], UNITS),
}

at = next(i for i, line in enumerate(lines) if line.startswith("NAME"))
titles = []
for word in lines[at].split():
    begin = lines[at].index(word, titles[-1][2] if titles else 0)
    titles.append((word, begin, begin + len(word)))

seen, compared = [], 0
for line in lines[at + 1:]:
    name = line.split(" ")[0]
    if name not in caches:
        break
    seen.append(name)
    for title, begin, end in titles:
        if title not in CHECKS:
            continue
        while begin and line[begin - 1:begin].strip():
            begin -= 1  # set to the right
        cell = line[begin:].split(" ")[0] if title in (
            "OWNER", "STATE", "POLICY") else line[begin:end].strip()
        assert CHECKS[title](caches[name], cell), (name, title, cell, line)
        compared += 1
assert compared >= 2 * len(seen) > 0, "nothing to compare:\n" + "\n".join(lines)
assert not wanted or seen == wanted, (seen, wanted)
assert wanted or len(seen) == min(len(caches), len(lines) - at - 2), seen
