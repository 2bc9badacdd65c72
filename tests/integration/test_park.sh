#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# More caches than memory: idle ones are parked on disk and come back with the
# next attach, row by row what they were; and nothing is given up that is not on
# disk.
#
# Usage: test_park.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name
# shellcheck disable=SC2086 # $large is several words

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "parking"
uid=$(id -u)
snapshots=$dir/state/snapshots/$uid
# 4 MiB; the small ones are 44 KiB
large="--layers 4 --heads 4 --k-row 4096 --v-row 4096 --budget 128 --slack 16"
room=240K # for five

writer()
{
	"$helpers/kvwriter" "$@"
}

verify()
{
	name=$1
	shift
	writer --cache "$name" --attach --verify-only "$@"
}

metric()
{
	"$treekvctl" status --json | python3 -c '
import json, sys
print(json.load(sys.stdin)["metrics"][sys.argv[1]])' "$1"
}

refuses()
{
	! "$@"
}

listed()
{
	"$treekvctl" list --json | python3 -c '
import json, sys
print(len(json.load(sys.stdin)))'
}

# is NAME STATE
is()
{
	[ "$(field "$1" state)" = "$2" ]
}

# fill FROM TO: small caches, one after the other
fill()
{
	for i in $(seq "$1" "$2"); do
		writer --cache "c$i" --steps 300 >>"$dir/out" 2>&1 || return 1
	done
}

# verify_all FROM TO TOKENS
verify_all()
{
	for i in $(seq "$1" "$2"); do
		case $(verify "c$i" 2>&1) in
		"tail $3 "*) ;;
		*) return 1 ;;
		esac
	done
}

within_pool()
{
	[ "$(metric pool_used_bytes)" -le "$(metric pool_limit_bytes)" ]
}

# ---- fifteen caches in the memory of five

test_more_than_memory()
{
	start_daemon --pool $room
	check "fifteen caches where there is room for five" fill 1 15
	check "the pool is kept" within_pool
	check "all are listed" [ "$(listed)" -eq 15 ]
	check "idle ones are parked" [ "$(metric caches_parked)" -ge 10 ]
	check "each comes back as it was" verify_all 1 15 300
	check "and goes on" fill 1 15
	check "what was added comes back, too" verify_all 1 15 600
	check "no parking has failed" [ "$(metric park_failures_total)" -eq 0 ]
	"$treekvctl" events >"$dir/events"
	says "events tell of it" "$dir/events" " park "
	stop_daemon
	check "nothing is lost when it stops" [ "$status" -eq 0 ]
	start_daemon --pool $room
	check "nor over a restart" verify c15
	stop_daemon
	rm -rf "$dir/state"
}

# ---- eight processes at once

# one NUMBER: attaches and writes, cache after cache
one()
{
	at=$1
	for _ in 1 2 3 4 5 6; do
		writer --cache "c$at" --steps 20 || return 1
		at=$(((at + 8) % 24))
	done
}

test_side_by_side()
{
	start_daemon --pool 480K --workers 2
	: >"$dir/failed"
	for i in 0 1 2 3 4 5 6 7; do
		{ one "$i" || echo "$i" >>"$dir/failed"; } \
			>>"$dir/out" 2>>"$dir/failed" &
		children="$children $!"
	done
	wait $children
	children=
	check "eight at once, in 24 caches where ten fit" \
		[ ! -s "$dir/failed" ]
	sed "s,^,# ," "$dir/failed"
	check "each has what both its turns wrote" verify_all 0 23 40
	check "within the pool" within_pool
	stop_daemon
	rm -rf "$dir/state"
}

# ---- who is in use stays

is_saving()
{
	"$treekvctl" list --json | python3 -c '
import json, sys
cache = [c for c in json.load(sys.stdin) if c["name"] == sys.argv[1]][0]
sys.exit(not 0 < cache["snapshot_done"] < cache["snapshot_total"])' "$1"
}

# park_slowly NAME: in the background; it is being written when this returns
park_slowly()
{
	"$treekvctl" park "$1" >"$dir/park" 2>&1 &
	children=$!
	wait_for is_saving "$1"
}

# parked: what became of it
parked()
{
	wait $children
	result=$?
	children=
	return $result
}

