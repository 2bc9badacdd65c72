#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The limits of treekvd(8), LIMITS: what is as large as it says is taken, one
# more is refused, and the refusal has the figure. Where the largest takes more
# memory than a test may, that it is within its limit shows in what refuses it:
# the pool, by its own figures.
#
# Usage: test_limits.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "limits"
writer=$helpers/kvwriter
here=$(dirname "$0")
page=$here/../../daemon/treekvd.8.in
header=$here/../../proto/shm.h

# row_of LIMIT: its figure in the manual's table, without commas
row_of()
{
	sed -n "s/^$1@\([0-9,]*\)@.*/\1/p" "$page" | tr -d ,
}

# takes NAME [OPTION]...: a cache is made, written to, and dropped
takes()
{
	name=$1
	shift
	check "$name" "$writer" --cache "$name" --budget 32 --sinks 4 \
		--recent 8 --slack 4 --steps 40 "$@"
	"$treekvctl" drop "$name" >/dev/null 2>&1
}

# refuses WORDS [OPTION]...: a cache is not made, for that reason
refuses()
{
	words=$1
	shift
	"$writer" --cache beyond --sinks 4 --recent 8 "$@" --steps 1 \
		>"$dir/out" 2>&1
	says "$words" "$dir/out" "$words"
}

test_specs()
{
	layers=$(row_of layers)
	heads=$(row_of "kv heads")
	bytes=$(row_of "bytes of a row of K or of V")
	ids=$(row_of "token ids kept")
	takes layers --layers "$layers" --heads 1
	takes heads --layers 1 --heads "$heads"
	takes k-row --layers 1 --heads 1 --k-row "$bytes"
	takes v-row --layers 1 --heads 1 --v-row "$bytes"
	refuses "layers is $((layers + 1)), but must be 1 to $layers" \
		--layers $((layers + 1))
	refuses "kv_heads is $((heads + 1)), but must be 1 to $heads" \
		--heads $((heads + 1))
	refuses "k_row (bytes) is $((bytes + 1)), but must be 1 to $bytes" \
		--k-row $((bytes + 1))
	refuses "v_row (bytes) is $((bytes + 1)), but must be 1 to $bytes" \
		--v-row $((bytes + 1))
	refuses "ids is $((ids + 1)), but must be 0 to $ids" \
		--ids $((ids + 1))
	refuses "the pool is used up" --ids "$ids"
}

# The largest cache that can be asked for: its size is right, to the byte that
# Python's integers, which have no end, make of its K and V alone.
test_capacity()
{
	rows=$(row_of "rows of a layer and head")
	refuses "layer 0 would have $((rows + 1)) rows" \
		--budget $((rows - 15)) --slack 16
	refuses "the pool is used up" --layers 1 --heads 1 \
		--budget $((rows - 16)) --slack 16
	refuses "the pool is used up" --layers "$layers" --heads "$heads" \
		--k-row "$bytes" --v-row "$bytes" --ids "$ids" \
		--budget $((rows - 16)) --slack 16
	check "the largest cache of all is not taken for a small one" \
		python3 - "$dir/out" "$layers" "$heads" "$bytes" "$rows" <<'END'
import re, sys
takes = int(re.search(r"takes (\d+)", open(sys.argv[1]).read()).group(1))
layers, heads, size, rows = map(int, sys.argv[2:])
least = layers * heads * rows * 2 * size
sys.exit(not least < takes < least + least // 100)
END
}

test_names()
{
	length=$(row_of "bytes of a name")
	longest=$(printf '%*s' "$length" '' | tr ' ' n)
	takes "$longest"
	"$writer" --cache "${longest}n" --steps 1 >"$dir/out" 2>&1
	says "a longer name is refused" "$dir/out" "1 to $length bytes"
}

test_workers()
{
	workers=$(row_of workers)
	"$treekvd" --workers $((workers + 1)) >"$dir/out" 2>&1
	says "more workers are refused" "$dir/out" "from 1 to $workers"
	start_daemon --workers "$workers" --restore never
	check "as many work" test "$("$treekvctl" status --json | python3 -c '
import json, sys
print(json.load(sys.stdin)["metrics"]["workers"])')" -eq "$workers"
	stop_daemon
}

# Connections that follow: the last one's fate by what the daemon says.
test_followers()
{
	followers=$(row_of "followers of a user")
	for _ in $(seq "$followers"); do
		"$treekvctl" events --follow >"$dir/events" 2>&1 &
		children="$children $!"
	done
	wait_for follow "$followers"
	check "as many follow" follow "$followers"
	timeout "$deadline" "$treekvctl" events --follow >"$dir/out" 2>&1
	says "one more is refused" "$dir/out" \
		"$followers connections of user $(id -u) follow"
	# shellcheck disable=SC2086 # a list of numbers
	kill $children
	# shellcheck disable=SC2086
	wait $children 2>/dev/null
	children=
}

follow()
{
	[ "$("$treekvctl" status --json | python3 -c '
import json, sys
print(json.load(sys.stdin)["metrics"]["followers"])')" -eq "$1" ]
}

test_tokens()
{
	tokens=$(sed -n 's/.*SHM_TAIL_MAX.*C(\(0x[0-9a-f]*\)).*/\1/p' "$header")
	check "no cache sees more tokens than the manual has" \
		test "$(row_of "tokens of a cache, ever")" -eq $((tokens))
}

test_requests()
{
	check "a longer request is refused" python3 -B "$here/limits.py" \
		request "$TREEKV_SOCKET" "$(row_of "bytes of a request")"
}

# Nobody needs more than one connection for metrics: the others wait.
test_metrics()
{
	at=$dir/metrics.sock
	start_daemon --restore never --metrics "$at"
	if grep -qF 'event="metrics not served"' "$log"; then
		skip "clients of the metrics: libmicrohttpd is not installed"
	else
		check "one client more of the metrics waits" python3 -B \
			"$here/limits.py" metrics "$TREEKV_SOCKET" "$at" \
			"$(row_of "clients of the metrics")"
	fi
	stop_daemon
}

# A keeper has three descriptors of each, beyond all that a daemon may be given.
test_kept()
{
	if ! python3 -c '
import resource, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
sys.exit(0 <= hard < 4464)'; then
		skip "caches kept: the hard limit of descriptors is below 4464"
		return
	fi
	kept=$(row_of "caches kept by .*keeper")
	check "systemd keeps as many as a keeper" \
		test "$(row_of "caches kept by systemd")" -eq "$kept"
	start_daemon --keeper --restore never --snapshot-on-stop no \
		--pool 400M --quota-caches 0
	check "as many are kept" "$helpers/kvmany" --caches "$kept" \
		--processes 1 --attaches 1 </dev/null
	refuses "there are $kept caches, the most that the service manager"
	stop_daemon
}

start_daemon --restore never --pool 400M
test_specs
test_capacity
test_names
test_tokens
test_requests
test_followers
stop_daemon
test_workers
test_metrics
test_kept
exit $failed
