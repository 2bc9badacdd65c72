#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Lookup by content among several users: a prompt finds prefixes of one's own,
# and of the group for which a fork is made, if one may read them; also when they
# have been on disk in between.
#
# Usage: test_tenants_lookup.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/users.sh
. "$(dirname "$0")/users.sh"

shape="--budget 200 --ids 500"

# frozen USER NAME TOKENS [OPTION...]
frozen()
{
	who=$1 name=$2 tokens=$3
	shift 3
	# shellcheck disable=SC2086 # a list of words, here and below
	writer "$who" $shape --cache "$name" --steps "$tokens" --freeze "$@" ||
		not_ok "$name is frozen" "$dir/err"
}

# finds WHAT USER WORDS: looking for a prompt of 175 tokens
finds()
{
	# shellcheck disable=SC2086
	writer "$2" $shape --lookup 175
	says "$1" "$dir/out" "found $3"
}

# forks WHAT USER NAME WORDS: the same, and makes NAME of it
forks()
{
	# shellcheck disable=SC2086
	writer "$2" $shape --fork-prefix 175 --cache "$3" --budget 250 \
		--pinned 100 --scores-from 100 --steps 9
	cp "$dir/out" "$dir/forked"
	cat "$dir/err" >>"$dir/forked"
	says "$1" "$dir/forked" "$4"
	ctl "$2" drop "$3"
}

nothing="no frozen cache begins as these 175 tokens do"

test_users()
{
	frozen $alice hers 100
	finds "a prefix is its owner's" $alice "hers tokens 100 "
	for who in $bob $carol 0; do
		finds "and not $who's" $who nothing
		forks "nor does he fork it" $who child "$nothing"
	done
	ctl $alice chmod 0644 hers
	finds "a mode makes it no part of another's space" $bob nothing
	# shellcheck disable=SC2086
	writer $bob $shape --fork "~$alice/hers" --cache child --pinned 100 \
		--budget 250 --steps 9 --ephemeral
	says "he forks it by its name" "$dir/out" "tail 109 "
	ctl $alice chmod 0600 hers
	# shellcheck disable=SC2086
	writer $bob $shape --fork "~$alice/hers" --cache child --ephemeral
	says "as long as he may" "$dir/err" "there is no cache ~$alice/hers"
}

test_groups()
{
	frozen $alice "@$team/ours" 100
	forks "for a group, its prefixes are found" $bob "@$team/child" \
		"found @$team/ours tokens 100 "
	forks "but not for oneself" $bob child "$nothing"
	forks "one's own are, for a group" $alice "@$team/child" \
		"tokens 100 "
	forks "who is not in it makes none there" $carol "@$team/child" \
		"there is no cache @$team/child"
	ctl $alice chmod 0600 "@$team/ours"
	forks "what one may not read is not found" $bob "@$team/child" \
		"$nothing"
	ctl $alice chmod 0660 "@$team/ours"
}

# Of the group's some are shorter or as long, and others may be read.
test_hidden()
{
	frozen $alice "@$team/long" 150 --mode 0600
	frozen $alice "@$team/equal" 64 --mode 0600
	frozen $bob "@$team/short" 64
	ctl $alice chmod 0600 "@$team/ours"
	forks "what is hidden hides nothing" $bob "@$team/child" \
		"found @$team/short tokens 64 "
	ctl $alice drop "@$team/long"
	ctl $alice drop "@$team/equal"
	ctl $bob drop "@$team/short"
	ctl $alice chmod 0660 "@$team/ours"
}

test_parking()
{
	ctl $alice park hers
	ctl $alice park "@$team/ours"
	finds "what is on disk is not found" $alice nothing
	finds "nor by others" $bob nothing
	check "nor does that bring it back" \
		[ "$(of $alice hers state)" = parked ]
	# shellcheck disable=SC2086
	writer $carol $shape --fork "~$alice/hers" --cache child --ephemeral
	says "who may not read it does not have it brought back" "$dir/err" \
		"there is no cache ~$alice/hers"
	check "it stays where it is" [ "$(of $alice hers state)" = parked ]
	# shellcheck disable=SC2086
	writer $bob $shape --fork "@$team/ours" --cache child --pinned 100 \
		--budget 250 --steps 9 --ephemeral
	says "who may read forks what is on disk" "$dir/out" "tail 109 "
	forks "and then it is found again" $bob "@$team/child" \
		"found @$team/ours tokens 100 "
	ctl $alice restore hers
	finds "hers is hers again" $alice "hers tokens 100 "
	finds "and hers alone" $bob nothing
	ctl 0 chown $bob "~$alice/hers"
	finds "until it is given away" $bob "hers tokens 100 "
	finds "then it is not hers" $alice nothing
}

mkdir "$dir/bin"
cp "$helpers/kvwriter" "$treekvctl" "$dir/bin"
chmod 755 "$dir" "$dir/bin"
start_daemon
chmod 666 "$TREEKV_SOCKET"
test_users
test_groups
test_hidden
test_parking
stop_daemon
check "the daemon stops cleanly" [ "$status" -eq 0 ]
exit $failed
