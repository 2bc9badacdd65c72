#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What happens is told: each kind of event by what it is about, counted against
# the daemon's own metrics; to others only what is theirs; to who follows
# without waiting for him.
#
# Usage: test_events.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "events"
writer=$helpers/kvwriter
uid=$(id -u)
nobody=65534

# follow: treekvctl's lines in $dir/events
follow()
{
	rm -f "$dir/events"
	"$treekvctl" events --follow --last 0 --json >"$dir/events" \
		2>"$dir/events.err" &
	follower=$!
	children="$children $follower"
	wait_for has_metric followers 1
}

unfollow()
{
	kill "$follower"
	wait "$follower" 2>/dev/null
	wait_for has_metric followers 0
}

metric()
{
	"$treekvctl" status --json | python3 -c '
import json, sys
print(json.load(sys.stdin)["metrics"][sys.argv[1]])' "$1"
}

has_metric()
{
	[ "$(metric "$1")" -eq "$2" ]
}

# told KIND PYTHON: an event of that kind is in $dir/events for which it is true
told()
{
	python3 - "$dir/events" "$1" "$2" <<-'END'
		import json, sys
		for line in open(sys.argv[1]):
		    e = json.loads(line)
		    if e["kind"] == sys.argv[2] and eval(f"({sys.argv[3]})", {"e": e}):
		        sys.exit(0)
		sys.exit(1)
	END
}

# tells NAME KIND PYTHON
tells()
{
	if wait_for told "$2" "$3"; then
		ok "$1"
	else
		not_ok "$1" "$dir/events" "$log"
	fi
}

# summed NAME KIND METRIC: what events of that kind count is the metric
summed()
{
	python3 - "$dir/events" "$1" "$2" "$(metric "$3")" <<-'END'
		import json, sys
		events = [json.loads(line) for line in open(sys.argv[1])]
		n = sum(e.get(sys.argv[2], 1) for e in events
		        if e["kind"] == sys.argv[3])
		sys.exit(n != int(sys.argv[4]))
	END
}

# adds_up NAME FIELD KIND METRIC
adds_up()
{
	if wait_for summed "$2" "$3" "$4"; then
		ok "$1"
	else
		not_ok "$1 ($4 $(metric "$4"))" "$dir/events"
	fi
}

