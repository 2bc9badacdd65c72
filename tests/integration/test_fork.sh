#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Forks of frozen caches, with real processes and a daemon that dies: rows are
# self-checking, those of the prefix were written by the parent's writer. What
# a fork holds step by step is tests/unit/test_fork.c's.
#
# Usage: test_fork.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

writer=$helpers/kvwriter

kill_daemon()
{
	kill -KILL "$("$treekvctl" status --json | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])')"
	wait_for "$treekvctl" status
}

# goes_on NAME TAIL WORDS...: forked or attached to, it ends at that tail
goes_on()
{
	name=$1 tail=$2
	shift 2
	if "$writer" --cache "$name" "$@" >"$dir/out" 2>"$dir/err" &&
		grep -q "^tail $tail " "$dir/out"; then
		ok "$what"
	else
		not_ok "$what" "$dir/out" "$dir/err"
	fi
}

# shellcheck disable=SC2317 # called by wait_for
is_gone()
{
	[ -z "$(field "$1" state)" ]
}

# is_past NAME TAIL
# shellcheck disable=SC2317 # called by wait_for
is_past()
{
	[ "$(field "$1" tail)" -gt "$2" ]
}

test_forks()
{
	"$writer" --cache exact --steps 40 --freeze >/dev/null
	"$writer" --cache old --steps 900 --freeze >/dev/null
	what="a prefix is pinned"
	goes_on pinned 2040 --fork exact --pinned 40 --steps 2000
	what="for the next writer, too"
	goes_on pinned 2540 --attach --pinned 40 --steps 500
	what="a prefix is evicted where that is asked for"
	goes_on evicted 2040 --fork exact --evict-prefix --steps 2000
	what="a compacted cache is forked whole"
	goes_on late 1900 --fork old --evict-prefix --steps 1000
	what="a part of an exact one"
	goes_on part 1017 --fork exact --tokens 17 --scores-from 17 \
		--pinned 17 --steps 1000
	what="whose prefix may leave as well"
	goes_on part2 1017 --fork exact --tokens 17 --scores-from 17 \
		--evict-prefix --steps 1000
	what="another policy, budget and slack"
	goes_on other 1040 --fork exact --policy tova --budget 100 --slack 5 \
		--scores-from 40 --pinned 40 --steps 1000
	what="nothing but the parent's spec"
	goes_on same 40 --fork exact --any --steps 0
	what="one that ends with its writer"
	goes_on brief 540 --fork exact --ephemeral --pinned 40 --steps 500
	check "does" is_gone brief
	check "readers read a fork" \
		"$writer" --cache pinned --read --pinned 40 --steps 2540
	"$treekvctl" list --json >"$dir/list"
	check "forks name their parent, which counts them" python3 - \
		"$dir/list" <<'PYTHON'
import json, sys
caches = {c["name"]: c for c in json.load(open(sys.argv[1]))}
assert caches["exact"]["children"] == 6, caches["exact"]
assert caches["old"]["children"] == 1
assert caches["pinned"]["parent"] == "exact"
assert caches["late"]["parent"] == "old"
assert caches["exact"]["parent"] is None
PYTHON
}

# refused WORDS OPTION...
refused()
{
	words=$1
	shift
	"$writer" --cache new "$@" >"$dir/out" 2>"$dir/err"
	says "refused: $words" "$dir/err" "$words"
}

test_refusals()
{
	"$writer" --cache warm --steps 10 >/dev/null
	refused "cache warm is not forked: it is not frozen" --fork warm
	refused "there is no cache nothing" --fork nothing
	refused "it has 40" --fork exact --tokens 41
	refused "it does not hold all of its 900 tokens" --fork old --tokens 9
	refused "which stay" --fork old
	refused "its budget is 39" --fork exact --budget 39 --evict-prefix
	refused "k_row 32, asked for 64" --fork exact --k-row 64
	"$writer" --cache warm --fork exact >"$dir/out" 2>"$dir/err"
	says "a name that is taken" "$dir/err" "there is a cache warm already"
	"$treekvctl" freeze pinned 2>"$dir/err"
	says "a fork is not frozen" "$dir/err" \
		"cache pinned is not frozen: it is a fork; fork its parent again"
	"$treekvctl" snapshot pinned 2>"$dir/err"
	says "no snapshot is taken of a fork" "$dir/err" \
		"cache pinned is a fork of exact, whose rows are not its own"
	"$writer" --cache bad --fork exact --k-row 64 2>/dev/null
	check "what was refused has left nothing" is_gone bad
}

