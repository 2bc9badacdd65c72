#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What treekv-run writes about a run: token ids, scores, and what each step saw
# of the cache. From the views, the naive reference must choose what the daemon
# has taken out, at every step, also where budgets differ by layer.
#
# Usage: test_views.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

run=$O/bin/treekv-run
tests=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$tests/helpers:$tests/unit" PYTHONDONTWRITEBYTECODE=1
out=$dir/out
err=$dir/err
need python3 "views"

# go WHAT OPTION...: a run that must end well
go()
{
	what=$1
	shift
	"$run" "$@" >"$out" 2>"$err" || not_ok "$what" "$err" "$log"
}

# python NAME SCRIPT ARGUMENT...: ok when the script ends well
python()
{
	name=$1
	script=$2
	shift 2
	check "$name" python3 -c "$script" "$@"
}

# What a step saw is what the reference holds and the step's own token; from
# the weights the step paid, the reference tells what leaves next.
reference='
import ctypes, sys
import replay_reference, views

class Head(replay_reference.Head):
    def count(self, position, weights):
        pass

path, policy, sinks, recent, *budgets = sys.argv[1:]
budgets = [int(b) for b in budgets]
heads = {}
for view in views.read(path):
    head = heads.setdefault((view.layer, view.head), Head(
        policy, budgets[view.layer], int(sinks), int(recent)))
    want = [token.position for token in head.tokens] + [view.step]
    if list(view.tokens) != want:
        sys.exit("step %d, layer %d, head %d: %s is held, not %s" % (
            view.step, view.layer, view.head, list(view.tokens), want))
    for weights in view.weights:
        if abs(sum(weights) - 1) > 1e-4:
            sys.exit("step %d: weights add up to %g" % (view.step,
                                                        sum(weights)))
    paid = [ctypes.c_float(sum(w)).value / len(w) for w in zip(*view.weights)]
    head.step(view.step, dict(zip(view.tokens, paid)))
if len(heads) != 10 or view.step != 299 or not view.values:
    sys.exit("%d heads, %d steps" % (len(heads), view.step))
for (layer, _), head in heads.items():
    if len(head.tokens) != budgets[layer]:
        sys.exit("layer %d ends with %d rows, not %d" % (
            layer, len(head.tokens), budgets[layer]))
'

# follows POLICY RECENT BUDGET...: five budgets, of the five layers
follows()
{
	policy=$1
	recent=$2
	shift 2
	printf '%s\n' "$@" >"$dir/budgets"
	go "views of $policy" --text "$dir/text" --tokens 300 --lockstep \
		--policy "$policy" --budget-profile "$dir/budgets" --sinks 3 \
		--recent "$recent" --views "$dir/views"
	python "lockstep follows the reference: $policy, budgets $*" \
		"$reference" "$dir/views" "$policy" 3 "$recent" "$@"
}

test_lockstep_follows_the_reference()
{
	for policy in treekv treekv-left treekv-skip streaming h2o tova; do
		follows $policy 9 40 17 80 13 64
	done
	follows treekv 20 48 48 48 48 48
}

test_views_of_some_steps()
{
	go "views of every 64th step" --text "$dir/text" --tokens 300 \
		--policy h2o --budget 32 --views "$dir/some" --views-every 64
	python "every 64th step is there, and the last" '
import sys, views
steps = {v.step for v in views.read(sys.argv[1])}
sys.exit(steps != {63, 127, 191, 255, 299})' "$dir/some"
	go "views of a full cache" --text "$dir/text" --tokens 50 --policy full \
		--views "$dir/full" --record "$dir/trace" --local
	python "the weights are those of the trace" '
import array, struct, sys, views
trace = open(sys.argv[2], "rb").read()[20:]
at = 0
for view in views.read(sys.argv[1]):
    row = struct.unpack_from("<%df" % len(view.tokens), trace, at)
    at += 4 * len(row)
    for i, w in enumerate(zip(*view.weights)):
        if abs(sum(w) / len(w) - row[i]) > 1e-7:
            sys.exit("step %d: %r, not %r" % (view.step, w, row[i]))
sys.exit(at != len(trace))' "$dir/full" "$dir/trace"
	go "views of narrow rows" --text "$dir/text" --tokens 50 --policy full \
		--views "$dir/narrow" --views-every 100 --dtype bf16 --local
	python "the values are the rows, in their type" '
import array, sys, views
def values(path):
    return [row for v in views.read(path) if v.values and v.layer == 0
            for row in v.values]
for wide, narrow in zip(*map(values, sys.argv[1:])):
    for w, n in zip(wide, array.array("H", narrow)):
        n = array.array("f", (n << 16).to_bytes(4, "little"))[0]
        if abs(w - n) > abs(w) / 256:
            sys.exit("%g, not %g" % (n, w))' "$dir/full" "$dir/narrow"
}

