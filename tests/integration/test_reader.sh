#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Readers beside a writer: whatever they accept is whole and of one moment, and
# they disturb nobody. What a reader cannot do to his descriptors is in
# test_access.sh.
#
# Usage: test_reader.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

writer=$helpers/kvwriter

is_made()
{
	case $(field "$1" state) in
	writing | idle) ;;
	*) return 1 ;;
	esac
}

# read_beside NAME TOKENS OPTION...: two readers and a writer
read_beside()
{
	name=$1 tokens=$2
	shift 2
	"$writer" --cache "$name" --steps "$tokens" --verify-every 0 "$@" \
		>"$dir/writer" 2>&1 &
	children=$!
	wait_for is_made "$name"
	for i in 1 2; do
		"$writer" --cache "$name" --read --steps "$tokens" "$@" \
			>"$dir/reader$i" 2>&1 &
		children="$children $!"
	done
	status=0
	for child in $children; do
		wait "$child" || status=1
	done
	children=
	if [ $status = 0 ]; then
		ok "$name: $(grep -h '^reads' "$dir/reader1" "$dir/reader2" |
			tr '\n' ' ')"
	else
		not_ok "$name" "$dir/writer" "$dir/reader1" "$dir/reader2"
	fi
}

test_readers_beside_a_writer()
{
	read_beside small 60000
	read_beside narrow 20000 --slack 4
	read_beside wide 20000 --budget 400 --layers 4 --policy streaming \
		--per-step-max 1
	read_beside lockstep 3000 --lockstep
}

test_the_daemon_dies()
{
	"$writer" --cache dies --steps 100 --hold <"$dir/fifo" \
		>"$dir/writer" 2>&1 &
	children=$!
	exec 9>"$dir/fifo"
	wait_for_line "$dir/writer" "holding 100"
	"$writer" --cache dies --read --steps 100 --hold <"$dir/fifo2" \
		>"$dir/reader" 2>&1 &
	children="$children $!"
	exec 8>"$dir/fifo2"
	wait_for_line "$dir/reader" "holding 100"
	kill -KILL "$("$treekvctl" status --json | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])')"
	wait_for "$treekvctl" status
	check "a reader attaches to the next daemon's cache" \
		"$writer" --cache dies --read --steps 100
	exec 9>&- 8>&-
	# shellcheck disable=SC2086
	wait $children
	children=
	says "and the first one's memory stayed" "$dir/reader" "tail 100 "
}

test_a_dropped_cache_stays_readable()
{
	"$writer" --cache gone --steps 50 >/dev/null
	"$writer" --cache gone --read --steps 50 --hold <"$dir/fifo" \
		>"$dir/reader" 2>&1 &
	children=$!
	exec 9>"$dir/fifo"
	wait_for_line "$dir/reader" "holding 50"
	"$treekvctl" drop gone >/dev/null
	"$writer" --cache gone --read --steps 50 2>"$dir/err"
	says "nobody reads what is dropped" "$dir/err" "there is no cache gone"
	exec 9>&-
	wait $children
	children=
	says "but who has it" "$dir/reader" "tail 50 "
}

readers()
{
	"$treekvctl" status --json | python3 -c '
import json, sys
print(json.load(sys.stdin)["metrics"]["reader_attaches_total"])'
}

# shellcheck disable=SC2317 # called by wait_for
has_readers()
{
	[ "$(readers)" -eq "$1" ]
}

test_a_broken_lease()
{
	"$writer" --cache broken --steps 100 --progress --hold <"$dir/fifo" \
		>"$dir/writer" 2>&1 &
	children=$!
	exec 9>"$dir/fifo"
	wait_for_line "$dir/writer" "holding 100"
	readers=$(($(readers) + 1))
	"$writer" --cache broken --read --steps 1000 >"$dir/reader" 2>&1 &
	reader=$!
	wait_for has_readers $readers
	"$treekvctl" lease break broken >/dev/null
	wait $reader
	says "a reader is told that the memory is another one" "$dir/reader" \
		"the memory of cache broken is another one by now; detach and attach again"
	check "and finds it when he attaches again" \
		"$writer" --cache broken --read --steps 100
	exec 9>&-
	wait $children
	children=
}

test_from_disk()
{
	"$writer" --cache disk --steps 70 >/dev/null
	"$treekvctl" snapshot disk >/dev/null
	"$treekvctl" drop --keep-snapshot disk >/dev/null
	check "a reader's attach brings a cache back from disk" \
		"$writer" --cache disk --read --steps 70
	check "which is then free for a writer" \
		"$writer" --cache disk --attach --steps 5
}

test_another_user()
{
	if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
		skip "readers of another user: not root, or no setpriv"
		return
	fi
	mkdir "$dir/bin"
	cp "$writer" "$dir/bin"
	chmod 755 "$dir" "$dir/bin"
	nobody="setpriv --reuid=65534 --regid=0 --clear-groups $dir/bin/kvwriter"
	check "the daemon's user is not the reader's" \
		$nobody --cache his --steps 90
	check "he reads his cache" $nobody --cache his --read --steps 90
	$nobody --cache disk --read --steps 1 2>"$dir/err"
	says "and no other's" "$dir/err" "there is no cache disk"
}

mkfifo "$dir/fifo" "$dir/fifo2"
start_daemon --keeper --log-level warning
test_readers_beside_a_writer
test_the_daemon_dies
test_a_dropped_cache_stays_readable
test_a_broken_lease
test_from_disk
test_another_user
stop_daemon
check "the daemon ends in good order" [ "$status" = 0 ]
exit $failed
