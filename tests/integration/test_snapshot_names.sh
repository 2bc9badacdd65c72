#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Whose file is it? A snapshot is being written while the folder is read again,
# and while one of a later cache of the same name is being written.
#
# Usage: test_snapshot_names.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

large="--layers 4 --heads 4 --k-row 4096 --v-row 4096 --budget 128 --slack 16"

# shellcheck disable=SC2317 # called by wait_for
is_saving()
{
	"$treekvctl" list --json | python3 -c '
import json, sys
sys.exit(not any(cache.get("snapshot_done") for cache in json.load(sys.stdin)
                 if cache["name"] == sys.argv[1]))' "$1"
}

# shellcheck disable=SC2317 # called by wait_for
has_reloaded()
{
	[ "$(grep -c 'event="reloaded"' "$log")" -eq $reloads ]
}

# rate [BYTES]: at which snapshots are written from now on
rate()
{
	: >"$dir/conf"
	[ $# -eq 0 ] || echo "snapshot-rate = $1" >"$dir/conf"
	reloads=$((reloads + 1))
	kill -HUP "$daemon"
	wait_for has_reloaded
}

test_a_folder_that_is_read_again()
{
	rate 2M
	# shellcheck disable=SC2086 # several words, here and below
	"$helpers/kvwriter" --cache slow --steps 150 $large >"$dir/out" 2>&1
	"$treekvctl" snapshot slow >"$dir/saved" 2>&1 &
	children=$!
	check "a snapshot is under way" wait_for is_saving slow
	check "what is on disk is restored" "$treekvctl" restore --all
	rate
	wait $children
	children=
	says "which leaves alone what is being written" "$dir/saved" \
		"saved slow"
}

# The writer of the first one holds it, so that the drop does not wait.
test_a_name_that_is_taken_again()
{
	rate 2M
	# shellcheck disable=SC2086
	"$helpers/kvwriter" --cache twice --steps 150 $large --hold \
		<"$dir/in" >"$dir/first" 2>&1 &
	children=$!
	exec 9>"$dir/in"
	wait_for_line "$dir/first" "holding"
	"$treekvctl" snapshot twice >"$dir/saved" 2>&1 &
	children="$children $!"
	wait_for is_saving twice
	python3 -B "$(dirname "$0")/namesake.py" "$TREEKV_SOCKET" twice \
		>"$dir/second" 2>&1
	exec 9>&-
	# shellcheck disable=SC2086
	wait $children
	children=
	"$treekvctl" drop twice --keep-snapshot
	"$treekvctl" restore twice >"$dir/restored" 2>&1 &&
		grep -q '^saved' "$dir/second"
	status=$?
	"$treekvctl" drop twice
	return $status
}

need python3 "snapshots that take a while"
: >"$dir/conf"
reloads=0
mkfifo "$dir/in"
start_daemon --config "$dir/conf" --workers 2 --restore never
test_a_folder_that_is_read_again
bad=
for i in 1 2 3 4; do
	test_a_name_that_is_taken_again >"$dir/out" 2>&1 || bad=$i
done
if [ -z "$bad" ]; then
	ok "a cache of a dropped one's name has a file of its own"
else
	not_ok "a cache of a dropped one's name has a file of its own" \
		"$dir/second" "$dir/restored"
fi
check "nothing unfinished is left" \
	test -z "$(find "$dir/state" -name '*.tmp')"
stop_daemon
check "the daemon stops cleanly" [ "$status" -eq 0 ]
exit $failed
