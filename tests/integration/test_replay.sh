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

# compare_stats TRACE POLICY BUDGET[,BUDGET...] SINKS RECENT
compare_stats()
{
	python3 "$reference" "$2" "$3" "$4" "$5" "$dir/$1" --stats \
		>"$dir/want" || exit 1
	size="--budget $3"
	case $3 in
	*,*)
		echo "$3" | tr , '\n' >"$dir/profile"
		size="--budget-profile $dir/profile"
		;;
	esac
	# shellcheck disable=SC2086 # an option and its value
	"$treekvctl" replay --stats --json --policy "$2" $size --sinks "$4" \
		--recent "$5" "$dir/$1" >"$dir/got" 2>"$dir/err" &&
		python3 - "$dir/got" "$dir/want" <<'PYTHON' && return 0
import json, math, sys

got, want = (json.load(open(path)) for path in sys.argv[1:])

def near(a, b, what):
    if (a is None) != (b is None) or a is not None and abs(a - b) > 1e-12:
        sys.exit("# %s: %r, not %r" % (what, a, b))

def check(distances, held, seen, what):
    for i, d in enumerate(distances):
        near(d["kept"], held[i] / seen[i], "%s, decade %d" % (what, i))
        if d["from"] != (10 ** i if i else 0):
            sys.exit("# %s, decade %d begins at %d" % (what, i, d["from"]))
    if len(distances) != len(seen):
        sys.exit("# %s: %d decades, not %d" % (what, len(distances), len(seen)))

if len(got["heads"]) != len(want):
    sys.exit("# %d heads, not %d" % (len(got["heads"]), len(want)))
for head, w in zip(got["heads"], want):
    what = "layer %d, head %d" % (head["layer"], head["head"])
    if head["steps"] != w["steps"]:
        sys.exit("# %s: %d steps, not %d" % (what, head["steps"], w["steps"]))
    near(head["mass"], w["mass"], what)
    check(head["distances"], w["held"], w["seen"], what)
most = max((len(w["seen"]) for w in want), default=0)
sums = [[sum(w[k][i] for w in want if i < len(w[k])) for i in range(most)]
        for k in ("held", "seen")]
check(got["distances"], *sums, "all heads")
mass = [w["mass"] for w in want if w["mass"] is not None]
near(got["mass"], math.fsum(mass) / len(mass) if mass else None, "the mean")
near(got["least"] and got["least"]["mass"], min(mass, default=None), "the least")
PYTHON
	echo "# $1, policy $2, budget $3, sinks $4, recent $5"
	sed 's/^/# /' "$dir/err"
	return 1
}