test_the_daemon_dies()
{
	"$writer" --cache alive --fork exact --pinned 40 --steps 1000000 \
		>"$dir/alive" 2>&1 &
	children=$!
	wait_for is_past alive 0
	kill_daemon
	what="the next daemon has forks and parents"
	goes_on pinned 2640 --attach --pinned 40 --steps 100
	check "a fork's writer goes on" \
		wait_for is_past alive "$(field alive tail)"
	kill -KILL $children
	wait $children 2>/dev/null
	children=
	check "and a successor finds it whole" \
		"$writer" --cache alive --attach --pinned 40 --steps 10
}

test_killed_writers()
{
	for i in 1 2 3 4 5 6; do
		"$writer" --cache alive --attach --pinned 40 --progress \
			--steps 1000000 >"$dir/alive" 2>&1 &
		children=$!
		wait_for_line "$dir/alive" "committed"
		kill -KILL $children
		wait $children 2>/dev/null
		children=
	done
	check "writers killed at random, $i times" \
		"$writer" --cache alive --attach --pinned 40 --steps 10
}

test_a_broken_lease()
{
	"$writer" --cache alive --attach --pinned 40 --hold --steps 100 \
		--progress <"$dir/fifo" >"$dir/held" 2>&1 &
	children=$!
	exec 9>"$dir/fifo"
	wait_for_line "$dir/held" "holding"
	check "a fork's lease is broken" "$treekvctl" lease break alive
	check "and it goes on in its copy" \
		"$writer" --cache alive --attach --pinned 40 --steps 500
	exec 9>&-
	wait $children
	children=
	check "the parent is still the same for others" \
		"$writer" --cache pinned --attach --pinned 40 --steps 50
}

test_parents_stay()
{
	for cache in evicted part part2 other same alive; do
		"$treekvctl" drop $cache >/dev/null
	done
	"$treekvctl" drop exact >/dev/null
	check "a parent that was dropped stays while it has a fork" \
		[ "$(field exact state)" = dropped ]
	"$writer" --cache new --fork exact 2>"$dir/err"
	says "it has no more forks" "$dir/err" "there is no cache exact"
	"$writer" --cache exact --steps 5 >/dev/null
	check "its name is free" \
		"$writer" --cache exact --attach --steps 5
	"$treekvctl" drop exact >/dev/null
	kill_daemon
	check "over a restart as well" [ "$(field exact state)" = dropped ]
	check "so its last fork goes on" \
		"$writer" --cache pinned --attach --pinned 40 --steps 50
	"$treekvctl" drop pinned >/dev/null
	check "and takes it along" wait_for is_gone exact
}

test_another_user()
{
	if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
		skip "forks of another user's cache: not root, or no setpriv"
		return
	fi
	mkdir "$dir/bin"
	cp "$writer" "$dir/bin"
	chmod 755 "$dir" "$dir/bin"
	nobody="setpriv --reuid=65534 --regid=0 --clear-groups $dir/bin/kvwriter"
	$nobody --cache mine --fork old 2>"$dir/err"
	says "another user's cache is none" "$dir/err" "there is no cache old"
	$nobody --cache his --steps 30 --freeze >/dev/null
	check "his own is forked without root's rights" \
		$nobody --cache mine --fork his --pinned 30 --steps 300
	"$writer" --cache mine --fork his 2>"$dir/err"
	says "not even by the daemon's user" "$dir/err" "there is no cache his"
}

# An orderly stop without a manager: what is in memory only is lost, and named.
test_a_stop()
{
	start_daemon --snapshot-on-stop yes --log-level warning
	"$writer" --cache base --steps 40 --freeze >/dev/null
	"$writer" --cache leaf --fork base --pinned 40 --steps 10 >/dev/null
	stop_daemon
	check "a stop tells of a fork that is lost" [ "$status" = 3 ]
	says "by its name" "$log" "cache leaf is a fork of base"
	start_daemon --log-level warning
	"$treekvctl" restore base >/dev/null
	what="its parent comes back frozen"
	goes_on leaf 90 --fork base --pinned 40 --steps 50
	"$treekvctl" drop leaf >/dev/null
	stop_daemon
}

mkfifo "$dir/fifo"
start_daemon --keeper --snapshot-on-stop no --log-level warning
test_forks
test_refusals
test_the_daemon_dies
test_killed_writers
test_a_broken_lease
test_parents_stay
test_another_user
says "nothing was damaged" "$log" ""
check "nor quarantined" sh -c "! grep -q 'damaged\|quarantined' '$log'"
stop_daemon
check "the daemon ends in good order" [ "$status" = 0 ]
test_a_stop
exit $failed
