#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Memory kept ready for new caches: it is of their size, nobody's before, and
# gives way to caches.
#
# Usage: test_ready.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "memory kept ready"
segment=28672 # rows of the cache that kvwriter makes
writer=$helpers/kvwriter

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

exceeds()
{
	[ "$(metric "$1")" -gt "$2" ]
}

# blocks of 512 bytes that the daemon's memfds of rows have
rows_present()
{
	for fd in /proc/"$daemon"/fd/*; do
		case $(readlink "$fd") in
		*treekv-rows*) stat -L -c %b "$fd" ;;
		esac
	done | sort -u
}

start_daemon --ready 1M --high-water 100
check "none before there has been a cache" counts ready_bytes 0
"$writer" --cache a --steps 10 >/dev/null
check "two of a size that has been made" \
	wait_for counts ready_bytes $((2 * segment))
check "all of it is present" [ "$(rows_present)" = $((segment / 512)) ]
"$writer" --cache b --steps 300 >"$dir/out"
check "the next cache is made of it" counts ready_taken_total 1
check "and is like any other" "$writer" --cache b --attach --steps 100
check "another takes its place" wait_for counts ready_bytes $((2 * segment))
"$writer" --cache c --budget 200 --steps 10 >/dev/null
check "another size is kept, too" \
	wait_for exceeds ready_bytes $((3 * segment))
stop_daemon
rm -rf "$dir/state"

# three caches of 44 KiB, and their rows once more
start_daemon --ready 1M --pool 180K --high-water 100
for cache in a b c; do
	"$writer" --cache $cache --steps 10 >/dev/null
done
check "they take what the pool has left" wait_for counts ready_bytes $segment
"$writer" --cache d --steps 10 >/dev/null
check "and give way to caches" wait_for counts ready_bytes 0
check "before any is parked" counts parks_total 0
stop_daemon
rm -rf "$dir/state"

: >"$dir/conf"
start_daemon --config "$dir/conf"
"$writer" --cache a --steps 10 >/dev/null
check "none unless configured" counts ready_bytes 0
printf 'ready = 40K\n' >"$dir/conf"
kill -HUP "$daemon"
check "a reload takes it up" wait_for counts ready_bytes $segment
: >"$dir/conf"
kill -HUP "$daemon"
check "and takes it back" wait_for counts ready_bytes 0
stop_daemon
exit $failed
