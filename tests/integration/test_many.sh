#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A thousand caches and 64 client processes: what the daemon takes beyond the
# caches, that it is not woken when nothing happens, and that all rows are right,
# also where only a quarter of the caches fits into memory. How long attaching
# takes is told, not asserted.
#
# Usage: test_many.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

caches=1000
attaches=640
processes=64
if is_sanitized; then
	caches=200
	attaches=128
	processes=32 # each holds a cache, and a quarter fits
fi

# many OPTION...: the clients, which hold on when this returns
many()
{
	mkfifo "$dir/go"
	"$helpers/kvmany" --caches $caches --processes $processes \
		--attaches $attaches "$@" <"$dir/go" >"$dir/out" 2>"$dir/err" &
	children=$!
	exec 3>"$dir/go"
	deadline=200
	wait_for many_settled
	deadline=30
	grep -q holding "$dir/out"
}

many_settled()
{
	grep -q holding "$dir/out" || ! kill -0 "$children"
}

let_go()
{
	exec 3>&-
	wait $children
	children=
	rm "$dir/go"
}

# resident FIELD...: kB of them in the daemon's status
resident()
{
	for field in "$@"; do
		sed -n "s/^$field:[[:space:]]*\([0-9]*\) kB/\1/p" \
			"/proc/$daemon/status"
	done | awk '{ sum += $1 } END { print sum }'
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

test_in_memory()
{
	start_daemon --pool 1G --workers 2
	check "$caches caches, $processes processes" many
	sed "s,^,# ," "$dir/err"
	echo "# in memory: $(head -n 1 "$dir/out") us"
	"$treekvctl" status --json >"$dir/status"
	says "all are there" "$dir/status" "\"caches\": $caches,"
	if is_sanitized; then
		skip "memory and wake-ups: a sanitizer has its own"
	else
		kb=$(resident RssAnon RssFile VmPTE)
		echo "# the daemon has $kb kB beside its caches"
		check "beside them the daemon takes less than 64 MiB" \
			[ "$kb" -lt 65536 ]
		wait_for is_quiet
		switches >"$dir/before"
		sleep 2 # what is observed, not waited for
		switches >"$dir/after"
		check "and is not woken while nothing happens" \
			cmp "$dir/before" "$dir/after"
	fi
	let_go
	stop_daemon
	rm -rf "$dir/state"
}

test_parked()
{
	start_daemon --pool $((caches / 4 * 44))K --workers 2
	check "the same where a quarter fits" many
	sed "s,^,# ," "$dir/err"
	echo "# a quarter fits: $(head -n 1 "$dir/out") us"
	"$treekvctl" status --json >"$dir/status"
	check "some are parked" refuses grep -q '"caches_parked": 0,' \
		"$dir/status"
	says "and none has failed" "$dir/status" '"park_failures_total": 0,'
	let_go
	stop_daemon
}

refuses()
{
	! "$@"
}

test_in_memory
test_parked
exit $failed
