#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What `make bench` and `make bench-compare` make of samples, against figures
# worked out by hand. Nothing is timed.
#
# Usage: test_bench.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "the bench's own sums"
bench=$(cd "$(dirname "$0")/../bench" && pwd)
export PYTHONPATH="$bench" PYTHONDONTWRITEBYTECODE=1

# python NAME SCRIPT
python()
{
	check "$1" python3 -c "$2"
}

python "every row has a name of its own and one topic that measures it" '
import bench, rows

names = [row[0] for row in rows.ROWS]
assert len(set(names)) == len(names)
for name in names:
    topics = [topic for topic in bench.TOPICS if topic.has(name)]
    assert len(topics) == 1, (name, len(topics))
'

python "a word picks the row of that name and those below it" '
import bench

def picked(*words):
    return [row[0] for row in bench.wanted_rows(words)]

assert picked("restore.small") == ["restore.small", "restore.small.pages"]
assert "evict.16" in picked("evict") and "evict.1" in picked("evict")
assert "evict.16" not in picked("evict.1")
assert len(picked()) == len(bench.ROWS)
try:
    picked("evic")
except ValueError as error:
    assert "evict.16" in str(error)
else:
    raise AssertionError("a word that is no row was taken")
'

python "ratios are medians over pairs, or of medians where there are none" '
from judge import ratio_of

assert ratio_of([1, 10, 100], [2, 10, 400]) == 0.5
assert ratio_of([1, 2, 9], [4, 8]) == 2 / 6
assert ratio_of([1], []) is None and ratio_of([], [1]) is None
'

python "a p99 row has the p99 of each block of samples" '
from judge import samples_of

samples = [float(block * 1000 + i) for block in range(10)
           for i in range(200)]
got = samples_of("x.p99", {"x": {"ours": samples, "theirs": samples[:40]}})
assert got["ours"] == [block * 1000 + 198.0 for block in range(10)], got
assert got["theirs"] == []
'

python "goals are met from their own side" '
from judge import judge

def met(goal, ours, theirs):
    row = ("x", "what", "peer", "us", goal)
    return judge(row, {"x": {"ours": ours, "theirs": theirs}}, {})["met"]

assert met(("ratio", "<=", 2), [4], [2]) and not met(("ratio", "<=", 2),
                                                     [5], [2])
assert met(("ratio", ">=", 0.9), [9], [10]) and not met(("ratio", ">=", 0.9),
                                                        [8], [10])
assert met(("ours", "<=", 5), [5], []) and not met(("ours", "<=", 5), [6], [])
assert met(("ratio", "<=", 2), [4], []) is None
'

python "chance counts the signs that lead as far from zero" '
from compare import chance

assert chance([1.0] * 8) == 2 / 256
assert chance([3.0, -1.0, 2.0]) == 0.5  # of 6, 2, 4, 0: 6 and 4
assert chance([1.0, -1.0]) == 1
assert abs(chance([1.0, 2.0, 4.0] * 5) - 2 / 2**15) < 0.001
'

python "what has moved is named by Benjamini and Hochberg" '
from compare import named, rounds_for

assert named({"a": 0.001, "b": 0.006, "c": 0.5}) == {"a", "b"}
assert named({"a": 0.006, "b": 0.5, "c": 0.6}) == set()
assert named({"a": 0.009, "b": 0.0095, "c": 0.0099}) == {"a", "b", "c"}
assert 2 / 2**rounds_for(100) <= 0.01 / 100 < 4 / 2**rounds_for(100)
'

python "better and worse go by the unit" '
from compare import judge_rows

rows = [("time", "", None, "us", None), ("speed", "", None, "1/s", None),
        ("same", "", None, "us", None)]
pairs = {"time": [(2.0, 1.0)] * 12, "speed": [(2.0, 1.0)] * 12,
         "same": [(2.0, 2.1), (2.1, 2.0)] * 6}
got = {row["name"]: row for row in judge_rows(rows, pairs)}
assert got["time"]["verdict"] == "better", got
assert got["speed"]["verdict"] == "worse", got
assert got["same"]["verdict"] == "", got
assert abs(got["time"]["change"] + 0.5) < 1e-9
'

python "plots are drawn of whatever there is" '
import pathlib, tempfile
import xml.dom.minidom
import figures

rows = [{"name": "a", "ratio": 0.004, "goal": ["ratio", "<=", 0.01],
         "met": True},
        {"name": "b", "ratio": 3.0, "goal": None, "met": None},
        {"name": "c", "ratio": None, "goal": None, "met": None}]
curves = {"full": [[1024, 900.0, 1000.0], [2048, 900.0, 500.0]],
          "flat": [[1024, 1.0, 1.0, 1.0, 1.0], [4096, 1.0, 4.0, 1.0, 4.0]]}
with tempfile.TemporaryDirectory() as name:
    target = pathlib.Path(name)
    drawn = figures.draw(target, rows, curves)
    assert sorted(drawn) == ["flat.svg", "full.svg", "ratios.svg"], drawn
    for file in drawn:
        xml.dom.minidom.parse(str(target / file))
    assert figures.draw(target, [], {}) == []
'
exit $failed
