#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A keeper: however often its daemon is killed, the next one is there almost at
# once and the writers go on; one that cannot start is tried again, ever more
# rarely, and the caches stay; it ends with a daemon that was told to.
#
# Usage: test_keeper.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "the keeper"
writer=$helpers/kvwriter

daemon_pid()
{
	"$treekvctl" status --json | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])'
}

has_tokens()
{
	[ "$(field "$1" tail)" -ge "$2" ]
}

# kill_again NUMBER: kills the daemon, once the writer has gone on by then
kill_again()
{
	tail=$(field busy tail)
	kill -KILL "$(daemon_pid)" && wait_for has_tokens busy $((tail + 1))
}

deaths()
{
	[ "$(grep -c 'event="the daemon died"' "$log")" -ge "$1" ]
}

test_kills()
{
	"$writer" --cache busy --steps 1000000000 >/dev/null 2>"$dir/err" &
	children=$!
	wait_for has_tokens busy 1
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		kill_again || not_ok "the writer goes on" "$log" "$dir/err"
	done
	check "all ten deaths are logged" deaths 10
	check "each successor came almost at once" \
		test "$(grep -c ' pause_ms=50$' "$log")" -eq 10
	kill -KILL $children
	wait $children 2>/dev/null
	children=
	check "every row is there" "$writer" --cache busy --attach --steps 10
}

# Its socket is inherited: the one who listened there first is dead.
test_second_daemon()
{
	refused "a second daemon is refused by one that was restarted" \
		"another treekvd listens or is about to listen on $TREEKV_SOCKET; stop it or give another path (--socket)" \
		"$treekvd" --config "$dir/empty.conf" \
		--socket "$TREEKV_SOCKET" --state-dir "$dir/state2"
	refused "and one with its snapshots" \
		"another treekvd keeps its snapshots in $dir/state, or is still writing them; wait for it to stop, or give another folder (--state-dir)" \
		"$treekvd" --config "$dir/empty.conf" \
		--socket "$dir/second.sock" --state-dir "$dir/state"
	check "it serves on" "$treekvctl" status
}

test_first_peers()
{
	check "whoever comes first to a successor is answered" \
		python3 -B "$(dirname "$0")/first_peers.py" "$TREEKV_SOCKET" 60
}

# What a person has broken, a person can mend: until then the caches are kept.
test_configuration()
{
	echo "pool = many" >"$dir/empty.conf"
	kill -KILL "$(daemon_pid)"
	check "a successor that cannot start is tried again" wait_for deaths 12
	check "after a longer pause" grep -q ' pause_ms=100$' "$log"
	: >"$dir/empty.conf"
	wait_for "$treekvctl" status
	check "once it can, the caches are there" \
		"$writer" --cache busy --attach --steps 10
}

# fewer CACHES: as many are kept over a death as the daemon was told to make
fewer()
{
	says "with fewer descriptors the keeper says so" "$log" \
		'event="room for fewer caches" limit=300 wanted=4464 descriptors=118'
	check "as many caches are made as it can keep" "$helpers/kvmany" \
		--caches "$1" --processes 1 --attaches 1 </dev/null
	"$writer" --cache beyond --steps 1 >"$dir/out" 2>&1
	says "and no more" "$dir/out" \
		"there are $1 caches, the most that the service manager can keep"
	kill -KILL "$(daemon_pid)"
	wait_for deaths 1
	wait_for "$treekvctl" status
	check "all of them are kept" test \
		"$("$treekvctl" list --json | grep -o '"name"' | wc -l)" -eq "$1"
}

test_descriptors()
{
	wrapper="prlimit --nofile=300:300"
	start_daemon --keeper --snapshot-on-stop no --workers 1 --restore never
	check "the keeper gets no new privileges" \
		grep -q '^NoNewPrivs:.*1$' "/proc/$daemon/status"
	fewer 55
	stop_daemon
	wrapper=
	prlimit --nofile=100:100 "$treekvd" --keeper \
		--config "$dir/empty.conf" >"$dir/out" 2>&1
	check "with too few it does not start" test $? -eq 1
	says "and says how many it takes" "$dir/out" \
		'event="too few descriptors" limit=100 least=128'
}

test_end()
{
	"$treekvd" --keeper --config "$dir/empty.conf" --pool many \
		>"$dir/out" 2>&1
	check "a command line that makes no sense ends it at once" \
		test $? -eq 2
	stop_daemon
	check "it ends with its daemon" test "$status" -eq 0
	if "$treekvctl" status >/dev/null 2>&1; then
		not_ok "nobody serves then"
	fi
}

start_daemon --keeper --snapshot-on-stop no
test_kills
test_second_daemon
test_configuration
test_end
start_daemon --keeper --snapshot-on-stop no
test_first_peers
stop_daemon
test_descriptors
exit $failed
