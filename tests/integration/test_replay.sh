#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# treekvctl replay against tests/unit/replay_reference.py on small random
# traces, and the text of each error.
#
# Usage: test_replay.sh PATH-OF-TREEKVCTL
# Prints a line "ok - ..." or "not ok - ..." for each case; exits with 1 when
# one failed, with 77 when nothing could be tested.

set -u

treekvctl=${1:?usage: test_replay.sh PATH-OF-TREEKVCTL}
reference=$(dirname "$0")/../unit/replay_reference.py
failed=0

if ! command -v python3 >/dev/null 2>&1; then
	echo "skip - replay: python3 is not installed"
	exit 77
fi
dir=$(mktemp -d "${TMPDIR:-/tmp}/test-replay.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

ok()
{
	echo "ok - $1"
}

not_ok()
{
	echo "not ok - $1"
	failed=1
}

# make_trace FILE KINDS KV_HEADS STEPS SEED: a layer for each kind of weights
make_trace()
{
	python3 - "$@" <<'PYTHON'
import math, random, struct, sys

path, kinds = sys.argv[1], sys.argv[2].split(",")
kv_heads, steps, seed = map(int, sys.argv[3:])
rng = random.Random(seed)
odd = [math.nan, math.inf, -math.inf, 0.0, -0.0, 3e38, -3e38, 1e-45, 1.0]

def weight(kind):
    if kind == "ties":
        return float(rng.randrange(3))
    if kind == "special" or kind == "rare" and rng.random() < 0.004:
        return rng.choice(odd)
    return rng.random() ** 4

def row(kind, n):
    if kind != "softmax":
        return [weight(kind) for _ in range(n)]
    e = [math.exp(rng.gauss(0, 2)) for _ in range(n)]
    total = sum(e)
    return [x / total for x in e]

with open(path, "wb") as f:
    f.write(b"TKVTRC1\0" + struct.pack("<III", len(kinds), kv_heads, steps))
    for t in range(steps):
        for kind in kinds:
            for _ in range(kv_heads):
                f.write(struct.pack("<%df" % (t + 1), *row(kind, t + 1)))
PYTHON
}

# compare TRACE POLICY BUDGET SINKS RECENT
compare()
{
	"$treekvctl" replay --policy "$2" --budget "$3" --sinks "$4" \
		--recent "$5" "$dir/$1" >"$dir/got" 2>"$dir/err"
	status=$?
	python3 "$reference" "$2" "$3" "$4" "$5" "$dir/$1" >"$dir/want" || exit 1
	if [ $status -eq 0 ] && [ ! -s "$dir/err" ] &&
		cmp -s "$dir/got" "$dir/want"; then
		return 0
	fi
	echo "# $1, policy $2, budget $3, sinks $4, recent $5: exit $status"
	sed 's/^/# /' "$dir/err"
	diff "$dir/want" "$dir/got" | head -n 4 | cut -c 1-200 | sed 's/^/# /'
	return 1
}

# compare_policy POLICY SHAPE...: each shape is BUDGET,SINKS,RECENT
compare_policy()
{
	policy=$1
	same=0
	shift
	for shape; do
		budget=${shape%%,*}
		rest=${shape#*,}
		compare mixed "$policy" "$budget" "${rest%,*}" "${rest#*,}" ||
			same=1
	done
	if [ $same -eq 0 ]; then
		ok "replay of $policy is the reference's"
	else
		not_ok "replay of $policy is the reference's"
	fi
}

# refuses NAME STATUS TEXT ARGUMENT...: TEXT must be in what it says
refuses()
{
	name=$1
	want=$2
	text=$3
	shift 3
	"$treekvctl" replay "$@" >"$dir/got" 2>"$dir/err"
	status=$?
	if [ $status -eq "$want" ] && [ ! -s "$dir/got" ] &&
		grep -qF -e "$text" "$dir/err"; then
		ok "$name"
		return
	fi
	not_ok "$name"
	echo "# exit $status, not $want; stderr should have: $text"
	sed 's/^/# /' "$dir/err"
}

# prints NAME TEXT ARGUMENT...: TEXT is all of what it prints
prints()
{
	name=$1
	printf '%s' "$2" >"$dir/want"
	shift 2
	if "$treekvctl" replay "$@" >"$dir/got" 2>"$dir/err" &&
		[ ! -s "$dir/err" ] && cmp -s "$dir/got" "$dir/want"; then
		ok "$name"
		return
	fi
	not_ok "$name"
	diff "$dir/want" "$dir/got" | cut -c 1-200 | sed 's/^/# /'
	sed 's/^/# /' "$dir/err"
}

# header FILE MAGIC LAYERS KV_HEADS STEPS
header()
{
	python3 -c '
import struct, sys
path, magic, *numbers = sys.argv[1:]
with open(path, "wb") as f:
    f.write(magic.encode()[:7].ljust(8, b"\0"))
    f.write(struct.pack("<III", *map(int, numbers)))
' "$dir/$1" "$2" "$3" "$4" "$5"
}

make_trace "$dir/mixed" softmax,ties,rare,special 2 70 1 &&
	make_trace "$dir/softmax" softmax,softmax 3 70 2 &&
	make_trace "$dir/seventeen" ties 1 17 3 &&
	make_trace "$dir/long" softmax 1 420 4 || exit 1

for policy in treekv treekv-left treekv-skip; do
	compare_policy $policy 2,0,0 1,0,0 8,4,3 24,4,8 33,0,7 20,5,0 70,4,31
done
for policy in streaming h2o tova; do
	compare_policy $policy 2,0,0 8,4,4 24,4,8 33,0,0 20,0,19 6,6,0 69,1,2
done
compare_policy full 70,4,8 1000,4,124

if compare long treekv 256 4 124 && compare long h2o 256 4 124; then
	ok "replay of a trace longer than the default budget"
else
	not_ok "replay of a trace longer than the default budget"
fi

"$treekvctl" replay --policy treekv --budget 256 --sinks 4 --recent 124 \
	"$dir/long" >"$dir/explicit"
prints "the defaults are treekv, 256, 4 and budget / 2 - sinks" \
	"$(cat "$dir/explicit")
" "$dir/long"
"$treekvctl" replay --budget 24 --recent 8 "$dir/softmax" >"$dir/explicit"
prints "recent is budget / 2 - sinks of what was given" \
	"$(cat "$dir/explicit")
" --budget=24 "$dir/softmax"
# The walk alone, by hand: tests/unit/test_policy.c has it step by step.
prints "the paper's 17 tokens leave 12 14 16 17 to treekv-left" \
	"0 0 11 13 15 16
" --policy treekv-left --budget 4 --sinks 0 --recent 0 "$dir/seventeen"
header nothing TKVTRC1 2 1 0
prints "a trace of no steps holds nothing" "0 0
1 0
" "$dir/nothing"
if "$treekvctl" replay --help >"$dir/got" 2>&1 && {
	grep -q -e '--recent ROWS' "$dir/got" &&
		grep -q 'treekv-skip' "$dir/got"
}; then
	ok "help lists options and policies"
else
	not_ok "help lists options and policies"
fi

refuses "full refuses when full" 1 \
	"policy full refuses when full: $dir/softmax has 70 steps, the budget is 69" \
	--policy full --budget 69 "$dir/softmax"
refuses "a policy that is none" 2 \
	"--policy: 'lru' is none of treekv treekv-left treekv-skip streaming h2o tova full" \
	--policy lru "$dir/softmax"
refuses "a budget that is no number" 2 \
	"--budget: '8x' is not a number from 1 to 16777216" --budget 8x "$dir/softmax"
refuses "a budget of nothing" 2 \
	"--budget: '0' is not a number from 1 to 16777216" --budget 0 "$dir/softmax"
refuses "a budget beyond what a cache may have" 2 \
	"--budget: '16777217' is not a number" --budget 16777217 "$dir/softmax"
refuses "a budget beyond 64 bits" 2 \
	"--budget: '18446744073709551872' is not" --budget 18446744073709551872 \
	"$dir/softmax"
refuses "negative sinks" 2 \
	"--sinks: '-1' is not a number from 0 to 16777216" --sinks -1 "$dir/softmax"
refuses "an empty recent" 2 "--recent: '' is not a number" --recent '' \
	"$dir/softmax"
refuses "no room for a selected row" 2 \
	"a budget of 8 has no room for sinks 4 + recent 4 + 1 selected" \
	--budget 8 --recent 4 "$dir/softmax"
refuses "no room for sinks and recent" 2 \
	"a budget of 8 has no room for sinks 4 + recent 5" \
	--policy h2o --budget 8 --recent 5 "$dir/softmax"
refuses "an option that is none" 2 "no such option: --buget" --buget 8 \
	"$dir/softmax"
refuses "an option without its value" 2 "--budget needs a value" --budget
refuses "no trace" 2 "which trace?" --budget 64
refuses "two traces" 2 "one trace at a time" "$dir/softmax" "$dir/mixed"

refuses "a file that is not there" 1 \
	"cannot open the trace $dir/absent: No such file or directory" "$dir/absent"
refuses "a folder" 1 "$dir is no trace: it is not a regular file" "$dir"
: >"$dir/empty"
refuses "an empty file" 1 \
	"$dir/empty is cut short or no trace: a header takes 20 bytes, but it has 0" \
	"$dir/empty"
head -c 19 "$dir/softmax" >"$dir/header"
refuses "a torn header" 1 "a header takes 20 bytes, but it has 19" "$dir/header"
head -c 2000 /bin/sh >"$dir/foreign"
refuses "a foreign file" 1 \
	"$dir/foreign is no trace: it does not begin with 'TKVTRC1' and a zero byte" \
	"$dir/foreign"
header version TKVTRC2 1 1 0
refuses "another version's magic" 1 "it does not begin with 'TKVTRC1'" \
	"$dir/version"
head -c 1000 "$dir/softmax" >"$dir/torn"
refuses "a torn trace" 1 \
	"$dir/torn is cut short: 2 layers, 3 kv heads and 70 steps, as its header says, take 59660 bytes, but it has 1000" \
	"$dir/torn"
head -c 59659 "$dir/softmax" >"$dir/one-less"
refuses "a trace that lacks its last byte" 1 "59660 bytes, but it has 59659" \
	"$dir/one-less"
{ cat "$dir/softmax" && printf x; } >"$dir/one-more"
refuses "a trace with a byte too many" 1 \
	"$dir/one-more is too long: 2 layers, 3 kv heads and 70 steps, as its header says, take 59660 bytes, but it has 59661" \
	"$dir/one-more"
header overflow TKVTRC1 4294967295 4294967295 4294967295
refuses "a header whose size overflows" 1 \
	"4294967295 layers, 4294967295 kv heads and 4294967295 steps, as its header says, fit no file; it has 20 bytes" \
	"$dir/overflow"
# 2 * L * H * T * (T + 1) is 2^64 here: nothing, to 64 bits.
header wrapping TKVTRC1 2147483648 2147483648 1
refuses "a header whose size wraps to the file's" 1 "fit no file" "$dir/wrapping"
header no-layers TKVTRC1 0 1 5
refuses "a trace of no layers" 1 \
	"its header says 0 layers, but 1 to 512 are possible" "$dir/no-layers"
header heads TKVTRC1 1 513 0
refuses "a trace of too many heads" 1 \
	"its header says 513 kv heads, but 1 to 512 are possible" "$dir/heads"

exit $failed
