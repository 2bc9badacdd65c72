#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Parked caches of several users: on disk a cache is as much its owner's as in
# memory, counts as his, and nobody makes room at the expense of what another has
# pinned.
#
# Usage: test_tenants_park.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/users.sh
. "$(dirname "$0")/users.sh"

metric()
{
	"$treekvctl" status --json | python3 -B -c '
import json, sys
print(json.load(sys.stdin)["metrics"][sys.argv[1]])' "$1"
}

start()
{
	start_daemon "$@"
	chmod 666 "$TREEKV_SOCKET"
}

# park NAME: of alice's
park()
{
	ctl $alice park "$1"
	says "she parks $1" "$dir/out" "parked $1"
}

test_hidden()
{
	writer $alice --cache ledger --steps 100
	writer $alice --cache "@$team/ledger" --steps 50
	park ledger
	park "@$team/ledger"
	check "it is on disk" [ "$(of $alice ledger state)" = parked ]
	same_answer "~$alice"
	same_answer "@$team"
	check "nobody has brought one back" [ "$(metric caches_parked)" = 2 ]
	ctl $carol list --json
	check "others see neither" grep -qx '\[\]' "$dir/out"
	check "of the group, one sees that one" \
		[ "$(of $bob "@$team/ledger" state)" = parked ]
}

test_rights()
{
	for what in park pin unpin "ttl 1h"; do
		# shellcheck disable=SC2086 # several words
		refuses "$what is its owner's" "you may not manage cache" \
			ctl $bob $what "@$team/ledger"
	done
	refuses "nothing is kept in memory that is not there" \
		"is on disk: 'treekvctl restore' it first" \
		ctl $alice pin "@$team/ledger"
	writer $bob --cache "@$team/ledger" --attach --steps 5
	says "it comes back for who may write it" "$dir/out" "tail 55 "
	check "and is still hers" \
		[ "$(of $bob "@$team/ledger" uid)" = $alice ]
	refuses "who writes it does not own it" "you may not manage cache" \
		ctl $bob park "@$team/ledger"
	ctl 0 park "@$team/ledger"
	says "root may park it" "$dir/out" "parked"
}

test_modes()
{
	ctl $alice chmod 0604 ledger
	says "a mode is changed where it lies" "$dir/out" "is 0604"
	refuses "who may read may not write" "you may not write cache" \
		writer $carol --cache "~$alice/ledger" --attach
	check "which does not bring it back" \
		[ "$(of $alice ledger state)" = parked ]
	writer $alice --cache ledger --attach --steps 1
	says "its owner attaches" "$dir/out" "tail 101 "
	check "it has that mode" [ "$(of $alice ledger mode)" = 0604 ]
	ctl $alice snapshot ledger
	ctl $alice chmod 0600 ledger
	park ledger
	refuses "what is parked next is parked with its last mode" \
		"there is no cache ~$alice/ledger" \
		writer $carol --cache "~$alice/ledger" --attach
}

test_quota()
{
	used=$(figure $alice bytes used)
	check "what is parked takes no memory" [ "$used" = 0 ]
	check "and counts as a cache" [ "$(figure $alice caches used)" = 1 ]
	ctl 0 quota $alice caches=2
	writer $alice --cache second --steps 1
	refuses "also where a third is made" \
		"user $alice is at the limit: 2 of 2 caches are used" \
		writer $alice --cache third --steps 1
	writer $alice --cache ledger --attach --steps 1
	says "it comes back all the same" "$dir/out" "tail 102 "
	check "and is counted once" [ "$(figure $alice caches used)" = 2 ]
	bytes=$(figure $alice bytes used)
	park second
	ctl 0 quota $alice "bytes=$((bytes * 3 / 4))"
	refuses "where there is no memory for it, it stays on disk" \
		"user $alice is at the limit: $((bytes / 2)) of $((bytes * 3 / 4)) bytes are used" \
		writer $alice --cache second --attach --steps 1
	stop_daemon
	start --quota-caches 2
	check "a new daemon counts what it finds" \
		[ "$(figure $alice caches used)" = 2 ]
	refuses "as one's own" "2 of 2 caches are used" \
		writer $alice --cache third --steps 1
	ctl $alice drop second
	check "a file that is dropped does not count" \
		[ "$(figure $alice caches used)" = 1 ]
	ctl $alice drop ledger
	ctl $alice drop "@$team/ledger"
	check "and nothing is left" [ -z "$(figure $alice caches used)" ]
	stop_daemon
}