switches()
{
	cat /proc/"$daemon"/task/*/status | grep -E '_ctxt_switches|^Name'
}

is_quiet()
{
	switches >"$dir/quiet.1"
	"$treekvctl" --version
	switches >"$dir/quiet.2"
	cmp -s "$dir/quiet.1" "$dir/quiet.2"
}

test_idle()
{
	if grep -q __tsan_init "$treekvd"; then
		skip "wake-ups: ThreadSanitizer has a thread that wakes itself"
		return
	fi
	"$writer" --cache idle --steps 900 >/dev/null 2>&1
	wait_for told compaction "e['name'] == 'idle'"
	wait_for is_quiet
	switches >"$dir/before"
	sleep 2 # what is observed, not waited for
	switches >"$dir/after"
	check "a follower of a daemon without writers does not wake it" \
		diff "$dir/before" "$dir/after"
	"$treekvctl" drop idle >/dev/null
}

test_caches()
{
	"$writer" --cache story --steps 3000 --slack 1 --verify-every 99999 \
		>/dev/null 2>&1
	tells "create" create \
		"e['name'] == 'story' and e['uid'] == $uid and e['bytes'] > 0"
	tells "attach" attach "e['name'] == 'story' and e['tail'] == 0"
	tells "detach" detach "e['name'] == 'story' and e['tail'] == 3000"
	"$writer" --cache prompt --prompt 300 --steps 10 >/dev/null 2>&1
	tells "prefill" prefill \
		"e['name'] == 'prompt' and e['tail'] == 300 and e['pid'] > 0"
	"$treekvctl" drop prompt >/dev/null
	"$treekvctl" freeze story >/dev/null
	tells "freeze" freeze "e['name'] == 'story' and e['tail'] == 3000"
	"$writer" --cache tale --fork story --evict-prefix --slack 1 \
		--steps 5 --verify-every 99999 >/dev/null 2>&1
	tells "fork" fork \
		"e['name'] == 'tale' and e['tail'] == 3000 and e['bytes'] > 0"
	"$treekvctl" drop tale >/dev/null
	"$treekvctl" drop story >/dev/null
	tells "drop" drop "e['name'] == 'story' and e['pid'] > 0"
	tells "gone" gone "e['name'] == 'story' and e['bytes'] > 0"
	adds_up "compactions come in summaries that add up" \
		count compaction compactions_total
	adds_up "evictions, too" evictions compaction evictions_total
	adds_up "stalls add up" count stall stalls_total
	check "a second has one summary of a cache" one_a_second
	"$treekvctl" drop story >/dev/null 2>&1
	tells "refusal" refusal \
		"e['errno'] == 2 and 'there is no cache story' in e['text']"
}

one_a_second()
{
	python3 - "$dir/events" <<-'END'
		import collections, json, sys
		last = collections.defaultdict(int)
		for e in map(json.loads, open(sys.argv[1])):
		    if e["kind"] == "compaction":
		        assert e["number"] is None, e
		        last[e["cache"]] += 1
		assert last and max(last.values()) < 30, last
	END
}

test_ends()
{
	rm -f "$dir/in"
	mkfifo "$dir/in"
	"$writer" --cache killed --steps 100 --hold <"$dir/in" \
		>"$dir/out" 2>&1 &
	holder=$!
	exec 9>"$dir/in"
	wait_for_line "$dir/out" holding
	kill -STOP $holder
	"$treekvctl" lease break killed >/dev/null
	tells "lease_broken" lease_broken \
		"e['name'] == 'killed' and e['pid'] == $holder"
	kill -KILL $holder
	wait $holder 2>/dev/null
	rm "$dir/out" # which says that somebody is holding
	"$writer" --cache killed --attach --steps 1 --hold <"$dir/in" \
		>"$dir/out" 2>&1 &
	holder=$!
	wait_for_line "$dir/out" holding
	kill -KILL $holder
	wait $holder 2>/dev/null
	exec 9>&-
	tells "death" death \
		"e['name'] == 'killed' and e['pid'] == $holder and e['tail'] == 101"
	"$helpers/kvhostile" commit-beyond >"$dir/out" 2>&1 ||
		not_ok "kvhostile" "$dir/out"
	tells "quarantine" quarantine \
		"e['name'] == 'hostile' and 'tail outside' in e['text']"
	"$treekvctl" drop hostile >/dev/null
}

test_prompt()
{
	"$O/bin/treekv-run" --prompt "$(seq -s ' ' 1 200)" --prefill \
		--budget 64 --cache prompt --generate 1 >/dev/null 2>&1
	tells "prefill" prefill "e['name'] == 'prompt' and e['tail'] > 200"
	"$treekvctl" drop prompt >/dev/null
}

test_snapshots()
{
	"$writer" --cache saved --steps 500 >/dev/null 2>&1
	"$treekvctl" snapshot saved >/dev/null
	tells "snapshot" snapshot "e['name'] == 'saved' and
		e['tail'] == 500 and e['bytes'] > 0 and e['ns'] > 0"
	"$treekvctl" drop saved --keep-snapshot >/dev/null
	"$treekvctl" restore saved >/dev/null
	tells "restore" restore "e['name'] == 'saved' and e['tail'] == 500"
	"$treekvctl" drop saved --keep-snapshot >/dev/null
	file=$dir/state/snapshots/$uid/saved.tkv
	printf X | dd of="$file" bs=1 conv=notrunc status=none \
		seek=$(($(stat -c %s "$file") / 2))
	"$treekvctl" restore saved >/dev/null 2>&1
	tells "restore_failed, of a damaged file" restore_failed \
		"e['name'] == 'saved' and e['errno'] and 'saved' in e['text']"
	echo nonsense >"$dir/state/snapshots/$uid/odd.tkv"
	"$treekvctl" restore odd >/dev/null 2>&1
	tells "restore_failed, of a foreign one" restore_failed \
		"e['name'] == 'odd' and 'cannot be restored' in e['text']"
	"$writer" --cache odd --exclusive --steps 5 >/dev/null 2>&1
	rm "$dir/state/snapshots/$uid/odd.tkv"
	"$writer" --cache odd --steps 5 >/dev/null 2>&1
	echo nonsense >"$dir/state/snapshots/$uid/odd.tkv"
	"$treekvctl" snapshot odd >/dev/null 2>&1
	tells "snapshot_failed" snapshot_failed "e['name'] == 'odd' and e['errno']"
	adds_up "each failure is counted" none snapshot_failed \
		snapshot_failures_total
	adds_up "restores as well" none restore_failed restore_failures_total
}

is_sorted()
{
	python3 - "$1" <<-'END'
		import json, sys
		numbers = [json.loads(line)["number"] for line in open(sys.argv[1])]
		sys.exit(numbers != list(range(1, len(numbers) + 1)))
	END
}

test_kept()
{
	"$treekvctl" events --json >"$dir/kept"
	check "what is kept is there from the first on" is_sorted "$dir/kept"
	"$treekvctl" events --json --last 4 >"$dir/four"
	check "--last has the latest" sh -c \
		'tail -n 4 "$1" | cmp - "$2"' sh "$dir/kept" "$dir/four"
	"$treekvctl" events --last 1000 >"$dir/out"
	says "as text" "$dir/out" "there is no cache story"
	check "one line each" test "$(wc -l <"$dir/out")" -eq \
		"$(wc -l <"$dir/kept")"
}

# What has been seen so far is most of what there is.
test_manual()
{
	grep -ohE '"kind": "[a-z_]*' "$dir/events" "$dir/kept" |
		sed 's/.*"//' | sort -u >"$dir/kinds"
	missing=
	while read -r kind; do
		grep -qx "\.It $kind" "$O/man/treekvctl.1" ||
			missing="$missing $kind"
	done <"$dir/kinds"
	check "the manual has each kind ($(wc -l <"$dir/kinds"))" \
		[ -z "$missing" ]
}

# as_nobody COMMAND...
as_nobody()
{
	setpriv --reuid=$nobody --regid=0 --clear-groups "$@" </dev/null
}

test_others()
{
	if [ "$uid" -ne 0 ] || ! command -v setpriv >/dev/null; then
		skip "events of other users: needs root and setpriv"
		return
	fi
	mkdir "$dir/bin"
	cp "$writer" "$treekvctl" "$dir/bin"
	chmod 755 "$dir" "$dir/bin"
	as_nobody "$dir/bin/treekvctl" events --json >"$dir/out"
	check "another user is not told of ours" [ ! -s "$dir/out" ]
	setpriv --reuid=$nobody --regid=0 --clear-groups "$dir/bin/treekvctl" \
		events --follow --json >"$dir/theirs" &
	other=$! # a function's would be the shell's
	children="$children $other"
	wait_for has_metric followers 2
	"$writer" --cache ours --steps 900 >/dev/null 2>&1
	as_nobody "$dir/bin/kvwriter" --cache theirs --steps 900 >/dev/null
	as_nobody "$dir/bin/treekvctl" drop ours >/dev/null 2>&1
	tells "we are told of theirs" refusal "e['uid'] == $nobody"
	wait_for_line "$dir/theirs" '"kind": "refusal"'
	kill $other
	wait $other 2>/dev/null
	check "who follows is told of his own caches and refusals" \
		grep -q '"kind": "detach".*"name": "theirs"' "$dir/theirs"
	check "and of nothing else" [ "$(grep -c '"name": "ours"' \
		"$dir/theirs")" -eq 0 ]
}

test_end()
{
	follow
	stop_daemon
	wait "$follower"
	check "who follows ends with the daemon" [ $? -eq 1 ]
	says "and says so" "$dir/events.err" \
		"treekvd at $TREEKV_SOCKET has ended"
}

is_back()
{
	"$treekvctl" events --json | grep -q '"kind": "adopt"'
}

test_adoption()
{
	start_daemon --keeper
	mkfifo "$dir/kept.in"
	"$writer" --cache kept --steps 100 --hold <"$dir/kept.in" \
		>"$dir/out" 2>&1 &
	holder=$!
	exec 9>"$dir/kept.in"
	wait_for_line "$dir/out" holding
	served_by=$("$treekvctl" status --json | grep -oE '"pid": [0-9]+' |
		grep -oE '[0-9]+')
	kill -STOP "$served_by"
	kill -KILL $holder
	wait $holder 2>/dev/null
	kill -KILL "$served_by"
	exec 9>&-
	wait_for is_back
	"$treekvctl" events --json >"$dir/events"
	tells "adopt, after the daemon was killed" adopt \
		"e['count'] == 1 and 'damaged=0' in e['text']"
	tells "and death, of who died meanwhile" death \
		"e['name'] == 'kept' and e['pid'] == $holder"
	stop_daemon
}

start_daemon --snapshot-rate 100K # bytes: half a second each
follow
test_idle # before threads of io_uring's own come and go
test_caches
test_ends
test_prompt
test_snapshots
test_kept
test_manual
test_others
unfollow
"$writer" --cache followed --steps 10 >/dev/null 2>&1
python3 -B "$(dirname "$0")/events.py" "$TREEKV_SOCKET" || failed=1
test_end
test_adoption
exit $failed
