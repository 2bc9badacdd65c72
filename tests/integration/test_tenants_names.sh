#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The names of others' caches: who may not read a cache does not meet with its
# name where something else is told of, and who sees all does not get the wrong
# one by a name that several have.
#
# Usage: test_tenants_names.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/users.sh
. "$(dirname "$0")/users.sh"

# tells WHO WORDS: one of the outputs of the last command has that
tells()
{
	grep -qF -- "$1" "$dir/out" "$dir/err"
}

test_parents()
{
	writer $alice --cache secret --steps 64 --freeze
	writer $alice --cache open --fork secret --pinned 64 --budget 250 \
		--steps 9 --mode 0644 || not_ok "a fork" "$dir/err"
	ctl $alice list --json
	check "the owner of a fork sees its parent" tells '"secret"'
	ctl $bob inspect "~$alice/open"
	says "others may see the fork" "$dir/out" "rw-r--r--"
	check "but no name of a parent that is hidden" \
		[ "$(grep -c secret "$dir/out")" = 0 ]
	ctl $bob list --json
	check "also in the list" [ "$(grep -c secret "$dir/out")" = 0 ]
	ctl $alice chmod 0644 secret
	ctl $bob list --json
	check "until they may read that as well" tells '"parent": "secret"'
	ctl $alice drop open
	ctl $alice drop secret
}

# No snapshot can be written where the folder of a user is a file.
test_failures()
{
	writer $alice --cache ledger --steps 9
	mkdir -p "$dir/state/snapshots"
	: >"$dir/state/snapshots/$alice"
	refuses "a snapshot fails" "ledger" ctl $alice snapshot ledger
	ctl $alice status
	check "its owner sees why" tells "$alice/ledger"
	"$treekvctl" status >"$dir/out"
	check "root as well" tells "$alice/ledger"
	ctl $bob status
	says "others, that one failed" "$dir/out" \
		"of another user's cache: Not a directory"
	check "but not which" [ "$(grep -c ledger "$dir/out")" = 0 ]
	stop_daemon
	start --pool 96K
	writer $alice --cache ledger --steps 9
	writer $alice --cache more --steps 9
	refuses "who wants room learns that parking fails" \
		"idle caches cannot be parked: Not a directory" \
		writer $bob --cache third --steps 9
	check "but not whose" [ "$(grep -c ledger "$dir/err")" = 0 ]
	rm "$dir/state/snapshots/$alice"
	stop_daemon
	rm -rf "$dir/state"
	start
}

test_namesakes()
{
	writer $alice --cache both --steps 9
	writer $bob --cache both --steps 19
	ctl $bob park both
	for what in drop inspect "lease break" snapshot "chmod 0666" park \
		pin freeze; do
		# shellcheck disable=SC2086 # several words
		refuses "whose is meant is unclear: $what" \
			"there is no cache both" ctl 0 $what both
	done
	ctl $alice inspect both
	says "so it is left alone" "$dir/out" "rw-------"
	writer 0 --cache both --steps 29
	ctl 0 park both
	ctl 0 chmod 0604 both
	check "one's own comes first, also on disk" \
		[ "$(of 0 both mode)" = 0604 ]
	ctl 0 drop both
	says "when it is dropped, too" "$dir/out" "dropped both"
	check "the others' stay" [ "$(of 0 "~$alice/both" mode)" = 0600 ]
	check "both of them" [ "$(of 0 "~$bob/both" state)" = parked ]
	ctl $bob drop both
	ctl 0 drop both
	check "a single one is found" [ -z "$(of 0 "~$alice/both" mode)" ]
}

start()
{
	start_daemon "$@"
	chmod 666 "$TREEKV_SOCKET"
}

mkdir "$dir/bin"
cp "$helpers/kvwriter" "$treekvctl" "$dir/bin"
chmod 755 "$dir" "$dir/bin"
start
test_parents
test_failures
test_namesakes
stop_daemon
check "the daemon stops cleanly" [ "$status" -eq 0 ]
exit $failed
