#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What changes while somebody waits: who has a right when he asks may have lost
# it when his turn comes, and a name that is free in memory may be promised to
# what is on its way to another user on disk. The daemon of the fault build stays
# at a point (daemon/crash.h) meanwhile.
#
# Usage: test_tenants_late.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/users.sh
. "$(dirname "$0")/users.sh"

treekvd=$helpers/treekvd-faults
export TREEKV_CRASH_FUSE="$dir/fuse"
snapshots=$dir/state/snapshots

# start POINT [OPTION]...: a thread of the daemon stays there until go_on
start()
{
	export TREEKV_CRASH_AT="$1"
	shift
	rm -f "$dir/fuse"
	mkfifo "$dir/fuse"
	start_daemon "$@"
	chmod 666 "$TREEKV_SOCKET"
}

go_on()
{
	: >"$dir/fuse"
}

# begin_late USER COMMAND...: what it says is in late
begin_late()
{
	who=$1
	shift
	setpriv --reuid="$who" --regid="$who" --groups=$team "$@" \
		>"$dir/late" 2>&1 </dev/null &
	late=$!
	children="$children $late"
}

# shellcheck disable=SC2317 # called by wait_for
takes_more()
{
	[ "$(figure "@$team" bytes used)" -gt "$1" ]
}

# The only worker stands still, so that nothing is copied before it goes on.
# revoke HOW WORDS COMMAND...: bob waits for a copy, and then that happens
revoke()
{
	how=$1
	words=$2
	shift 2
	start snapshot-renamed --workers 1
	writer $alice --cache "@$team/desk" --steps 10
	"$helpers/kvwriter" --cache block --steps 10 >"$dir/block"
	"$treekvctl" snapshot block >/dev/null 2>&1 &
	children=$!
	wait_for test -e "$snapshots/0/block.tkv"
	used=$(figure "@$team" bytes used)
	begin_late $bob "$dir/bin/kvwriter" --cache "@$team/desk" --attach \
		--steps 3
	check "he waits for a copy: $how" wait_for takes_more "$used"
	"$@"
	go_on
	wait "$late"
	says "and does not get it: $how" "$dir/late" "$words"
	# shellcheck disable=SC2086 # a list of numbers
	wait $children
	children=
	check "nor is anybody left with a lease" \
		[ -z "$(of 0 "@$team/desk" writer_pid | grep -v None)" ]
	stop_daemon
	rm -rf "$dir/state"
}

test_revoked()
{
	revoke "all is taken from him" "there is no cache" \
		ctl $alice chmod 0600 "@$team/desk"
	revoke "he may only read" "you may not write cache" \
		ctl $alice chmod 0640 "@$team/desk"
	revoke "it is another group's" "there is no cache" \
		ctl 0 chown ":$carol" "@$team/desk"
}

test_promised()
{
	start give-begun --restore never --log-level info
	writer $alice --cache ledger --steps 50
	ctl $alice snapshot ledger
	ctl $alice drop --keep-snapshot ledger
	begin_late 0 "$dir/bin/treekvctl" chown $bob "~$alice/ledger"
	wait_for_line "$log" "owner changed" ||
		not_ok "it is on its way" "$dir/late" "$log"
	for who in $alice $bob; do
		refuses "nobody makes one of that name" \
			"is being given to another" \
			writer $who --cache ledger --exclusive --steps 7
		refuses "nor if there were none" "is being given to another" \
			writer $who --cache ledger --steps 7
	done
	writer $bob --cache prefix --steps 9 --freeze
	refuses "nor forks one" "is being given to another" \
		writer $bob --cache ledger --fork prefix --pinned 9 --steps 7
	go_on
	wait "$late"
	says "until it has arrived" "$dir/late" "owner of ~$alice/ledger is"
	ctl $bob restore ledger
	writer $bob --cache ledger --attach --verify-only
	says "and it is the one that was given" "$dir/out" "tail 50 "
	writer $alice --cache ledger --exclusive --steps 7
	says "the old name is free again" "$dir/out" "tail 7 "
	stop_daemon
}

mkdir "$dir/bin"
cp "$helpers/kvwriter" "$treekvctl" "$dir/bin"
chmod 755 "$dir" "$dir/bin"
test_revoked
test_promised
check "the daemon stops cleanly" [ "$status" -eq 0 ]
exit $failed