test_in_use()
{
	start_daemon --snapshot-rate 1M
	writer --cache busy --steps 150 $large >/dev/null
	park_slowly busy
	check "an attach does not wait for parking" \
		writer --cache busy --attach --steps 5 $large
	check "which then does not take place" refuses parked
	says "and says why" "$dir/park" "cache busy has been used meanwhile"
	check "it is in memory, as it was" verify busy $large
	check "idle" is busy idle
	park_slowly busy
	"$treekvctl" drop busy >/dev/null
	check "a drop ends parking" refuses parked
	check "nothing is left in memory" [ -z "$(field busy state)" ]
	check "nor on disk" refuses test -e "$snapshots/busy.tkv"
	mkfifo "$dir/go"
	"$helpers/kvwriter" --cache held --hold --steps 9 <"$dir/go" \
		>"$dir/held" &
	children=$!
	exec 3>"$dir/go"
	wait_for_line "$dir/held" holding
	"$treekvctl" park held >"$dir/park" 2>&1
	check "who is written to is not parked" test $? -eq 1
	says "for that reason" "$dir/park" "is being written"
	exec 3>&-
	wait $children
	children=
	stop_daemon
	rm -rf "$dir/state" "$dir/go"
}

# ---- by request

test_by_request()
{
	start_daemon --high-water 100
	writer --cache a --steps 300 >/dev/null
	check "park" "$treekvctl" park a
	check "it is parked" is a parked
	check "and out of memory" [ "$(metric pool_used_bytes)" -eq 0 ]
	check "once more is no error" "$treekvctl" park a
	refuses writer --cache a --exclusive --steps 1 2>"$dir/why"
	says "its name is taken" "$dir/why" "on disk"
	check "an attach brings it back" verify a
	check "in memory" is a idle
	check "park again" "$treekvctl" park a --json
	check "without writing what is on disk" \
		[ "$(metric snapshots_total)" -eq 1 ]
	writer --cache a --attach --steps 7 >/dev/null
	check "and once more" "$treekvctl" park a
	check "what has changed is written" [ "$(metric snapshots_total)" -eq 2 ]
	check "all of it" test "$(field a tail)" -eq 307
	"$treekvctl" restore --all >"$dir/out"
	check "restore, too, brings it back" is a idle
	"$treekvctl" park a >/dev/null
	check "a drop of what is parked" "$treekvctl" drop a
	check "leaves nothing" refuses test -e "$snapshots/a.tkv"
	"$treekvctl" park a 2>"$dir/why"
	says "nothing to park" "$dir/why" "there is no cache a"
	"$helpers/kvwriter" --cache short --ephemeral --steps 1000000000 \
		>/dev/null &
	children=$!
	wait_for is short writing
	"$treekvctl" park short 2>"$dir/why"
	check "nor what ends with its lease" test $? -eq 1
	kill -KILL $children
	wait $children 2>/dev/null
	children=
	stop_daemon
	rm -rf "$dir/state"
}

pool_is_empty()
{
	[ "$(metric pool_used_bytes)" -eq 0 ]
}

# ---- frozen caches and their forks

test_frozen()
{
	start_daemon --pool 160K # three
	writer --cache prefix --steps 30 --freeze >/dev/null
	check "a frozen cache is parked" "$treekvctl" park prefix
	check "as such" is prefix parked
	check "a fork brings it back" writer --cache child --fork prefix \
		--pinned 30 --steps 100
	check "frozen" is prefix frozen
	"$treekvctl" park prefix 2>"$dir/why"
	says "with a fork it stays" "$dir/why" "has forks"
	"$treekvctl" park child 2>"$dir/why"
	says "as does the fork" "$dir/why" "is a fork"
	fill 1 6
	check "also when others need room" is prefix frozen
	check "and is whole" writer --cache prefix --read --steps 30
	check "the fork, too" writer --cache child --attach --pinned 30 \
		--steps 10
	"$treekvctl" drop child >/dev/null
	check "without forks it may go" "$treekvctl" park prefix
	check "and comes back for a reader" writer --cache prefix --read \
		--steps 30
	"$treekvctl" park prefix >/dev/null
	printf '\101\102' | dd of="$snapshots/prefix.tkv" bs=1 seek=24576 \
		conv=notrunc 2>/dev/null
	timeout $deadline "$helpers/kvwriter" --cache child --fork prefix \
		--pinned 30 --steps 1 2>"$dir/why"
	check "where the file is damaged, who forks is refused" test $? -eq 3
	says "with the reason" "$dir/why" "prefix.tkv is damaged"
	check "after one try" \
		[ "$(metric restore_failures_total)" -eq 1 ]
	stop_daemon
	rm -rf "$dir/state"
}

