#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A lease is broken: the stopped holder's cache goes to a successor, who writes
# what the holder would have; the holder's next step says that he has lost it,
# and what he writes afterwards reaches nobody. Under a keeper also over the
# daemon's death.
#
# Usage: test_lease.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

run=$O/bin/treekv-run
need python3 "lease break"
on="--prompt Once --budget 64 --seed 5 --lockstep"

# shellcheck disable=SC2317 # called by wait_for
has_written()
{
	[ "$(wc -c <"$1")" -ge "$2" ]
}

# holder CACHE SIGNAL: a process that writes it, sent a signal in mid-sentence
holder()
{
	: >"$dir/first"
	# shellcheck disable=SC2086 # a list of words, here and below
	"$run" $on --cache "$1" --generate 1000000 >"$dir/first" \
		2>"$dir/first.err" &
	children=$!
	wait_for has_written "$dir/first" 200
	[ -z "$2" ] || kill "-$2" $children
}

# successor CACHE: goes on from where it stands, however far its holder got; it
# must be what a process that nobody disturbed has written from there on
# shellcheck disable=SC2317 # called by check
successor()
{
	tokens=$(($(field "$1" tail) + 500))
	# shellcheck disable=SC2086
	"$run" $on --cache "$1" --generate $tokens --json >"$dir/second" \
		2>"$dir/err"
	# shellcheck disable=SC2086
	"$run" $on --local --generate $tokens --json >"$dir/whole" \
		2>"$dir/err"
	python3 - "$dir" <<'PYTHON'
import json, sys
d = sys.argv[1]
whole = json.load(open(d + "/whole"))["text"].encode()
second = json.load(open(d + "/second"))
text = second["text"].encode()
print("resumed", second["resumed"], "at", second["text_at"], "of", len(whole))
print(text.decode(errors="replace"))
sys.exit(not second["resumed"] or not text or
         not whole[second["text_at"]:].startswith(text))
PYTHON
}

holder_ends()
{
	kill -CONT $children 2>/dev/null
	wait $children
	children=
	says "the holder learns that he has lost it" "$dir/first.err" \
		"the lease of cache $1"
}

test_a_stopped_holder_loses_his_cache()
{
	holder stopped STOP
	check "the lease of a stopped holder is broken" \
		"$treekvctl" lease break stopped
	check "a successor writes what he would have" successor stopped
	holder_ends stopped
	check "what he did then has reached nobody" successor stopped
}

test_a_running_holder_loses_his_cache()
{
	holder running ""
	check "the lease of a running holder is broken" \
		"$treekvctl" lease break running
	check "a successor writes what he would have, too" successor running
	holder_ends running
}

test_refusals()
{
	"$treekvctl" lease break nothing 2>"$dir/err"
	says "there is no such cache" "$dir/err" "there is no cache nothing"
	"$treekvctl" lease break whole 2>"$dir/err"
	says "nobody holds it" "$dir/err" "nobody holds it"
}

test_the_copy_survives_the_daemon()
{
	stop_daemon
	start_daemon --keeper
	holder kept STOP
	check "a lease is broken under a keeper" "$treekvctl" lease break kept
	kill -KILL "$("$treekvctl" status --json | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])')"
	wait_for "$treekvctl" status
	check "the copy survives the daemon" successor kept
	holder_ends kept
}

# The pool of the next daemon may be smaller than what it adopts.
test_a_pool_that_is_too_small()
{
	stop_daemon
	: >"$dir/small"
	start_daemon --keeper --config "$dir/small" --snapshot-on-stop no
	holder small STOP
	echo "pool = 64K" >"$dir/small"
	kill -KILL "$("$treekvctl" status --json | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])')"
	wait_for "$treekvctl" status
	"$treekvctl" lease break small >"$dir/err" 2>&1
	says "a pool that is used up has no room for a copy" "$dir/err" \
		"the pool has no room for a copy of its rows"
	kill -KILL $children
	wait $children 2>/dev/null
	children=
}

start_daemon
# shellcheck disable=SC2086
"$run" $on --cache whole --generate 1 >/dev/null 2>"$dir/err"
test_a_stopped_holder_loses_his_cache
test_a_running_holder_loses_his_cache
test_refusals
test_the_copy_survives_the_daemon
test_a_pool_that_is_too_small
exit $failed
