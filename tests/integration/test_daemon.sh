#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A real daemon and its clients: starting and stopping, leases, fingerprints,
# dropping, the pool, descriptors, idling, stalls. What a refusal says is part
# of each case.
#
# Usage: test_daemon.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "daemon"
writer=$helpers/kvwriter

# hold NAME [OPTION]...: a writer that stays attached until the end of its
# standard input, $dir/NAME.in, which is descriptor 9 of ours; pid in $holder
hold()
{
	name=$1
	shift
	rm -f "$dir/$name.in"
	mkfifo "$dir/$name.in"
	"$writer" --cache "$name" --hold "$@" <"$dir/$name.in" \
		>"$dir/$name.out" 2>"$dir/$name.err" &
	holder=$!
	children="$children $holder"
	exec 9>"$dir/$name.in"
	wait_for_line "$dir/$name.out" holding ||
		not_ok "$name holds its cache" "$dir/$name.err"
}

# let_go: the holder goes on; its exit status in $status
let_go()
{
	exec 9>&-
	wait "$holder" 2>/dev/null
	status=$?
}

has_field()
{
	[ "$(field "$1" "$2")" = "$3" ]
}

# used: bytes of the pool that are charged
used()
{
	"$treekvctl" list --json | python3 -c '
import json, sys
print(sum(cache["bytes"] for cache in json.load(sys.stdin)))'
}

test_second_daemon()
{
	refused "a second daemon on the socket is refused" \
		"another treekvd listens on $TREEKV_SOCKET (pid $daemon); stop it or give another path (--socket)" \
		"$treekvd" --config "$dir/empty.conf" \
		--socket "$TREEKV_SOCKET" --state-dir "$dir/state2"
	refused "one on another socket, with the same snapshots, is refused" \
		"another treekvd keeps its snapshots in $dir/state, or is still writing them; wait for it to stop, or give another folder (--state-dir)" \
		"$treekvd" --config "$dir/empty.conf" \
		--socket "$dir/second.sock" --state-dir "$dir/state"
	check "the first one serves on" "$treekvctl" status
}

test_steps()
{
	"$writer" --cache steps --steps 3000 >"$dir/out" 2>"$dir/err"
	says "a cache survives its writer's end" "$dir/out" "tail 3000 "
	"$writer" --cache steps --steps 2000 --attach >"$dir/out" 2>"$dir/err"
	says "the next writer goes on" "$dir/out" "tail 5000 "
	"$writer" --cache gone --steps 10 --ephemeral >/dev/null 2>"$dir/err"
	check "an ephemeral cache goes with its writer" \
		wait_for has_field gone name ""
	refused "attaching to no cache" \
		"there is no cache gone; 'treekvctl list' shows yours" \
		"$writer" --cache gone --attach
	refused "creating what is there" "there is a cache steps already" \
		"$writer" --cache steps --exclusive
	: >"$dir/err"
	"$writer" --steps 100 >"$dir/out" 2>"$dir/err"
	says "an anonymous cache works" "$dir/out" "tail 100 "
}

test_leases()
{
	hold held --steps 100
	refused "a living writer's cache has no second writer" \
		"cache held is being written by process $holder; it is free when that process detaches or ends" \
		"$writer" --cache held --attach
	kill -KILL "$holder"
	let_go
	check "the daemon notices a death by itself" \
		wait_for has_field held state idle
	check "the successor finds everything" \
		"$writer" --cache held --attach --steps 100
	if "$helpers/kvlease" 20 >"$dir/out" 2>"$dir/err"; then
		ok "a dead writer's lease is free at once: $(cat "$dir/out")"
	else
		not_ok "a dead writer's lease is free at once" "$dir/out" \
			"$dir/err"
	fi
}

# differs FIELD OPTION VALUE HAS ASKED
differs()
{
	refused "another $1 is refused" "cache fp: $1 $4, asked for $5" \
		"$writer" --cache fp --attach "$2" "$3"
}

