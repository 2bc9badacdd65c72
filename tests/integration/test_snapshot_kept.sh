#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Restored caches and who keeps descriptors: what came back from disk survives
# the daemon as what was made in memory does; in small and in huge pages.
#
# Usage: test_snapshot_kept.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name
# shellcheck disable=SC2086 # $large is several words

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "restored caches"
sysctl=/proc/sys/vm/nr_hugepages
snapshots=$dir/state/snapshots/$(id -u)
# 4.5 MiB
large="--layers 4 --heads 4 --k-row 4096 --v-row 4096 --budget 128 --slack 16"
reserved=0

writer()
{
	"$helpers/kvwriter" "$@"
}

daemon_pid()
{
	"$treekvctl" status | sed -n 's/^daemon .* process \([0-9]*\)$/\1/p'
}

is_another_than()
{
	new=$(daemon_pid)
	[ -n "$new" ] && [ "$new" != "$1" ]
}

# The keeper starts the next one.
kill_daemon()
{
	old=$(daemon_pid)
	kill -KILL "$old"
	check "$1: another daemon" wait_for is_another_than "$old"
}

test_kept()
{
	pages=$1
	start_daemon --keeper --huge-pages "$pages"
	writer --cache r --steps 300 $large >/dev/null
	writer --cache unsaved --steps 20 >/dev/null
	check "$pages: saved" "$treekvctl" snapshot r
	"$treekvctl" drop r --keep-snapshot >/dev/null
	"$treekvctl" restore r >"$dir/out" 2>&1
	check "$pages: restored" test $? -eq 0
	says "$pages: with its size" "$dir/out" " MiB in "
	rm "$snapshots/r.tkv" # memory is all there is of it now
	kill_daemon "$pages"
	check "$pages: what was restored is still served" writer --cache r \
		--attach --verify-only $large
	check "$pages: it goes on" writer --cache r --attach --steps 300 $large
	[ "$pages" = never ] || check "$pages: in huge pages" \
		test "$(field r huge)" = True
	"$treekvctl" drop r >/dev/null
	"$treekvctl" drop unsaved >/dev/null
	stop_daemon
}

# A daemon that adopts a cache knows what its predecessor has written.
test_unchanged()
{
	start_daemon --keeper
	writer --cache same --steps 300 >/dev/null
	writer --cache more --steps 300 >/dev/null
	check "two are saved" "$treekvctl" snapshot --all
	kill_daemon "unchanged"
	writer --cache more --attach --steps 1 >/dev/null
	same=$(stat -c %i "$snapshots/same.tkv")
	more=$(stat -c %i "$snapshots/more.tkv")
	stop_daemon
	check "the next daemon does not write again what is the same" \
		test "$(stat -c %i "$snapshots/same.tkv")" = "$same"
	check "but what is not" \
		test "$(stat -c %i "$snapshots/more.tkv")" != "$more"
}

put_back()
{
	[ "$reserved" -eq 0 ] ||
		echo $(($(cat $sysctl) - reserved)) >$sysctl
	reserved=0
}

# reserve N: makes N more huge pages
reserve()
{
	[ -w $sysctl ] && [ "$(id -u)" -eq 0 ] || return 1
	before=$(cat $sysctl)
	echo $((before + $1)) >$sysctl 2>/dev/null
	reserved=$(($(cat $sysctl) - before))
	[ "$reserved" -eq "$1" ] || {
		put_back
		return 1
	}
}

test_kept never
test_unchanged
if reserve 24; then
	trap 'clean_up; put_back' EXIT
	test_kept require
	check "require: the unit tests" env TREEKV_TEST_HUGE=1 \
		"$O/tests/test_snapshot"
	put_back
else
	skip "in huge pages: vm.nr_hugepages cannot be raised here"
fi
exit $failed