# stats_of POLICY...
stats_of()
{
	same=0
	compare_stats long h2o 64 4 28 || same=1
	for policy; do
		for shape in 8,4,3 24,0,7 70,4,31; do
			rest=${shape#*,}
			compare_stats mixed "$policy" "${shape%%,*}" \
				"${rest%,*}" "${rest#*,}" || same=1
		done
		compare_stats mixed "$policy" 9,24,11,40 2 5 || same=1
	done
	if [ $same -eq 0 ]; then
		ok "statistics are the reference's"
	else
		not_ok "statistics are the reference's"
	fi
}

# Each cell of a sweep against a run of its own.
sweep_of()
{
	"$treekvctl" replay --sweep --json --sinks 2 "$@" "$dir/mixed" \
		>"$dir/sweep" 2>"$dir/err"
	python3 - "$treekvctl" "$dir/sweep" "$dir/mixed" "$@" <<'PYTHON'
import json, subprocess, sys

tool, sweep, trace, *options = sys.argv[1:]
cells = json.load(open(sweep))["cells"]
names = "treekv treekv-left treekv-skip streaming h2o tova".split()
profile = options[2:] if "--budget-profile" in options else []
want = [(n, b) for n in names for b in (8, 20, 40)]
if len(cells) != len(want):
    sys.exit("%d cells, not %d" % (len(cells), len(want)))
for cell, (name, budget) in zip(cells, want):
    one = json.loads(subprocess.run(
        [tool, "replay", "--stats", "--json", "--sinks", "2", "--policy", name,
         "--budget", str(budget), *profile, trace],
        check=True, capture_output=True).stdout)
    for key in ("policy", "budget", "recent", "mass", "least", "distances"):
        if cell[key] != one[key]:
            sys.exit("%s %d: %s is %r, not %r" % (name, budget, key, cell[key],
                                                  one[key]))
PYTHON
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

stats_of treekv treekv-left treekv-skip streaming h2o tova
for options in "--budget 8,20,40" \
	"--budget 8,20,40 --budget-profile pyramid"; do
	# shellcheck disable=SC2086 # a list of options
	if sweep_of $options >"$dir/check" 2>&1; then
		ok "a sweep with $options is what single runs say"
	else
		not_ok "a sweep with $options is what single runs say"
		sed 's/^/# /' "$dir/check" "$dir/err"
	fi
done

# of_layers NAME PROFILE BUDGET,BUDGET... SINKS RECENT [OPTION]...
of_layers()
{
	name=$1
	profile=$2
	budgets=$3
	sinks=$4
	recent=$5
	shift 5
	python3 "$reference" treekv "$budgets" "$sinks" "$recent" "$dir/mixed" \
		>"$dir/expected"
	prints "$name" "$(cat "$dir/expected")
" --budget-profile "$profile" "$@" "$dir/mixed"
}

printf '# of the four layers\n\n 30\n\t24 # the second\r\n11\n40' \
	>"$dir/layers"
of_layers "each layer has the budget its line says" "$dir/layers" \
	30,24,11,40 3 2 --sinks 3 --recent 2
of_layers "recent is half of the least budget, less the sinks" \
	"$dir/layers" 30,24,11,40 4 1
# 20 selected on the mean: 39, 26, 14 and 1
of_layers "a pyramid keeps the mean and falls to a twentieth" pyramid \
	59,46,34,21 4 16 --budget 40

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
"$treekvctl" replay --json --budget 24 "$dir/softmax" >"$dir/json"
if python3 - "$dir/json" "$dir/explicit" <<'PYTHON'
import json, sys

got = [[h["layer"], h["head"], *h["held"]] for h in json.load(open(sys.argv[1]))]
sys.exit(got != [[*map(int, line.split())] for line in open(sys.argv[2])])
PYTHON
then
	ok "JSON has what the lines have"
else
	not_ok "JSON has what the lines have"
fi
if "$treekvctl" --json replay --budget 24 "$dir/softmax" >"$dir/got" &&
	cmp -s "$dir/json" "$dir/got"; then
	ok "--json may stand before the command"
else
	not_ok "--json may stand before the command"
fi
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
printf '30\n24\n1l\n40\n' >"$dir/letter"
refuses "a budget file with a value that is none" 2 \
	"--budget-profile: $dir/letter, line 3: '1l' is not a number from 1 to 16777216" \
	--budget-profile "$dir/letter" "$dir/mixed"
printf '30\n\n24\n8\n40\n' >"$dir/small"
refuses "a budget file with a budget too small" 2 \
	"--budget-profile: $dir/small, line 4: a budget of 8 has no room for sinks 4 + recent 4 + 1 selected" \
	--budget-profile "$dir/small" --recent 4 "$dir/mixed"
printf '30\n24\n11\n40\n50' >"$dir/more"
refuses "a budget file with a layer too many" 2 \
	"$dir/more, line 5: a budget of 50 for layer 4, but the model has 4 layers" \
	--budget-profile "$dir/more" "$dir/mixed"
printf '30\n# no more\n' >"$dir/less"
refuses "a budget file that ends early" 2 \
	"$dir/less ends after line 2 with 1 budgets, but the model has 4 layers" \
	--budget-profile "$dir/less" "$dir/mixed"
printf '30\0\n24\n' >"$dir/zero"
refuses "a budget file with a zero byte" 2 \
	"$dir/zero, line 1: '30...' is no line of text" \
	--budget-profile "$dir/zero" "$dir/mixed"
refuses "a budget file that is not there" 2 \
	"cannot open the budgets $dir/absent: No such file" \
	--budget-profile "$dir/absent" "$dir/mixed"
refuses "a pyramid without room" 2 \
	"--budget-profile: a budget of 8 has no room for sinks 4 + recent 4 + 1 selected" \
	--budget-profile pyramid --budget 8 --recent 4 "$dir/mixed"
refuses "a pyramid of full" 2 "full keeps everything" \
	--budget-profile pyramid --policy full "$dir/mixed"
refuses "a budget beside a budget file" 2 "says all budgets: leave out --budget" \
	--budget-profile "$dir/layers" --budget 40 "$dir/mixed"
refuses "a sweep over a budget file" 2 "says all budgets: leave out --sweep" \
	--budget-profile "$dir/layers" --sweep "$dir/mixed"
refuses "two budgets without a sweep" 2 "'8,20' is not a number from 1" \
	--budget 8,20 "$dir/mixed"
refuses "a list with a budget that is none" 2 "--budget: '' is not a number" \
	--sweep --budget 8,,20 "$dir/mixed"
refuses "a list too long" 2 "has more than 16 budgets" --sweep \
	--budget 9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9 "$dir/mixed"
refuses "a sweep of full" 1 "policy full refuses when full" --sweep \
	--policy full "$dir/mixed"
refuses "a sweep of a trace too short" 2 "too few for a sweep" --sweep \
	"$dir/nothing"
refuses "a sweep with statistics" 2 "--stats and --sweep exclude each other" \
	--sweep --stats "$dir/mixed"
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