# A snapshot that was begun before has an order that is not the last one.
test_frozen_meanwhile()
{
	printf 'snapshot-rate = 1M\n' >"$dir/conf"
	start_daemon --config "$dir/conf"
	writer --cache prefix --steps 100 $large >/dev/null
	"$treekvctl" snapshot prefix >"$dir/out" 2>&1 &
	children=$!
	wait_for is_saving prefix
	"$treekvctl" freeze prefix >/dev/null
	check "a cache is frozen while its snapshot is written" \
		is_saving prefix
	: >"$dir/conf"
	kill -HUP "$daemon"
	check "which goes on" parked
	check "parking takes another one" "$treekvctl" park prefix
	check "two in all" [ "$(metric snapshots_total)" -eq 2 ]
	check "a fork finds all of it" writer --cache child --fork prefix \
		--pinned 100 --steps 5 $large
	check "and it is frozen" is prefix frozen
	stop_daemon
	rm -rf "$dir/state"
}

# One is dropped when its file has just got its name, and is not heard of until
# another of that name has been written: it takes the file along.
test_namesakes()
{
	treekvd=$helpers/treekvd-faults
	export TREEKV_CRASH_AT=snapshot-renamed TREEKV_CRASH_FUSE="$dir/fuse"
	mkfifo "$dir/fuse"
	start_daemon --workers 2
	writer --cache a --steps 50 >/dev/null
	"$treekvctl" snapshot a >"$dir/out" 2>&1 &
	children=$!
	check "its snapshot has a name" \
		wait_for test -e "$snapshots/a.tkv"
	"$treekvctl" drop a >/dev/null &
	children="$children $!"
	wait_for is a dropped
	writer --cache a --steps 70 >/dev/null
	refuses "$treekvctl" park a >"$dir/why" 2>&1
	check "the next of its name stays" test $? -eq 0
	says "for that reason" "$dir/why" "was dropped while it was being"
	: >"$dir/fuse"
	wait $children
	children=
	check "until it is over" wait_for "$treekvctl" park a
	case $(verify a) in
	"tail 70 "*) ok "and is as it was" ;;
	*) not_ok "and is as it was" "$log" ;;
	esac
	stop_daemon
	unset TREEKV_CRASH_AT TREEKV_CRASH_FUSE
	treekvd=$O/bin/treekvd
	rm -rf "$dir/state"
}

# shellcheck disable=SC2317 # called by wait_for
asks()
{
	"$O/bin/treekv-top" --json --no-ebpf | python3 -B -c '
import json, sys
clients = json.load(sys.stdin)["clients"]
sys.exit(sum(client["program"] == "treekvctl" and client["requests"] > 0
             for client in clients) < 3)'
}

# The only worker stands still, so that nobody who detaches is let go of.
test_settling()
{
	treekvd=$helpers/treekvd-faults
	export TREEKV_CRASH_AT=snapshot-renamed TREEKV_CRASH_FUSE="$dir/fuse"
	rm -f "$dir/fuse"
	mkfifo "$dir/fuse"
	start_daemon --workers 1
	writer --cache a --steps 50 >/dev/null
	writer --cache b --steps 50 >/dev/null
	"$treekvctl" snapshot a >/dev/null 2>&1 &
	children=$!
	wait_for test -e "$snapshots/a.tkv"
	writer --cache b --attach --steps 10 >/dev/null
	for cache in a b; do
		"$treekvctl" park $cache >"$dir/parked.$cache" 2>&1 &
		children="$children $!"
	done
	check "who has been detached from is not parked yet" wait_for asks
	: >"$dir/fuse"
	# shellcheck disable=SC2086 # a list of numbers
	wait $children
	children=
	says "but as soon as he is let go of" "$dir/parked.b" "parked b"
	says "a snapshot that is under way is waited for, too" \
		"$dir/parked.a" "parked a"
	case $(verify b) in
	"tail 60 "*) ok "and all is there" ;;
	*) not_ok "and all is there" "$log" ;;
	esac
	stop_daemon
	unset TREEKV_CRASH_AT TREEKV_CRASH_FUSE
	treekvd=$O/bin/treekvd
	rm -rf "$dir/state"
}

has_readers()
{
	[ "$(metric reader_attaches_total)" -eq "$1" ]
}

# ---- who reads it has memory that is not the cache's any more