test_scores_are_those_of_the_sum()
{
	go "scores" --text "$dir/text" --tokens 300 --perplexity --json \
		--budget 64 --nll "$dir/nll"
	python "the scores of all tokens but the first" '
import json, math, sys
nll = [float(line) for line in open(sys.argv[1])]
run = json.load(open(sys.argv[2]))
sys.exit(len(nll) != 299 or min(nll) <= 0 or
         abs(math.fsum(nll) / len(nll) - run["nll"]) > 1e-7)' \
		"$dir/nll" "$out"
	go "a cache that has read 200 tokens" --text "$dir/text" --tokens 200 \
		--cache half --lockstep --budget 64
	go "and goes on" --text "$dir/text" --tokens 300 --cache half \
		--lockstep --perplexity --nll "$dir/second"
	go "and one that reads all" --text "$dir/text" --tokens 300 \
		--lockstep --budget 64 --perplexity --nll "$dir/nll"
	tail -n 99 "$dir/nll" >"$dir/expected"
	check "the scores of a second part are those of the whole" \
		cmp "$dir/expected" "$dir/second"
}

test_ids_are_the_texts()
{
	go "ids" --text "$dir/text" --tokens 300 --write-ids "$dir/ids"
	check "--write-ids runs no model" [ ! -s "$out" ]
	go "the text" --text "$dir/text" --tokens 300 --local --perplexity \
		--json
	cp "$out" "$dir/one"
	go "its ids" --ids "$dir/ids" --local --perplexity --json
	python "--ids reads what --write-ids wrote" '
import json, sys
one, two = (json.load(open(path)) for path in sys.argv[1:])
sys.exit(one["logits"] != two["logits"])' "$dir/one" "$out"
}

# refuses NAME STATUS WORDS OPTION...
refuses()
{
	name=$1
	want=$2
	words=$3
	shift 3
	"$run" "$@" >"$out" 2>"$err"
	status=$?
	if [ $status -eq "$want" ] && grep -qF -- "$words" "$err"; then
		ok "$name is refused"
	else
		not_ok "$name is refused" "$err"
		echo "# exit status $status, not $want; lacks: $words"
	fi
}

test_refusals()
{
	refuses "--nll without a score" 2 "--nll needs --perplexity" \
		--prompt x --nll "$dir/x"
	refuses "--views of what is written" 2 "leave out --generate" \
		--prompt x --generate 5 --views "$dir/x"
	refuses "--views of a cache that goes on" 2 "leave out --cache" \
		--prompt x --cache x --views "$dir/x"
	refuses "--views-every of nothing" 2 "--views-every needs --views" \
		--prompt x --views-every 5
	refuses "--write-ids and a model" 2 "runs no model" \
		--prompt x --write-ids "$dir/x" --perplexity
	refuses "--write-ids of nothing" 2 "--write-ids needs" \
		--generate 5 --write-ids "$dir/x"
	ln -s ids "$dir/link"
	for option in nll views write-ids; do
		score=
		[ $option = nll ] && score=--perplexity
		# shellcheck disable=SC2086 # an option or none
		refuses "--$option on a link" 1 "only a regular file" \
			--prompt x --local $score --$option "$dir/link"
		# shellcheck disable=SC2086
		refuses "--$option where nothing can be" 1 "cannot create it" \
			--prompt x --local $score --$option "$dir/no/where"
	done
	check "the link is as it was" [ "$(readlink "$dir/link")" = ids ]
	printf '40\n40\n40\n40 50\n40\n' >"$dir/bad"
	refuses "a budget file with an error" 1 \
		"$dir/bad, line 4: '40 50' is not a number from 1 to 16777216" \
		--prompt x --local --budget-profile "$dir/bad"
	refuses "a budget file and a budget" 2 "leave out --budget" \
		--prompt x --local --budget-profile "$dir/bad" --budget 5
	refuses "budgets of full" 2 "full keeps everything" --prompt x \
		--budget-profile pyramid --policy full
}


# A run that is stopped leaves what an earlier one wrote.
test_a_stopped_run_replaces_nothing()
{
	for _ in 1 2 3 4 5 6 7 8; do
		cat "$dir/text" "$dir/text" >"$dir/twice"
		mv "$dir/twice" "$dir/text"
	done
	echo earlier >"$dir/views"
	cp "$dir/views" "$dir/nll"
	"$run" --text "$dir/text" --budget 32 --perplexity --slack 1 \
		--timeout 600000 --views "$dir/views" --nll "$dir/nll" \
		--policy h2o >"$out" 2>"$err" &
	children=$!
	if wait_for sh -c "ls '$dir'/views.* && [ -s '$dir'/views.* ]"; then
		kill -TERM $children
		wait $children
		status=$?
	fi
	children=
	check "a run is stopped" [ "$status" -eq 143 ]
	check "the views of an earlier one stay" \
		[ "$(cat "$dir/views")" = earlier ]
	check "so do its scores" [ "$(cat "$dir/nll")" = earlier ]
	check "nothing else is left" \
		[ "$(find "$dir" -name 'views.*' -o -name 'nll.*' | wc -l)" = 0 ]
}

# shellcheck disable=SC2119 # no options
start_daemon
if ! "$run" --local --prompt "It was" --generate 500 --seed 11 \
	>"$dir/text" 2>"$err"; then
	not_ok "there is a text to read" "$err"
	exit 1
fi
test_lockstep_follows_the_reference
test_views_of_some_steps
test_scores_are_those_of_the_sum
test_ids_are_the_texts
test_refusals
test_a_stopped_run_replaces_nothing
exit $failed