test_fingerprint()
{
	"$writer" --cache fp --steps 10 >/dev/null 2>&1
	differs layers --layers 3 2 3
	differs kv_heads --heads 1 2 1
	differs k_row --k-row 16 32 16
	differs v_row --v-row 16 24 16
	differs dtype --dtype 3 f32 bf16
	differs policy --policy h2o treekv h2o
	differs positions --positions 2 rank original
	differs budget --budget 65 64 65
	differs sinks --sinks 5 4 5
	differs recent --recent 0 16 0
	differs model --model other "$(printf self-che | rev_bytes)…" \
		"$(printf 'other\0\0\0' | rev_bytes)…"
	refused "all that differs is named" \
		"cache fp: layers 2, asked for 1; policy treekv, asked for tova; sinks 4, asked for 0" \
		"$writer" --cache fp --attach --layers 1 --policy tova --sinks 0
	check "another slack is no other fingerprint" \
		"$writer" --cache fp --attach --slack 16 --ids 100
}

# rev_bytes: standard input backwards in hex, as a little-endian number
rev_bytes()
{
	od -An -v -tx1 -w1 | tac | tr -d ' \n'
}

test_drop()
{
	hold dropped --steps 50
	before=$(used)
	check "drop" "$treekvctl" drop dropped
	check "a dropped cache shows as such" has_field dropped state dropped
	check "its bytes stay charged" [ "$(used)" -eq "$before" ]
	check "its name is free at once" \
		"$writer" --cache dropped --exclusive --steps 5
	let_go
	check "its holder is not disturbed" [ "$status" -eq 0 ]
	check "then its bytes are free" wait_for has_used "$before"
	refused "dropping what is not there" "there is no cache nothing" \
		"$treekvctl" drop nothing
}

# has_used BYTES: the dropped cache's namesake is all that is left of the two
has_used()
{
	[ "$(used)" -eq "$1" ] &&
		[ "$("$treekvctl" list --json | grep -c dropped)" -eq 1 ]
}