test_readers()
{
	start_daemon
	writer --cache a --steps 50 >/dev/null
	timeout $deadline "$helpers/kvwriter" --cache a --read --steps 1000 \
		>"$dir/reader" 2>&1 &
	children=$!
	wait_for has_readers 1
	"$treekvctl" park a >/dev/null
	parked
	says "a reader is told that it goes on elsewhere" "$dir/reader" \
		"the memory of cache a is another one by now"
	check "and finds it there" writer --cache a --read --steps 50
	writer --cache prefix --steps 30 --freeze >/dev/null
	mkfifo "$dir/go"
	writer --cache prefix --read --steps 30 --hold <"$dir/go" \
		>"$dir/reader" 2>&1 &
	children=$!
	exec 3>"$dir/go"
	wait_for_line "$dir/reader" "holding 30"
	"$treekvctl" park prefix >/dev/null
	exec 3>&-
	parked
	says "what is frozen is the same anywhere" "$dir/reader" "tail 30 "
	stop_daemon
	rm -rf "$dir/state" "$dir/go"
}

# ---- not ahead of time, and not without a way back

test_high_water()
{
	start_daemon --pool $room --high-water 100
	fill 1 5
	check "all of the pool is used" [ "$(metric parks_total)" -eq 0 ]
	check "then one is parked for one" fill 6 6
	check "and no more" [ "$(metric parks_total)" -eq 1 ]
	check "for a larger one, too, what it lacks" \
		writer --cache larger --budget 100 --steps 1
	check "is parked" [ "$(metric parks_total)" -eq 2 ]
	check "what is larger than the pool is refused" \
		refuses writer --cache whole --budget 4000 --steps 1
	check "and nobody parked for it" [ "$(metric parks_total)" -eq 2 ]
	stop_daemon
	rm -rf "$dir/state"
	start_daemon --pool $room --high-water 0
	fill 1 3
	check "at 0, whoever is idle is parked" \
		wait_for pool_is_empty
	check "and served" verify_all 1 3 300
	stop_daemon
	rm -rf "$dir/state"
	start_daemon --pool $room --restore never
	fill 1 5
	refuses fill 6 6
	check "nothing is parked where attaching restores nothing" \
		[ "$(metric parks_total)" -eq 0 ]
	says "and the refusal says so" "$dir/out" "restore = never"
	: >"$dir/out"
	refuses "$treekvctl" park c1 2>"$dir/why"
	says "a request, too" "$dir/why" "restore = never"
	stop_daemon
	rm -rf "$dir/state"
}

# ---- everybody is in use

test_full_of_writers()
{
	start_daemon --pool $room
	for i in 1 2 3 4 5; do
		"$helpers/kvwriter" --cache "w$i" --steps 1000000000 \
			>/dev/null 2>&1 &
		children="$children $!"
		wait_for is "w$i" writing
	done
	writer --cache w6 --steps 1 2>"$dir/why"
	check "with writers in all of it, one more is refused" test $? -eq 3
	says "with the figure" "$dir/why" "of 245760 bytes are in use"
	says "and the reason" "$dir/why" "no idle cache is left"
	check "and no writer is harmed" kill -0 $children
	kill -KILL $children
	wait $children 2>/dev/null
	children=
	for i in 1 2 3 4 5; do
		wait_for is "w$i" idle
	done
	check "one more, when they have gone" writer --cache w6 --steps 1
	stop_daemon
	rm -rf "$dir/state"
}

# verify_idle: those in memory; to bring back another, one has to go to disk
verify_idle()
{
	"$treekvctl" list --json | python3 -c '
import json, sys
for cache in json.load(sys.stdin):
    if cache["state"] == "idle":
        print(cache["name"])' >"$dir/idle"
	[ "$(wc -l <"$dir/idle")" -ge 4 ] || return 1
	while read -r name; do
		verify "$name" || return 1
	done <"$dir/idle"
}

# ---- a disk that is full

test_disk_full()
{
	if [ "$uid" -ne 0 ] || ! mkdir "$dir/disk" ||
		! mount -t tmpfs -o size=120k tmpfs "$dir/disk" 2>/dev/null; then
		skip "a full disk: needs root, to mount one"
		return
	fi
	trap 'stop_daemon; umount "$dir/disk"; clean_up' EXIT
	start_daemon --state-dir "$dir/disk" --pool $room
	: >"$dir/out"
	check "more than fit into memory and disk are refused" refuses fill 1 12
	says "with the disk's reason" "$dir/out" "No space left"
	n=$(listed)
	check "who is in memory stays and is whole" verify_idle
	check "it is counted" [ "$(metric park_failures_total)" -ge 1 ]
	mount -o remount,size=4m "$dir/disk"
	check "with more room on disk it goes on" fill $((n + 1)) 12
	check "and all are whole" verify_all 1 12 300
}

test_more_than_memory
test_side_by_side
test_in_use
test_by_request
test_frozen
test_frozen_meanwhile
test_namesakes
test_settling
test_readers
test_high_water
test_full_of_writers
test_disk_full
exit $failed
