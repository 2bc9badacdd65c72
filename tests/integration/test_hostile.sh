#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Writers that lie into their own shared memory (tests/helpers/kvhostile.c):
# their cache is quarantined, everybody else's steps go on, in the same worker.
#
# Usage: test_hostile.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "hostile writers"

# lie NAME REASON: is found out; the next writer is told why
lie()
{
	"$helpers/kvhostile" "$1" >"$dir/out" 2>"$dir/err"
	status=$?
	if [ $status -ne 0 ] || ! grep -q '^quarantined' "$dir/out"; then
		not_ok "$1 is found out" "$dir/out" "$dir/err" "$log"
		return
	fi
	"$helpers/kvwriter" --cache hostile --attach >"$dir/out" 2>"$dir/err"
	says "$1 is found out" "$dir/err" \
		"cache hostile is quarantined: $2"
	says "and what to do about it said" "$dir/err" \
		"; 'treekvctl drop hostile' gives its memory back"
	"$treekvctl" list >"$dir/out"
	says "and listed" "$dir/out" "quarantined"
	"$treekvctl" drop hostile >/dev/null
}

start_daemon --workers 1
mkfifo "$dir/in"
"$helpers/kvwriter" --cache honest --steps 200 --pause --hold \
	--per-step-max 8 <"$dir/in" >"$dir/honest" 2>"$dir/honest.err" &
honest=$!
children=$honest
exec 9>"$dir/in"
wait_for_line "$dir/honest" paused
lie commit-beyond "its writer committed a tail outside of its slots"
lie commit-of-the-past "its writer committed a tail outside of its slots"
lie head-behind "its writer's head is outside of what he may write"
lie head-beyond "its writer's head is outside of what he may write"
lie seen-ahead "its writer has seen a generation that is not"
echo >&9
wait_for_line "$dir/honest" "holding 200"
lie garbage "its writer"
lie hole "its writer"
"$helpers/kvhostile" bad-numbers >"$dir/out" 2>"$dir/err"
says "bad scores harm nobody" "$dir/out" "sound"
exec 9>&-
wait $honest
status=$?
children=
if [ $status -eq 0 ]; then
	ok "an honest writer's steps go on meanwhile: $(tail -n 1 "$dir/honest")"
else
	not_ok "an honest writer's steps go on meanwhile" "$dir/honest.err"
fi
stop_daemon
check "the daemon stops cleanly" [ "$status" -eq 0 ]

# break_two_faced: his lease, or he is found out
break_two_faced()
{
	"$helpers/kvhostile" two-faced >"$dir/out" 2>"$dir/err" &
	children=$!
	wait_for_line "$dir/out" lying
	"$treekvctl" lease break hostile >>"$dir/broken" 2>&1
	kill -KILL $children 2>/dev/null
	wait $children 2>/dev/null
	children=
	"$treekvctl" drop hostile >/dev/null 2>&1
}

start_daemon --workers 1 --snapshot-on-stop no
for _ in $(seq 24); do
	break_two_faced
done
check "a lease is broken whatever its holder says meanwhile" \
	"$treekvctl" status
says "some are found out" "$dir/broken" "damaged its words"
python3 -B "$(dirname "$0")/found_once.py" "$TREEKV_SOCKET" >"$dir/out" 2>&1
says "the prompt of a liar is refused" "$dir/out" \
	"its writer committed a tail outside of its slots"
check "and he is found out once" \
	test "$(grep -c 'event="cache quarantined" name=liar' "$log")" -eq 1
stop_daemon
check "and the daemon stops cleanly" [ "$status" -eq 0 ]

# What was found out stays found out, whatever of the rows is left.
start_daemon --keeper --workers 1 --snapshot-on-stop no
for lie in commit-beyond garbage hole; do
	"$helpers/kvhostile" $lie >"$dir/out" 2>"$dir/err"
	kill -KILL "$("$treekvctl" status --json | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])')"
	wait_for "$treekvctl" status
	"$treekvctl" list >"$dir/out"
	says "the next daemon has it in quarantine: $lie" "$dir/out" \
		quarantined
	check "and it can be dropped" "$treekvctl" drop hostile
done
exit $failed
