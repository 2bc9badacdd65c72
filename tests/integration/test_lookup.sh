#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Frozen caches found by what a prompt begins with. The search itself is
# tests/unit/test_prefix.c's.
#
# Usage: test_lookup.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

writer=$helpers/kvwriter
shape="--budget 200 --ids 2000"

# finds WHAT WORDS OPTION...
finds()
{
	what=$1 words=$2
	shift 2
	# shellcheck disable=SC2086 # a list of words, here and below
	"$writer" $shape "$@" >"$dir/out" 2>"$dir/err"
	says "$what" "$dir/out" "found $words"
}

test_exact_ones()
{
	finds "nothing is frozen yet" nothing --lookup 100
	# shellcheck disable=SC2086
	"$writer" $shape --cache live --steps 150 >/dev/null
	finds "a live cache is not found" nothing --lookup 150
	for tail in 40 100 175; do
		# shellcheck disable=SC2086
		"$writer" $shape --cache e$tail --steps $tail --freeze \
			>/dev/null
	done
	finds "the longest that is all in the prompt" \
		"e100 tokens 100 tail 100 compacted 0" --lookup 105
	finds "or a longer one's first blocks" \
		"e175 tokens 112 tail 175 compacted 0" --lookup 115
	finds "a prompt that goes further" \
		"e175 tokens 175 tail 175 compacted 0" --lookup 1000
	finds "one that is all of a cache, and no more" \
		"e40 tokens 40 tail 40 compacted 0" --lookup 40
	finds "one that diverges" "e175 tokens 160 tail 175" \
		--lookup 175 --diverge 170
	finds "early" "e100 tokens 100 tail 100" --lookup 300 --diverge 105
	finds "in the first block" nothing --lookup 175 --diverge 7
}

test_fingerprints()
{
	finds "another seed's ids" nothing --lookup 175 --seed 2
	finds "another model" nothing --lookup 175 --model other
	finds "another shape" nothing --lookup 175 --heads 1
	finds "another dtype" nothing --lookup 175 --dtype 2
	finds "other positions" nothing --lookup 175 --positions 2
	finds "another policy and budget have the same rows" \
		"e175 tokens 175" --lookup 175 --policy h2o --budget 999
}

test_compacted_ones()
{
	# shellcheck disable=SC2086
	"$writer" $shape --cache c500 --steps 500 --freeze >/dev/null
	finds "a compacted cache is not found" "e175 tokens 175" --lookup 600
	finds "unless it is asked for" \
		"c500 tokens 500 tail 500 compacted 1" --lookup 600 --compacted
	finds "and only whole" "e175 tokens 175 tail 175 compacted 0" \
		--lookup 499 --compacted
	finds "and by its very fingerprint" "e175 tokens 175" --lookup 600 \
		--compacted --budget 199
	finds "policy included" "e175 tokens 175" --lookup 600 --compacted \
		--policy tova
	# shellcheck disable=SC2086
	"$writer" $shape --cache noids --steps 190 --ids 180 --freeze >/dev/null
	finds "one that has not kept all ids is not found" "e175 tokens 175" \
		--lookup 190
}

test_forks()
{
	# shellcheck disable=SC2086
	"$writer" $shape --fork-prefix 115 --cache child --pinned 112 \
		--scores-from 112 --budget 250 --steps 500 \
		>"$dir/out" 2>"$dir/err"
	says "a fork in the same round trip" "$dir/out" \
		"found e175 tokens 112 tail 175 compacted 0"
	says "goes on behind what it was given" "$dir/out" "tail 612 "
	# shellcheck disable=SC2086
	"$writer" $shape --fork-prefix 600 --compacted --evict-prefix \
		--cache second --steps 100 >"$dir/out" 2>"$dir/err"
	says "of a compacted one" "$dir/out" \
		"found c500 tokens 500 tail 500 compacted 1"
	says "as well" "$dir/out" "tail 600 "
	# shellcheck disable=SC2086
	"$writer" $shape --fork-prefix 100 --diverge 3 --cache third \
		>"$dir/out" 2>"$dir/err"
	says "and of nothing" "$dir/err" \
		"no frozen cache begins as these 100 tokens do"
}

test_they_come_and_go()
{
	"$treekvctl" drop e175 >/dev/null
	finds "what was dropped is not found" "e100 tokens 100" --lookup 175
	kill -KILL "$("$treekvctl" status --json | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])')"
	wait_for "$treekvctl" status
	finds "the next daemon knows them all" "e100 tokens 100" --lookup 175
	finds "the compacted, too" "c500 tokens 500" --lookup 600 --compacted
	finds "but not what was dropped and has a fork" "e100 tokens 100" \
		--lookup 112
	"$treekvctl" snapshot e100 >/dev/null
	"$treekvctl" drop --keep-snapshot e100 >/dev/null
	finds "what is on disk only is not found" "e40 tokens 40" --lookup 175
	"$treekvctl" restore e100 >/dev/null
	finds "until it is restored" "e100 tokens 100" --lookup 175
}

test_other_users()
{
	if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
		skip "another user's prefixes: not root, or no setpriv"
		return
	fi
	mkdir "$dir/bin"
	cp "$writer" "$dir/bin"
	chmod 755 "$dir" "$dir/bin"
	nobody="setpriv --reuid=65534 --regid=0 --clear-groups $dir/bin/kvwriter"
	$nobody $shape --lookup 175 >"$dir/out" 2>"$dir/err"
	says "another user's prefixes are not found" "$dir/out" "found nothing"
	$nobody $shape --cache his --steps 150 --freeze >/dev/null
	$nobody $shape --lookup 175 >"$dir/out" 2>"$dir/err"
	says "his own are" "$dir/out" "found his tokens 150"
	finds "nor his by others" "e100 tokens 100" --lookup 175
}

start_daemon --keeper --snapshot-on-stop no --log-level warning
test_exact_ones
test_fingerprints
test_compacted_ones
test_forks
test_they_come_and_go
test_other_users
stop_daemon
check "the daemon ends in good order" [ "$status" = 0 ]
exit $failed
