#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Frozen caches: nobody writes them, whoever still could; they are what they
# were over the daemon's death, snapshots and restarts.
#
# Usage: test_freeze.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

writer=$helpers/kvwriter

kill_daemon()
{
	kill -KILL "$("$treekvctl" status --json | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])')"
	wait_for "$treekvctl" status
}

# is_frozen NAME TOKENS [OPTION]...: a reader finds it whole, it says that it is
# frozen, nobody writes it
# shellcheck disable=SC2317 # called by check
is_frozen()
{
	name=$1 tokens=$2
	shift 2
	"$writer" --cache "$name" --read --steps "$tokens" "$@" &&
		[ "$(field "$name" state)" = frozen ] &&
		[ "$(field "$name" tail)" = "$tokens" ] &&
		! "$writer" --cache "$name" --any --steps 1 2>"$dir/err" &&
		grep -q "cache $name is frozen: nobody writes it any more" \
			"$dir/err"
}

test_freezing()
{
	"$writer" --cache one --steps 500 --freeze >"$dir/out" 2>"$dir/err"
	says "a writer freezes his cache" "$dir/out" "frozen"
	check "nobody writes it any more" is_frozen one 500
	check "once more is no error" "$treekvctl" freeze one
	"$writer" --cache two --steps 300 >/dev/null
	"$treekvctl" freeze two --json >"$dir/out" 2>"$dir/err"
	says "treekvctl freezes" "$dir/out" '"frozen": "two"'
	check "and so is that one" is_frozen two 300
	"$writer" --cache full --steps 60 --policy full --freeze >/dev/null
	check "a full cache" is_frozen full 60 --policy full
	"$writer" --cache empty --steps 0 --freeze >/dev/null
	check "an empty one" is_frozen empty 0
}

test_refusals()
{
	"$treekvctl" freeze nothing 2>"$dir/err"
	says "there is none" "$dir/err" "there is no cache nothing"
	"$writer" --cache held --steps 10 --hold <"$dir/fifo" >"$dir/held" &
	children=$!
	exec 9>"$dir/fifo"
	wait_for_line "$dir/held" "holding 10"
	"$treekvctl" freeze held 2>"$dir/err"
	says "a process is writing it" "$dir/err" \
		"cache held is not frozen: a process is writing it"
	exec 9>&-
	wait $children
	children=
	"$writer" --cache short --steps 10 --ephemeral --freeze >"$dir/out" \
		2>"$dir/err"
	says "it is ephemeral" "$dir/err" \
		"cache short is not frozen: it is ephemeral"
	check "and gone" [ -z "$(field short state)" ]
	"$writer" --local --steps 10 --freeze >"$dir/out" 2>"$dir/err"
	says "there is no daemon" "$dir/err" "there is no daemon that keeps it"
}

test_a_mapping_that_was_kept()
{
	"$writer" --cache kept --steps 400 --freeze --keep-mapping \
		>"$dir/out" 2>"$dir/err"
	says "somebody has kept a mapping" "$dir/out" "frozen"
	says "the cache has got other rows" "$log" 'event="rows copied" name=kept'
	check "which he has not scribbled on" is_frozen kept 400
	kill_daemon
	check "nor does the next daemon have the old ones" is_frozen kept 400
}

test_the_daemon_dies()
{
	kill_daemon
	check "frozen for the next daemon" is_frozen one 500
	check "and again" is_frozen full 60 --policy full
	check "nothing was lost" \
		sh -c "! grep -q 'event=\"cache damaged\|quarantined\"' '$log'"
}

test_snapshots()
{
	"$treekvctl" snapshot two >/dev/null
	"$treekvctl" drop --keep-snapshot two >/dev/null
	"$treekvctl" restore two >/dev/null
	check "restored, it is frozen" is_frozen two 300
	"$writer" --cache late --steps 200 >/dev/null
	"$treekvctl" snapshot late >/dev/null
	"$treekvctl" freeze late >/dev/null
	stop_daemon
	start_daemon --keeper
	check "an orderly stop has seen that it was frozen since" \
		is_frozen late 200
	check "all of them" is_frozen kept 400
}

test_drop()
{
	"$treekvctl" drop one >/dev/null
	check "a frozen cache is dropped like any other" \
		[ -z "$(field one state)" ]
	check "its name is free" "$writer" --cache one --steps 5
}

mkfifo "$dir/fifo"
start_daemon --keeper
test_freezing
test_refusals
test_a_mapping_that_was_kept
test_the_daemon_dies
test_snapshots
test_drop
stop_daemon
check "the daemon ends in good order" [ "$status" = 0 ]
exit $failed