# A small cache takes 44 KiB; there is room for five.
test_room()
{
	start --pool 240K --high-water 100
	writer $alice --cache pinned --steps 200
	ctl $alice pin pinned
	writer $alice --cache idle --steps 200
	ctl 0 quota $bob caches=4
	for i in 1 2 3 4; do
		writer $bob --cache "b$i" --steps 10 ||
			not_ok "bob's $i" "$dir/err"
	done
	check "room is made for who may have it" [ "$(metric parks_total)" = 1 ]
	refuses "who may not is refused" "4 of 4 caches are used" \
		writer $bob --cache b5 --steps 10
	check "before anything is parked for him" \
		[ "$(metric parks_total)" = 1 ]
	ctl 0 quota $bob caches=none
	for i in 5 6 7 8 9; do
		writer $bob --cache "b$i" --steps 10 ||
			not_ok "bob's $i" "$dir/err"
	done
	check "what is pinned stays, whoever wants room" \
		[ "$(of $alice pinned state)" = idle ]
	check "what is not goes" [ "$(of $alice idle state)" = parked ]
	writer $alice --cache idle --attach --verify-only
	says "and comes back to its owner as it was" "$dir/out" "tail 200 "
	writer $bob --cache "~$alice/idle" --attach
	says "but to nobody else" "$dir/err" "there is no cache ~$alice/idle"
	stop_daemon
}

# When the writers of a cache change, its rows are copied: that takes memory of
# its own for a moment, as much as a cache.
test_copies()
{
	start --pool 240K --high-water 100
	writer $alice --cache "@$team/desk" --steps 100
	for i in 1 2 3 4; do
		writer $alice --cache "a$i" --steps 10
		ctl $alice pin "a$i"
	done
	refuses "where nobody can be parked there is no copy" \
		"no idle cache is left that can be parked" \
		writer $bob --cache "@$team/desk" --attach --steps 1
	check "and nobody was" [ "$(metric parks_total)" = 0 ]
	ctl $alice unpin a3
	writer $bob --cache "@$team/desk" --attach --steps 1
	says "a copy for another writer makes room" "$dir/out" "tail 101 "
	check "by parking who is idle" [ "$(of $alice a3 state)" = parked ]
	check "which is not the cache itself" \
		[ "$(metric restores_total)" = 0 ]
	writer $alice --cache a5 --steps 10
	ctl $alice unpin a1
	writer $alice --cache "@$team/desk" --steps 1
	says "also for who would make it if it were not there" "$dir/out" \
		"tail 102 "
	check "one goes each time" [ "$(metric parks_total)" = 2 ]
	writer $alice --cache a6 --steps 10
	"$helpers/kvwriter" --cache held --steps 100 --hold >"$dir/held" \
		<"$dir/hold" 2>"$dir/held.err" &
	children=$!
	exec 7>"$dir/hold"
	wait_for_line "$dir/held" "holding 100"
	kill -STOP $children
	before=$(metric parks_total)
	ctl 0 lease break held
	says "a lease is broken" "$dir/out" "held is free"
	check "with room that is made for the copy" \
		[ "$(metric parks_total)" = $((before + 1)) ]
	kill -KILL $children
	wait $children
	children=
	exec 7>&-
	stop_daemon
}

mkdir "$dir/bin"
mkfifo "$dir/hold"
cp "$helpers/kvwriter" "$treekvctl" "$dir/bin"
chmod 755 "$dir" "$dir/bin"
start
test_hidden
test_rights
test_modes
test_quota
test_room
test_copies
exit $failed
