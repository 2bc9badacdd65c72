#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Owner, group, mode and namespaces, with processes of several users.
#
# Usage: test_tenants.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

# shellcheck source=tests/integration/users.sh
. "$(dirname "$0")/users.sh"

start()
{
	start_daemon --log-level info
	chmod 666 "$TREEKV_SOCKET"
}

test_hidden()
{
	writer $alice --cache ledger --steps 100
	writer $alice --cache "@$team/ledger" --steps 50
	check "a cache is its owner's alone" \
		[ "$(of $alice ledger mode)" = 0600 ]
	check "one of a group is the group's" \
		[ "$(of $alice "@$team/ledger" mode)" = 0660 ]
	check "and has that group" \
		[ "$(of $alice "@$team/ledger" gid)" = $team ]
	same_answer "~$alice"
	same_answer "@$team"
	ctl $carol list --json
	check "others see neither" grep -qx '\[\]' "$dir/out"
	ctl $bob list --json
	check "of the group, that one only" \
		[ "$(grep -o '"full_name"' "$dir/out" | wc -l)" = 1 ]
	ctl $carol events
	check "nor what happens to them" \
		[ "$(grep -c create "$dir/out")" = 0 ]
	ctl $bob events
	check "of the group, that" [ "$(grep -c create "$dir/out")" = 1 ]
}

test_namespaces()
{
	writer $bob --cache ledger --exclusive --steps 7
	says "a name is each user's own" "$dir/out" "tail 7 "
	writer $bob --cache "@$team/ledger" --attach --steps 5
	says "one of the group is everybody's in it" "$dir/out" "tail 55 "
	writer $alice --cache "~$alice/ledger" --attach --steps 1
	says "one's own may be said in full" "$dir/out" "tail 101 "
	refuses "a group's space is closed to others" \
		"there is no cache @$team/other" \
		writer $carol --cache "@$team/other"
	refuses "a user's to everybody else" "there is no cache ~$bob/other" \
		writer $alice --cache "~$bob/other"
	refuses "also to root" "there is no cache ~$bob/other" \
		writer 0 --cache "~$bob/other"
	writer $alice --cache "@$team/private" --mode 0600 --steps 3
	refuses "a name of the group is taken, whoever may see it" \
		"there is a cache @$team/private already" \
		writer $bob --cache "@$team/private"
	refuses "no such group" "there is no group nosuchgroup" \
		writer $alice --cache @nosuchgroup/x
	refuses "no such user" "there is no user nosuchuser" \
		ctl $alice inspect "~nosuchuser/x"
	refuses "a name has one '/' at most" "is allowed" \
		writer $alice --cache "@$team/a/b"
	writer 0 --cache "~root/mine" --steps 2
	says "users may be named" "$dir/out" "tail 2 "
	ctl 0 inspect private
	says "who sees all finds what only one has" "$dir/out" \
		"@$team/private"
	ctl $alice drop "@$team/private"
}

test_modes()
{
	ctl $alice chmod 0644 ledger
	says "the owner changes the mode" "$dir/out" "mode of ledger is 0644"
	ctl $carol inspect "~$alice/ledger"
	says "who may read, inspects" "$dir/out" "mode rw-r--r--"
	refuses "and may not write" \
		"you may not write cache ~$alice/ledger: it belongs to user $alice and group $alice and has mode 0644" \
		writer $carol --cache "~$alice/ledger" --attach
	for what in drop "chmod 0666" "lease break" snapshot; do
		# shellcheck disable=SC2086 # several words
		refuses "nor $what" "you may not manage cache" \
			ctl $carol $what "~$alice/ledger"
	done
	check "he sees whose it is" \
		[ "$(of $carol "~$alice/ledger" uid)" = $alice ]
	ctl $alice chmod 0006 ledger
	refuses "the owner is the owner, whatever others may" \
		"you may not write cache ledger" \
		writer $alice --cache ledger --attach
	writer $carol --cache "~$alice/ledger" --attach --steps 9
	says "who may read and write, writes" "$dir/out" "tail 110 "
	ctl $alice chmod 0002 ledger
	refuses "to write takes reading, too" \
		"there is no cache ~$alice/ledger" \
		writer $carol --cache "~$alice/ledger" --attach
	ctl $alice chmod 0640 ledger
	refuses "a file has no such mode" "is no mode of a cache" \
		ctl $alice chmod 0755 ledger
	refuses "nor is this one" "is no mode of a cache" \
		ctl $alice chmod rw ledger
	refuses "in a mode to begin with neither" "0 to 0666" \
		writer $alice --cache executable --mode 0700
}

test_owners()
{
	refuses "a cache is not given away" \
		"only root gives a cache to another user" \
		ctl $alice chown $bob ledger
	refuses "nor to a group one is not in" "you are not in group $bob" \
		ctl $alice chown ":$bob" ledger
	ctl $alice chown ":$team" ledger
	says "but to one's own group" "$dir/out" "owner of ledger is :$team"
	ctl $bob inspect "~$alice/ledger"
	says "which may read it now" "$dir/out" "mode rw-r-----"
	refuses "root cannot give it where the name is taken" \
		"user $bob has a cache ledger already" \
		ctl 0 chown $bob "~$alice/ledger"
	ctl $bob drop ledger
	ctl 0 chown "$bob:$bob" "~$alice/ledger"
	says "root gives it to somebody" "$dir/out" "is $bob:$bob"
	writer $bob --cache ledger --attach --steps 10
	says "who finds it among his own" "$dir/out" "tail 120 "
	refuses "and who had it no more" "there is no cache ledger" \
		writer $alice --cache ledger --attach
	ctl 0 chown $alice "~$bob/ledger"
	check "and back" [ "$(of $alice ledger gid)" = $bob ]
}

