#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# --huge-pages: what becomes of each mode without huge pages and, where root
# may reserve some for a moment, with them; and holes punched into them.
#
# Usage: test_huge_pages.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "huge pages"
sysctl=/proc/sys/vm/nr_hugepages
writer=$helpers/kvwriter
reserved=

huge_free()
{
	sed -n 's/^HugePages_Free: *//p' /proc/meminfo
}

# available: free ones that nobody has a promise on
available()
{
	echo $(($(huge_free) - $(sed -n 's/^HugePages_Rsvd: *//p' \
		/proc/meminfo)))
}

put_back()
{
	[ -z "$reserved" ] || echo "$reserved" >$sysctl
	reserved=
}

# reserve N: makes N more huge pages
reserve()
{
	[ -w $sysctl ] && [ "$(id -u)" -eq 0 ] || return 1
	reserved=$(cat $sysctl)
	echo $((reserved + $1)) >$sysctl 2>/dev/null
	[ "$(available)" -ge "$1" ] || {
		put_back
		return 1
	}
}

# More than there is: a row of K and one of V take 128 KiB.
test_without()
{
	if [ "$(available)" -gt 400 ]; then
		skip "modes without huge pages: this machine has too many"
		return
	fi
	set -- --layers 1 --heads 1 --k-row 65536 --v-row 65536 --budget \
		$((16 * ($(available) + 20))) --steps 50
	start_daemon --huge-pages require --pool 3G
	"$writer" --cache a "$@" >"$dir/out" 2>"$dir/err"
	says "require is refused" "$dir/err" \
		"cache a: rows in huge pages (--huge-pages require; see sysctl vm.nr_hugepages) of"
	stop_daemon
	start_daemon --huge-pages prefer --pool 3G
	"$writer" --cache a "$@" >"$dir/out" 2>"$dir/err"
	says "prefer takes small ones" "$dir/out" "tail 50 "
	says "which the client can tell" "$dir/out" " huge 0 "
	says "and warns" "$log" 'event="no huge pages"'
	says "with the way out" "$log" "vm.nr_hugepages"
	stop_daemon
}

test_with()
{
	before=$(huge_free)
	start_daemon --huge-pages require
	"$writer" --cache w --steps 300 >"$dir/out" 2>"$dir/err"
	says "huge pages are used" "$dir/out" " huge 1 "
	check "the list says so" [ "$(field w huge)" = True ]
	check "they are taken from the free ones" [ "$(huge_free)" -lt "$before" ]
	"$treekvctl" drop w >/dev/null
	check "and given back" wait_for has_free "$before"
	"$helpers/kvkill" --cache k --seconds 0.5 >"$dir/out" 2>"$dir/err"
	check "writers are killed on them" [ $? -eq 0 ]
	"$treekvctl" drop k >/dev/null
	"$helpers/kvhostile" huge-hole >"$dir/out" 2>"$dir/err"
	says "a hole in them is found out" "$dir/out" "quarantined"
	"$writer" --cache hostile --attach >"$dir/out" 2>"$dir/err"
	# as a hole, or as the words of zero that it leaves
	says "and named" "$dir/err" "is quarantined: its writer"
	"$treekvctl" drop hostile >/dev/null
	check "the daemon serves on" wait_for "$writer" --cache b --steps 300
	stop_daemon
	check "and stops cleanly" [ "$status" -eq 0 ]
}

has_free()
{
	[ "$(huge_free)" -ge "$1" ]
}

test_without
if reserve 8; then
	trap 'put_back; clean_up' EXIT
	test_with
	put_back
else
	skip "huge pages: vm.nr_hugepages cannot be raised here"
fi
exit $failed
