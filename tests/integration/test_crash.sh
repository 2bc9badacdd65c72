#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The daemon dies at each point of daemon/crash.h's table, under a keeper, while
# self-checking writers create, write, detach, drop and lose leases: whoever was
# told that something is done must find it done, and no row may be wrong. Who
# creates or attaches is not to notice: the library asks again by itself.
#
# Usage: test_crash.sh BUILD-DIR
# With CRASH_POINTS="POINT..." in the environment, only at those.

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

treekvd=$helpers/treekvd-faults
writer=$helpers/kvwriter
need python3 "crash points"
other=$(id -u)
[ "$other" -ne 0 ] || other=61001 # caches are given to whom root likes
export TREEKV_CRASH_FUSE="$dir/fuse"

# again COMMAND...: what the daemon's death cut short is asked for once more; a
# drop or a break may find that it was done, so that only the second answer counts
again()
{
	"$@" && return
	wait_for "$treekvctl" status
	"$@"
}

# write OPTION...: a writer that nothing may go wrong for
write()
{
	"$writer" "$@" >>"$dir/out" 2>>"$dir/err" ||
		echo "kvwriter $*: status $?" >>"$dir/refused"
}

# Everything that has a point, once; the daemon may die in any of it.
work()
{
	: >"$dir/err"
	write --cache "w$1" --exclusive --steps 400
	again "$treekvctl" snapshot "w$1" >>"$dir/err" 2>&1
	again "$treekvctl" drop "w$1" --keep-snapshot >>"$dir/err" 2>&1
	again "$treekvctl" restore "w$1" >>"$dir/err" 2>&1
	write --cache "w$1" --attach --steps 100
	write --exclusive --steps 50
	write --cache "x$1" --ephemeral --exclusive --steps 50
	write --cache "x$1" --exclusive --steps 50
	again "$treekvctl" drop "x$1" >>"$dir/err" 2>&1
	write --cache "p$1" --exclusive --prompt 700 --steps 50
	"$writer" --cache "b$1" --steps 1000000000 >"$dir/held" \
		2>>"$dir/err" &
	children=$!
	wait_for has_tokens "b$1"
	kill -STOP $children
	again "$treekvctl" lease break "b$1" >>"$dir/err" 2>&1
	write --cache "o$1" --exclusive --steps 60
	again "$treekvctl" snapshot "o$1" >>"$dir/err" 2>&1
	again "$treekvctl" chown $other "o$1" >>"$dir/err" 2>&1
	again "$writer" --cache "f$1" --steps 70 >>"$dir/out" 2>>"$dir/err"
	again "$treekvctl" freeze "f$1" >>"$dir/err" 2>&1
	again "$writer" --cache "q$1" --steps 30 --freeze >>"$dir/out" \
		2>>"$dir/err"
	again "$writer" --cache "g$1" --fork "q$1" --pinned 30 --steps 300 \
		>>"$dir/out" 2>>"$dir/err"
	again "$treekvctl" drop "q$1" >>"$dir/err" 2>&1
	kill -KILL $children
	wait $children 2>/dev/null
	children=
	write --cache "k$1" --exclusive --steps 200
	again "$treekvctl" park "k$1" >>"$dir/err" 2>&1 ||
		cat "$dir/err" >>"$dir/refused"
	write --cache "k$1" --attach --steps 50
	again "$treekvctl" park "k$1" >>"$dir/err" 2>&1 ||
		cat "$dir/err" >>"$dir/refused"
}

# shellcheck disable=SC2317 # called by wait_for
has_tokens()
{
	[ "$(field "$1" tail)" -gt 0 ]
}

# What is there afterwards must be whole, and go on.
verify()
{
	for cache in "w$1" "b$1" "k$1"; do
		write --cache "$cache" --attach --steps 100
	done
	write --cache "p$1" --attach --prompt 700 --steps 100
	[ -s "$dir/refused" ] && return 1
	wait_for "$treekvctl" status || return 1
	write --cache "~$other/o$1" --attach --steps 10
	again "$treekvctl" snapshot "~$other/o$1" >>"$dir/refused" 2>&1 ||
		return 1
	: >"$dir/refused"
	again "$writer" --cache "f$1" --read --steps 70 >"$dir/out" \
		2>"$dir/err" || return 1
	[ "$(field "f$1" state)" = frozen ] || return 1
	again "$writer" --cache "g$1" --attach --pinned 30 --steps 100 \
		>"$dir/out" 2>"$dir/err" || return 1
	[ "$(field "q$1" state)" = dropped ] || return 1
	! grep -q 'event="cache damaged"\|event="cache quarantined"' "$log"
}

# The second lease is the first one of a cache that was there already. The ninth
# creation is a fork's, the second freezing and the fourth drop its parent's.
points="${CRASH_POINTS:-$("$treekvd" --print-crash-points) create-made:9
	create-listed:9 create-sent:9 create-kept:9 freeze-sealed:2
	freeze-recorded:2 drop-marked:4 drop-unnamed:4 lease-begun:2
	lease-recorded:2 lease-answered:2}"
number=0
for point in $points; do
	case $point:$other in
	give-linked:"$(id -u)" | give-written:"$(id -u)") continue ;; # not root
	esac
	number=$((number + 1))
	export TREEKV_CRASH_AT="$point"
	: >"$dir/fuse"
	: >"$dir/out"
	: >"$dir/refused"
	start_daemon --keeper --snapshot-on-stop no
	work $number
	if [ -e "$dir/fuse" ]; then
		not_ok "$point is reached" "$log"
	elif verify $number; then
		ok "$point: nothing is lost"
	else
		not_ok "$point" "$dir/refused" "$dir/out" "$dir/err" "$log"
	fi
	stop_daemon
	rm -rf "$dir/state"
done
exit $failed