test_disk()
{
	ctl $alice chmod 0644 ledger
	ctl $alice snapshot ledger
	ctl $alice snapshot "@$team/ledger"
	says "a group's cache is saved under its name" "$dir/out" \
		"saved @$team/ledger"
	writer $alice --cache "@$team/hers" --mode 0600 --steps 3
	ctl $alice snapshot "@$team/hers"
	ctl $alice chmod 0600 ledger
	says "a mode changes with the snapshot" "$dir/out" "is 0600"
	stop_daemon
	start
	check "it is the mode after a new start" \
		[ "$(of $alice ledger mode)" = 0600 ]
	check "what is on disk keeps its state" \
		[ "$(of $alice ledger state)" = "on disk" ]
	check "the group's is there, too" \
		[ "$(of $bob "@$team/ledger" tail)" = 55 ]
	same_answer "~$alice"
	same_answer "@$team"
	refuses "a hidden file's name is taken" \
		"there is a cache @$team/hers already" \
		writer $bob --cache "@$team/hers"
	ctl $alice chmod 0660 ledger
	ctl $alice chown ":$team" ledger
	says "owners of what is on disk change" "$dir/out" "is :$team"
	writer $bob --cache "~$alice/ledger" --attach --steps 1
	says "it comes back for who may write it" "$dir/out" "tail 121 "
	ctl 0 chown $bob "~$alice/ledger"
	says "a cache goes to another user with its snapshot" "$dir/out" \
		"is $bob"
	check "which lies where he has his" \
		[ -e "$dir/state/snapshots/$bob/ledger.tkv" ]
	check "and nowhere else" \
		[ ! -e "$dir/state/snapshots/$alice/ledger.tkv" ]
	stop_daemon
	start
	writer $bob --cache ledger --attach --steps 1
	says "and is his after the next start" "$dir/out" "tail 12"
	ctl $bob drop ledger
	refuses "a group's file is not everybody's to drop" \
		"you may not manage cache" ctl $bob drop "@$team/ledger"
	ctl $alice drop "@$team/ledger"
	check "but its owner's" \
		[ ! -e "$dir/state/snapshots/@$team/ledger.tkv" ]
}

scribbled_twice()
{
	[ "$(grep -c scribbled "$dir/lingers")" = 2 ]
}

copies()
{
	grep -c "rows copied" "$log"
}

# What somebody has had writable, he may have kept.
test_handover()
{
	writer $alice --cache "@$team/desk" --steps 100
	mkfifo "$dir/linger" "$dir/bob"
	setpriv --reuid=$alice --regid=$alice --groups=$team \
		"$dir/bin/kvlinger" "@$team/desk" <"$dir/linger" \
		>"$dir/lingers" 2>"$dir/lingers.err" &
	children=$!
	exec 8>"$dir/linger"
	wait_for_line "$dir/lingers" lingering ||
		not_ok "somebody lingers" "$dir/lingers.err"
	before=$(copies)
	writer $alice --cache "@$team/desk" --attach --steps 1
	check "to the same user go the same rows" \
		[ "$(copies)" = "$before" ]
	setpriv --reuid=$bob --regid=$bob --groups=$team \
		"$dir/bin/kvwriter" --cache "@$team/desk" --attach --pause \
		--steps 200 --hold --verify-every 1 --whole <"$dir/bob" \
		>"$dir/bobs" 2>"$dir/bobs.err" &
	bobs=$!
	children="$children $bobs"
	exec 9>"$dir/bob"
	wait_for_line "$dir/bobs" "paused 101"
	check "to another user goes a copy" \
		[ "$(copies)" = $((before + 1)) ]
	echo >&8
	wait_for_line "$dir/lingers" scribbled
	echo >&9
	wait_for_line "$dir/bobs" "holding 301" ||
		not_ok "he goes on" "$dir/bobs.err"
	echo >&8
	wait_for scribbled_twice
	exec 8>&-
	exec 9>&-
	wait $bobs
	status=$?
	if [ $status -eq 0 ]; then
		ok "late writes into the old rows reach nobody"
	else
		not_ok "late writes into the old rows reach nobody" \
			"$dir/bobs.err"
	fi
	children=
	writer $carol --cache "@$team/desk" --attach
	says "and nobody else gets them" "$dir/err" "there is no cache"
	ctl $alice drop "@$team/desk"
}

mkdir "$dir/bin"
cp "$helpers/kvwriter" "$helpers/kvlinger" "$treekvctl" "$dir/bin"
chmod 755 "$dir" "$dir/bin"
start
test_hidden
test_namespaces
test_modes
test_owners
test_handover
test_disk
stop_daemon
exit $failed
