#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Memory is zero when somebody gets it, whoever has had it before: small pages,
# huge ones, and what is kept ready (tests/helpers/kvfresh.c).
#
# Usage: test_tenants_fresh.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name
# shellcheck disable=SC2086 # $shape is several words

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/users.sh
. "$(dirname "$0")/users.sh"

need python3 "fresh memory"
# 4 MiB
shape="--layers 4 --heads 1 --k-row 4096 --v-row 4096 --budget 112 --slack 16"
wanted=16 # huge pages
sysctl=/proc/sys/vm/nr_hugepages
added=0

metric()
{
	"$treekvctl" status --json | python3 -B -c '
import json, sys
print(json.load(sys.stdin)["metrics"][sys.argv[1]])' "$1"
}

fresh()
{
	user=$1
	shift
	as "$user" "$dir/bin/kvfresh" "$@" $shape
}

nothing_is_left()
{
	[ "$(metric pool_used_bytes)" = 0 ]
}

# free_pages: that nobody has a promise on
free_pages()
{
	free=$(sed -n 's/^HugePages_Free: *//p' /proc/meminfo)
	promised=$(sed -n 's/^HugePages_Rsvd: *//p' /proc/meminfo)
	echo $((free - promised))
}

# What was added is taken away again, whatever others have done meanwhile.
put_back()
{
	[ $added = 0 ] || echo $(($(cat $sysctl) - added)) >$sysctl
	added=0
}

have_pages()
{
	[ "$(free_pages)" -lt $wanted ] || return 0
	echo $(($(cat $sysctl) + wanted)) 2>/dev/null >$sysctl && added=$wanted
	[ "$(free_pages)" -ge $wanted ]
}

# look PAGES [OPTION...]: of the daemon
look()
{
	pages=$1
	shift
	start_daemon --snapshot-on-stop no "$@"
	chmod 666 "$TREEKV_SOCKET"
	for round in 1 2 3; do
		fresh $alice fill secret$round
		says "a cache is full of something: $pages, $round" \
			"$dir/out" filled
		wait_for nothing_is_left
		fresh $bob look new$round
		says "another user's next one is empty" "$dir/out" "zero "
		says "in such pages" "$dir/out" " ${pages%% *}"
		wait_for nothing_is_left
	done
}

mkdir "$dir/bin"
cp "$helpers/kvfresh" "$dir/bin"
chmod 755 "$dir" "$dir/bin"
look small
stop_daemon
look "small ready" --ready 64M
check "some of it was kept ready" [ "$(metric ready_taken_total)" -ge 2 ]
stop_daemon
trap 'put_back; clean_up' EXIT
if have_pages; then
	look huge --huge-pages require
	stop_daemon
	look "huge ready" --huge-pages require --ready 16M
	check "some of it was kept ready" [ "$(metric ready_taken_total)" -ge 1 ]
	stop_daemon
else
	skip "huge pages: the machine has none to spare"
fi
exit $failed
