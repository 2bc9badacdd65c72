#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What the daemon times, against what its counters and its clients count: as
# many values as there were compactions, stalls, snapshots and requests.
#
# Usage: test_histograms.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "histograms"
writer=$helpers/kvwriter

# agrees NAME PYTHON: true of m, the metrics, and h, the histograms by name
agrees()
{
	"$treekvctl" status --json >"$dir/status"
	check "$1" python3 - "$dir/status" "$2" <<-'END'
		import json, sys
		status = json.load(open(sys.argv[1]))
		m = status["metrics"]
		h = {one["name"]: one for one in status["histograms"]}
		for one in h.values():
		    assert one["unit"] == "nanoseconds", one
		    assert one["source"] == "daemon", one
		    assert sum(one["buckets"]) == one["count"], one
		    least = sum(2 ** i * n for i, n in
		                enumerate(one["buckets"]) if i)
		    most = sum(2 ** (i + 1) * n for i, n in
		               enumerate(one["buckets"]))
		    assert least <= one["sum"] <= most, one
		    assert one["p50"] <= one["p99"], one
		    if not eval(f"({sys.argv[2]})", {"m": m, "h": h}):
		        sys.exit(f"{sys.argv[2]}: {m} {h}")
	END
}

# stalled NAME: at 64 tokens a compaction, the writer waits at nearly each one
stalled()
{
	"$writer" --cache "$1" --steps 2000 --slack 1 --verify-every 99999 \
		>"$dir/out" 2>"$dir/err" || not_ok "$1" "$dir/err"
}

# last_stall: a stall that no compaction follows, but the writer's end
last_stall()
{
	mkfifo "$dir/in"
	"$writer" --cache last --steps 129 --budget 64 --slack 64 \
		--per-step-max 1 --progress --pause <"$dir/in" \
		>"$dir/out" 2>"$dir/err" &
	holder=$!
	children=$holder
	exec 9>"$dir/in"
	wait_for_line "$dir/out" "paused 0"
	kill -STOP "$daemon"
	echo >&9
	wait_for_line "$dir/out" "committed 128"
	wait_for grep -q futex "/proc/$holder/wchan" # it sleeps
	kill -CONT "$daemon"
	wait $holder
	children=
	exec 9>&-
}

start_daemon --workers 2
agrees "nothing has happened yet" \
	'sum(h[n]["count"] for n in h if n != "request_stats") == 0'
last_stall
agrees "a stall is known when its writer has left" \
	'h["stall"]["count"] == m["stalls_total"] == 1'
for i in 1 2 3; do stalled "s$i"; done
agrees "each compaction is timed once" \
	'h["compaction"]["count"] == m["compactions_total"] > 1000'
agrees "a publication is timed where a bell asked for it" \
	'0 < h["publication"]["count"] <= m["doorbells_total"]'
agrees "each stall is timed once" \
	'h["stall"]["count"] == m["stalls_total"] > 100'
"$treekvctl" list --json >"$dir/list"
total=$(python3 -c 'import json, sys
print(sum(c["stall_ns"] for c in json.load(open(sys.argv[1]))))' "$dir/list")
agrees "stalls take as long as writers say, but for a nanosecond each" \
	"0 <= $total - h['stall']['sum'] <= h['stall']['count']"
"$treekvctl" snapshot --all >/dev/null
"$treekvctl" drop s1 --keep-snapshot >/dev/null
"$treekvctl" restore s1 >/dev/null
agrees "each snapshot and each restore is timed" \
	'h["snapshot"]["count"] == m["snapshots_total"] == 4 and
	 h["restore"]["count"] == m["restores_total"] == 1'
agrees "each request is timed under its own name" \
	'[h["request_" + n]["count"] for n in
	  ("create", "detach", "list", "snapshot", "drop", "restore")] ==
	 [4, 4, 1, 1, 1, 1]'
agrees "all of them are" \
	'sum(h[n]["count"] for n in h if n.startswith("request_")) ==
	 m["requests_total"] - 1' # this one is still being answered
"$treekvctl" drop s1 >/dev/null
"$treekvctl" drop s1 >/dev/null 2>&1
agrees "a refused one, too" 'h["request_drop"]["count"] == 3'
"$treekvctl" status >"$dir/out"
says "status has a table of them" "$dir/out" \
	"Time from the start of a compaction to its publication"
stop_daemon
exit $failed