# The daemon's threads have not slept and woken meanwhile.
switches()
{
	cat /proc/"$daemon"/task/*/status | grep -E '_ctxt_switches|^Name'
}

is_quiet()
{
	switches >"$dir/quiet.1"
	"$treekvctl" --version
	switches >"$dir/quiet.2"
	cmp -s "$dir/quiet.1" "$dir/quiet.2"
}

# how often the control thread has gone to sleep
sleeps()
{
	sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "/proc/$daemon/status"
}

# Two requests in a row, and it has not slept in between.
is_awake()
{
	"$treekvctl" status >"$dir/out" || return 1
	slept=$(sleeps)
	"$treekvctl" status >"$dir/out" && [ "$(sleeps)" = "$slept" ]
}

is_asleep()
{
	grep -q '^State:.*S' "/proc/$daemon/status"
}

test_busy_poll()
{
	start_daemon --busy-poll 0
	check "a daemon that need not be awake sleeps" wait_for is_asleep
	if is_awake; then
		not_ok "and does so between two requests"
	else
		ok "and does so between two requests"
	fi
	stop_daemon
	start_daemon --busy-poll 1000000
	check "one that waits for more stays awake" wait_for is_awake
	check "and sleeps in the end" wait_for is_asleep
	stop_daemon
	refused "a second is the longest" \
		"busy-poll cannot be '1000001'; it is a number from 0 to 1000000" \
		"$treekvd" --busy-poll 1000001
}

test_idle()
{
	if grep -q __tsan_init "$treekvd"; then
		skip "wake-ups: ThreadSanitizer has a thread that wakes itself"
		return
	fi
	hold idle --steps 500
	wait_for is_quiet
	switches >"$dir/before"
	sleep 2 # what is observed, not waited for
	switches >"$dir/after"
	check "an idle daemon is never woken" \
		diff "$dir/before" "$dir/after"
	let_go
}

is_stopped()
{
	grep -q '^State:.T' "/proc/$daemon/status"
}

test_stall()
{
	mkfifo "$dir/stall.in"
	"$writer" --cache stall --steps 500 --timeout 300 --pause \
		<"$dir/stall.in" >"$dir/stall.out" 2>"$dir/stall.err" &
	holder=$!
	children="$children $holder"
	exec 9>"$dir/stall.in"
	wait_for_line "$dir/stall.out" "paused 0"
	kill -STOP "$daemon"
	wait_for is_stopped
	echo >&9
	wait_for_line "$dir/stall.err" "step: "
	says "a stall has a deadline" "$dir/stall.err" \
		"cache stall: treekvd has not made room within 300 ms; is it running?"
	kill -CONT "$daemon"
	echo >&9
	let_go
	check "the step comes through afterwards" [ "$status" -eq 0 ]
	says "nothing is lost" "$dir/stall.out" "tail 500 "
}

test_pool()
{
	start_daemon --pool 100K --restore never
	check "a cache within the pool" "$writer" --cache one --steps 100
	refused "one beyond is refused with the figures" \
		"cache two: the pool is used up: 45056 of 102400 bytes are in use and this cache takes 65536; idle caches are not parked (restore = never); drop caches (treekvctl list, drop), or give the daemon a larger --pool" \
		"$writer" --cache two --budget 140
	check "drop makes room" "$treekvctl" drop one
	check "for another" "$writer" --cache two --budget 140 --steps 300
	stop_daemon
}

# fill_table: caches until the daemon has no descriptors left
fill_table()
{
	i=0
	while "$writer" --cache "fd$i" --steps 1 >/dev/null 2>"$dir/err"; do
		i=$((i + 1))
		[ $i -lt 100 ] || return 1
	done
}

descriptors()
{
	find "/proc/$daemon/fd" -mindepth 1 2>/dev/null | wc -l
}

# no more than that; what was dropped may still be on its way out when counted
has_descriptors()
{
	[ "$(descriptors)" -le "$1" ]
}

# Which request fails first depends on how many descriptors are left over.
test_descriptors()
{
	wrapper="prlimit --nofile=$1:$1"
	start_daemon
	wrapper=
	fill_table
	says "with $1 descriptors, creating is refused at last" "$dir/err" \
		"out of descriptors"
	check "drop makes room" "$treekvctl" drop fd0
	open=$(descriptors)
	for i in 1 2 3 4 5; do
		"$writer" --cache other --exclusive --k-row 9999999
		"$writer" --cache fd1 --exclusive
	done >/dev/null 2>&1
	check "refusals leave no descriptors behind" \
		wait_for has_descriptors "$open"
	check "two more make room" "$treekvctl" drop fd1
	check "for another" "$treekvctl" drop fd2
	check "cache" wait_for "$writer" --cache another --steps 10
	check "and for the writer of an old one" \
		"$writer" --cache fd3 --attach --steps 300
	stop_daemon
	check "the daemon stops cleanly" [ "$status" -eq 0 ]
}

test_stop()
{
	hold survivor --steps 10
	stop_daemon
	check "SIGTERM ends the daemon with status 0" [ "$status" -eq 0 ]
	check "its socket is gone" [ ! -e "$TREEKV_SOCKET" ]
	says "the log says so" "$log" 'event="stopped" status=0'
	exec 9>&-
	wait "$holder"
	refused "no daemon" \
		"cannot connect to treekvd at $TREEKV_SOCKET: No such file or directory; is it running? Start it with 'systemctl start treekvd', or give its socket by --socket or TREEKV_SOCKET" \
		"$writer" --cache x
	: >"$dir/empty.conf"
}

# The ring of a killed daemon holds its socket a little longer than he lives.
test_stale_socket()
{
	start_daemon
	for _ in 1 2 3 4 5; do
		kill -KILL "$daemon"
		wait "$daemon" 2>/dev/null
		[ -S "$TREEKV_SOCKET" ] ||
			not_ok "a killed daemon leaves its socket"
		start_daemon
	done
	ok "the daemon after a killed one takes over its socket"
	stop_daemon
}

test_no_ring()
{
	for error in EPERM ENOSYS; do
		"$helpers/noring" $error "$treekvd" --config "$dir/empty.conf" \
			--socket "$dir/noring.sock" --state-dir "$dir/state3" \
			>"$dir/err" 2>&1
		status=$?
		if [ $status -eq 77 ]; then
			skip "refused io_uring: no seccomp filters here"
			continue
		fi
		check "without io_uring ($error) it does not start" \
			[ $status -eq 1 ]
		says "and names seccomp" "$dir/err" "seccomp"
		says "and what to allow" "$dir/err" "io_uring_setup"
	done
}

start_daemon --workers 2
test_second_daemon
test_steps
test_leases
test_fingerprint
test_drop
test_idle
test_stall
test_stop
test_pool
for n in 40 41 42; do test_descriptors $n; done
test_stale_socket
test_busy_poll
test_no_ring
exit $failed
