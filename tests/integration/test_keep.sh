#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What stays in memory, what leaves it by time, and what may be dropped to make
# room, which is nothing unless the configuration says so.
#
# Usage: test_keep.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "what stays in memory"
snapshots=$dir/state/snapshots/$(id -u)
room=240K # five caches of 44 KiB

writer()
{
	"$helpers/kvwriter" "$@"
}

verify()
{
	writer --cache "$1" --attach --verify-only
}

metric()
{
	"$treekvctl" status --json | python3 -c '
import json, sys
print(json.load(sys.stdin)["metrics"][sys.argv[1]])' "$1"
}

# counts NAME N
counts()
{
	[ "$(metric "$1")" -eq "$2" ]
}

refuses()
{
	! "$@"
}

is()
{
	[ "$(field "$1" state)" = "$2" ]
}

# fill FROM TO
fill()
{
	for i in $(seq "$1" "$2"); do
		writer --cache "c$i" --steps 300 >>"$dir/out" 2>&1 || return 1
	done
}

restart()
{
	stop_daemon
	rm -rf "$dir/state"
	start_daemon "$@"
}

test_pin()
{
	start_daemon --pool $room
	fill 1 2
	check "pin" "$treekvctl" pin c1
	check "and the other" "$treekvctl" pin c2 --json
	fill 3 12
	check "what is pinned stays in memory" is c1 idle
	check "as does the other" is c2 idle
	check "others have gone" is c3 parked
	"$treekvctl" park c1 2>"$dir/why"
	says "not by request, either" "$dir/why" "is pinned"
	"$treekvctl" inspect c1 >"$dir/inspect"
	says "inspect says so" "$dir/inspect" "stays in memory"
	stop_daemon
	start_daemon --pool $room
	check "over a stop it is on disk" verify c1
	check "and pinned again" [ "$(field c1 pinned)" = True ]
	check "unpin" "$treekvctl" unpin c1
	fill 20 30
	check "then it goes" is c1 parked
	verify c1 >/dev/null
	check "and has not come back pinned" [ "$(field c1 pinned)" = False ]
	"$treekvctl" pin none-such 2>"$dir/why"
	says "there must be one" "$dir/why" "there is no cache none-such"
}

test_classes()
{
	restart --pool $room --reclaim-named never
	fill 1 5
	refuses fill 6 6
	check "nothing is parked whose class stays" \
		[ "$(metric parks_total)" -eq 0 ]
	says "and the refusal comes before loss" "$dir/out" \
		"no idle cache is left"
	check "all are there" verify c1
	restart --pool $room --reclaim-named never --reclaim-anonymous drop
	writer --steps 50 >/dev/null
	writer --steps 50 >/dev/null
	fill 1 5
	check "anonymous ones are dropped for it where so configured" \
		[ "$(metric reclaims_total)" -eq 2 ]
	check "and only they" verify c1
	restart --pool $room --reclaim-named drop --high-water 100
	fill 1 5
	"$treekvctl" snapshot c1 >/dev/null
	"$treekvctl" pin c2 >/dev/null
	fill 6 7
	check "the oldest is dropped" [ -z "$(field c1 state)" ]
	check "with its snapshot" refuses test -e "$snapshots/c1.tkv"
	check "what is pinned is not" verify c2
	"$treekvctl" events >"$dir/events"
	says "events tell of it" "$dir/events" " reclaim "
	check "the log, too" grep -q 'event="cache reclaimed" name=c1' "$log"
}

test_ttl()
{
	restart
	writer --cache short --steps 50 --ttl 1 >/dev/null
	writer --cache long --steps 50 --ttl 86400 >/dev/null
	check "when its time is over it is parked" wait_for is short parked
	check "others are not" is long idle
	check "it comes back" verify short
	check "and goes again" wait_for is short parked
	check "a limit for one that is there" "$treekvctl" ttl 1s long
	check "which goes, too" wait_for is long parked
	verify long >/dev/null
	check "none" "$treekvctl" ttl none long
	check "is none" [ "$(field long ttl)" = None ]
	"$treekvctl" ttl 2h long >/dev/null
	check "two hours" [ "$(field long ttl)" -eq 7200 ]
	"$treekvctl" ttl 2x long 2>"$dir/why"
	check "what is no time is refused" test $? -eq 2
	"$treekvctl" ttl 2h >"$dir/why" 2>&1
	check "as is half a command" test $? -eq 2
	writer --cache kept --steps 50 >/dev/null
	"$treekvctl" pin kept >/dev/null
	"$treekvctl" ttl 1s kept >/dev/null
	writer --cache last --steps 50 --ttl 1 >/dev/null
	check "a later one goes" wait_for is last parked
	check "what is pinned does not" is kept idle
	check "nor who is within his time" is long idle
}

# Its time is over while it has a fork, and nothing else happens afterwards.
test_ttl_parent()
{
	restart
	writer --cache parent --steps 30 --ttl 1 --freeze >/dev/null
	writer --cache child --fork parent --pinned 30 --steps 10 >/dev/null
	writer --cache short --steps 50 --ttl 2 >/dev/null
	check "others go meanwhile" wait_for is short parked
	check "a parent does not leave its fork" is parent frozen
	"$treekvctl" drop child >/dev/null
	check "but follows it" wait_for is parent parked
}

is_gone()
{
	[ -z "$(field "$1" state)" ]
}

test_ttl_drop()
{
	restart --reclaim-named drop
	writer --cache short --steps 50 --ttl 1 >/dev/null
	check "it is dropped only where so configured" wait_for is_gone short
	restart --reclaim-named never
	writer --cache short --steps 50 --ttl 1 >/dev/null
	writer --cache other --steps 50 --ttl 1 >/dev/null
	check "and stays where nothing may be done to it" verify short
}

failures()
{
	[ "$(metric park_failures_total)" -ge "$1" ]
}

# An anonymous one, which needs no disk to go, tells that a second has passed.
test_ttl_disk_full()
{
	if [ "$(id -u)" -ne 0 ] || ! mkdir "$dir/disk" ||
		! mount -t tmpfs -o size=16k tmpfs "$dir/disk" 2>/dev/null; then
		skip "a full disk: needs root, to mount one"
		return
	fi
	trap 'stop_daemon; umount "$dir/disk"; clean_up' EXIT
	restart --state-dir "$dir/disk" --reclaim-anonymous drop
	writer --cache short --steps 50 --ttl 1 >/dev/null
	check "with no room on disk it stays" wait_for failures 1
	check "in memory" is short idle
	writer --steps 50 --ttl 1 >/dev/null
	check "others go" wait_for counts reclaims_total 1
	check "and it is not written again and again" \
		[ "$(metric park_failures_total)" -le 3 ]
}

test_pin
test_classes
test_ttl
test_ttl_parent
test_ttl_drop
test_ttl_disk_full
exit $failed
