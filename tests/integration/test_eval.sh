#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What `make eval` computes from runs, against other ways to compute it; and a
# small evaluation that goes on where the one before was cut short.
#
# Usage: test_eval.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "the evaluation"
eval=$(cd "$(dirname "$0")/../eval" && pwd)
export PYTHONPATH="$eval" PYTHONDONTWRITEBYTECODE=1

# python NAME SCRIPT ARGUMENT...
python()
{
	name=$1
	script=$2
	shift 2
	check "$name" python3 -c "$script" "$@"
}

python "details are those of a Haar transform, reconstructed one by one" '
import math, random
import maps

rng = random.Random(3)
signal = [rng.gauss(0, 1) for _ in range(128)]

def forward(x):
    h = math.sqrt(0.5)
    return ([(a + b) * h for a, b in zip(x[::2], x[1::2])],
            [(a - b) * h for a, b in zip(x[::2], x[1::2])])

def backward(low, high):
    h = math.sqrt(0.5)
    return [v for a, d in zip(low, high) for v in ((a + d) * h, (a - d) * h)]

sums = [[0.0] * (128 >> (level + 1)) for level in range(maps.LEVELS)]
maps.details(signal, sums)
low, whole = signal, [0.0] * 128
for level in range(maps.LEVELS):
    low, high = forward(low)
    alone = backward([0.0] * len(high), high)
    for _ in range(level):
        alone = backward(alone, [0.0] * len(alone))
    width = 2 << level
    assert all(abs(abs(v) - sums[level][i // width]) < 1e-12
               for i, v in enumerate(alone)), level
    whole = [a + b for a, b in zip(whole, alone)]
for _ in range(maps.LEVELS):
    low = backward(low, [0.0] * len(low))
assert all(abs(a + b - s) < 1e-12 for a, b, s in zip(whole, low, signal))'

python "an interval has its mean nineteen times in twenty" '
import random
import intervals

rng = random.Random(4)
inside = 0
for _ in range(200):
    found = intervals.bootstrap([rng.gauss(1, 2) for _ in range(60)])
    inside += found.low <= 1 <= found.high
assert 180 <= inside <= 198, inside
ours = [rng.gauss(3, 1) for _ in range(60)]
gap = intervals.paired([v + 0.01 for v in ours], ours)
assert abs(gap.low - 0.01) < 1e-9 and abs(gap.high - 0.01) < 1e-9 and gap.clear
assert abs(intervals.percent(gap).mean - 1.005) < 1e-3'

python "stretches lie apart, and their pieces are all of them" '
import array
import texts

loaded = [array.array("I", range(b, b + 5000)) for b in (0, 10000)]
found = texts.stretches(loaded, 5, 1000)
seen = [i for stretch in found for i in stretch]
assert len(seen) == len(set(seen)) == 5000
pieces = texts.pieces(found[0], 300)
assert [len(p) for p in pieces] == [301, 301, 301, 101]
assert {p[0] for p in pieces} == {texts.BOS}
assert [i for p in pieces for i in p[1:]] == list(found[0])
assert list(texts.endless(loaded, 10007)[9998:]) == [
    14998, 14999, 0, 1, 2, 3, 4, 5, 6]'

python "what lockstep has selected is counted, sinks and recent are not" '
import slack

theirs = {(9, 0, 0): {1, 2, 3, 4}, (9, 0, 1): {5, 6}, (9, 1, 0): set()}
ours = {(9, 0, 0): {1, 2, 9}, (9, 0, 1): {5, 6}, (9, 1, 0): {7}}
assert slack.overlap(ours, theirs) == 0.75'

if ! "$O/bin/treekv-run" --local --prompt "It was" --generate 6000 --seed 11 \
	>"$dir/text" 2>"$dir/err"; then
	not_ok "there is a text to read" "$dir/err"
	exit 1
fi
mkdir "$dir/build"
ln -s "$(cd "$O/bin" && pwd)" "$dir/build/bin"

# evaluate: 'maps' on the text; how many cells were measured in $measured
evaluate()
{
	if ! python3 "$eval/eval.py" "$dir/build" --scale quick --window 256 \
		--text "$dir/text" --title "its own" --part maps \
		>"$dir/out" 2>"$dir/err"; then
		not_ok "an evaluation" "$dir/out" "$dir/err"
	fi
	measured=$(find "$dir/build/eval/cells" -name '*.json' \
		-newer "$dir/mark" | wc -l)
}

touch -d '1 hour ago' "$dir/mark"
evaluate
check "an evaluation keeps its cells" [ "$measured" -eq 4 ]
check "writes its results" python3 -c '
import json, sys
results = json.load(open(sys.argv[1] + "/results.json"))
assert results["text"] == "its own" and len(results["maps"]["rise"]) == 5
for name in ("kept", "wavelets"):
    assert open(f"{sys.argv[1]}/{name}.svg").read().endswith("</svg>\n")' \
	"$dir/build/eval"
cp "$dir/build/eval/results.json" "$dir/first"
find "$dir/build/eval/cells" -name 'kept.tova.json' -delete
find "$dir/build/eval/cells" -name '*.json' -exec touch -d '2 hours ago' {} +
evaluate
check "goes on with the cell that lacks" [ "$measured" -eq 1 ]
check "to the same results" cmp "$dir/first" "$dir/build/eval/results.json"
for file in "$dir"/build/eval/cells/*/wavelets.json; do
	sed -i 's/"key": "./"key": "x/' "$file"
	touch -d '2 hours ago' "$file"
done
find "$dir/build/eval/cells" -name '*.json' -exec touch -d '2 hours ago' {} +
evaluate
check "measures what has another key again" [ "$measured" -eq 1 ]
exit $failed
