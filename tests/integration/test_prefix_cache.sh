#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# treekv-run --prefix-cache: a prompt is read once, and whoever has it to read
# again computes the same logits, to the bit.
#
# Usage: test_prefix_cache.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

run=$O/bin/treekv-run
need python3 "prefix caches"

# the ids of a prompt, of some length; $2 tells them apart from the 301st on, $3
# from the first
ids()
{
	python3 -c '
import array, sys
n, other, all = (int(a) for a in sys.argv[1:])
array.array("I", [(all + i * 7919 + i * i * 31 + (i >= 300) * other) % 1000 + 3
                  for i in range(n)]).tofile(sys.stdout.buffer)' \
		"$1" "${2:-0}" "${3:-0}"
}

# generates NAME IDS-FILE OPTION...: the JSON object of a run into $dir/NAME
generates()
{
	name=$1 from=$2
	shift 2
	"$run" --ids "$from" --generate 40 --seed 5 --json "$@" \
		>"$dir/$name" 2>"$dir/err"
}

# holds TEXT CONDITION: of the objects plain, cold and warm
holds()
{
	if python3 - "$dir" "$2" 2>"$dir/why" <<'PYTHON'
import json, os, sys
d = sys.argv[1]
names = {n: json.load(open(os.path.join(d, n)))
         for n in ("plain", "cold", "warm")}
assert eval(f"({sys.argv[2]})", {}, names), {n: (o["logits"], o["tokens"],
    o["prefix_tokens"], o["prefix"]) for n, o in names.items()}
PYTHON
	then
		ok "$1"
	else
		not_ok "$1" "$dir/err" "$dir/why"
	fi
}

# thrice WHAT IDS OPTION...: without a prefix cache, with one, and again
thrice()
{
	what=$1 from=$2
	shift 2
	generates plain "$from" "$@"
	generates cold "$from" --prefix-cache "$@"
	generates warm "$from" --prefix-cache "$@"
}

test_full()
{
	thrice full "$dir/long" --policy full
	holds "full: the prompt is not read again" \
		'warm["tokens"] == 40 and warm["prefix_tokens"] == 499'
	holds "full: logits are the same, to the bit" \
		'warm["logits"] == cold["logits"] == plain["logits"]'
	holds "full: and so is the text" \
		'warm["text"] == cold["text"] == plain["text"]'
	holds "full: the rows are the parent's" \
		'warm["bytes"] < plain["bytes"] / 3 < warm["shared_bytes"]'
	holds "full: it begins anew" 'not warm["resumed"]'
	for dtype in f16 bf16; do
		thrice $dtype "$dir/long" --policy full --dtype $dtype
		holds "$dtype: logits are the same" \
			'warm["logits"] == cold["logits"] == plain["logits"]'
	done
}

test_pinned()
{
	thrice pinned "$dir/short" --budget 500 --recent 60
	holds "pinned: it is read once" \
		'warm["prefix_tokens"] == 99 and warm["tokens"] == 40'
	holds "pinned: logits are the same as long as nothing leaves" \
		'warm["logits"] == cold["logits"] == plain["logits"]'
	thrice pinned "$dir/short" --budget 120 --recent 10 --lockstep \
		--by-rank --generate 300
	holds "pinned: and the same again where something does" \
		'warm["logits"] == cold["logits"] and warm["held"] == 120'
}

test_evicted()
{
	for policy in treekv h2o streaming; do
		thrice $policy "$dir/long" --policy $policy --budget 64 \
			--lockstep --by-rank
		holds "$policy: what it kept is shared" \
			'warm["prefix_tokens"] == 499 and warm["tokens"] == 40'
		holds "$policy: logits are those of an unbroken run" \
			'warm["logits"] == cold["logits"] == plain["logits"]'
	done
}

test_another_end()
{
	generates plain "$dir/other" --policy full
	generates cold "$dir/other" --policy full --prefix-cache
	generates warm "$dir/other" --policy full --prefix-cache
	holds "another end: what is the same is not read" \
		'warm["prefix_tokens"] == 288 and
		 warm["tokens"] == 500 + 39 - 288'
	holds "another end: logits are the same" \
		'warm["logits"] == cold["logits"] == plain["logits"]'
}

test_named()
{
	on="--policy full --budget 600 --cache"
	# shellcheck disable=SC2086 # a list of words
	generates cold "$dir/long" --prefix-cache $on story
	# shellcheck disable=SC2086
	generates warm "$dir/long" --prefix-cache $on story --generate 60
	# shellcheck disable=SC2086
	generates plain "$dir/long" $on alone --generate 60
	holds "a named fork goes on as any cache" \
		'warm["resumed"] and warm["tokens"] == 20 and
		 cold["text"] + warm["text"] == plain["text"]'
}

test_cut_short()
{
	"$run" --ids "$dir/huge" --policy full --generate 5 --prefix-cache \
		--json >"$dir/first" 2>"$dir/err" &
	children=$!
	wait_for reads_one
	kill -KILL $children
	wait $children 2>/dev/null
	children=
	generates plain "$dir/huge" --policy full --generate 5
	generates cold "$dir/huge" --policy full --generate 5 --prefix-cache
	generates warm "$dir/huge" --policy full --generate 5 --prefix-cache
	holds "who was killed while he read it is gone on from" \
		'warm["logits"] == cold["logits"] == plain["logits"] and
		 warm["prefix_tokens"] == 3999'
	check "and nothing of his is left" \
		[ "$("$treekvctl" list --json | grep -c '"tail": 3999')" = 1 ]
}

# shellcheck disable=SC2317 # called by wait_for
reads_one()
{
	"$treekvctl" list --json | python3 -c '
import json, sys
sys.exit(not [c for c in json.load(sys.stdin) if c["state"] == "writing" and
              c["budget"] == 3999 and c["tail"] > 10])'
}

test_at_once()
{
	for i in 1 2 3 4 5 6; do
		"$run" --ids "$dir/sixth" --policy full --generate 30 --json \
			--prefix-cache >"$dir/at$i" 2>"$dir/at$i.err" &
		children="$children $!"
	done
	status=0
	for child in $children; do
		wait "$child" || status=1
	done
	children=
	check "six of one prompt at once end well" [ $status = 0 ]
	check "and compute the same" [ "$(grep -oh '"logits": "[^"]*"' \
		"$dir"/at[1-6] | sort -u | wc -l)" = 1 ]
}

test_refusals()
{
	"$run" --prefix-cache --generate 5 2>"$dir/err"
	says "nothing to read" "$dir/err" "--prefix-cache needs --prompt"
	"$run" --prefix-cache --prompt x --generate 5 --local 2>"$dir/err"
	says "no daemon" "$dir/err" "leave out --local"
	"$run" --prefix-cache --prompt x --generate 5 --prefill 2>"$dir/err"
	says "another way to read" "$dir/err" "leave out --prefill"
}

ids 500 >"$dir/long"
ids 500 9 >"$dir/other"
ids 100 0 1 >"$dir/short"
ids 4000 0 2 >"$dir/huge"
ids 700 0 3 >"$dir/sixth"
start_daemon --snapshot-on-stop no --log-level warning
test_full
test_pinned
test_evicted
test_another_end
test_named
test_cut_short
test_at_once
test_refusals
stop_daemon
check "the daemon ends in good order" [ "$status" = 0 ]
exit $failed
