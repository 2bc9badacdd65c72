#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A daemon that serves has no capabilities, cannot get any, and is under its
# filter, in every thread; what is in a cache is in no core dump, neither the
# daemon's nor a client's. That it does all it should in there, the other tests
# show: each fails where a daemon's log has a refused call.
#
# Usage: test_sandbox.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "the sandbox"
writer=$helpers/kvwriter

# threads_have FIELD VALUE: in /proc/PID/task/*/status, all of them
threads_have()
{
	cat "/proc/$daemon/task"/*/status >"$dir/status"
	n=$(grep -c '^Name:' "$dir/status")
	[ "$n" -ge 3 ] &&
		[ "$(grep -cE "^$1:[[:space:]]*$2\$" "$dir/status")" -eq "$n" ]
}

test_privileges()
{
	for set in CapInh CapPrm CapEff CapBnd CapAmb; do
		if [ "$set" = CapBnd ] && [ "$(id -u)" != 0 ]; then
			skip "CapBnd: needs root to begin with"
			continue
		fi
		check "no thread has any of $set" threads_have $set 0000000000000000
	done
	check "no thread can get new ones" threads_have NoNewPrivs 1
	if is_sanitized; then
		skip "the filter: sanitizers do what it refuses"
		return
	fi
	check "every thread is under a filter" threads_have Seccomp 2
}

# not_dumped PID: every mapping of a cache has the flag dd, and there are some
not_dumped()
{
	python3 - "$1" <<'END'
import re, sys
name, seen = "", 0
for line in open(f"/proc/{sys.argv[1]}/smaps"):
    if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
        name = line.split(maxsplit=5)[5] if len(line.split()) > 5 else ""
    elif line.startswith("VmFlags:") and "memfd:treekv-" in name:
        seen += 1
        if "dd" not in line.split():
            sys.exit(f"{name.strip()}: {line}")
sys.exit(seen < 2)
END
}

test_dumps()
{
	"$writer" --cache dumped --steps 1000000000 >/dev/null 2>"$dir/err" &
	children=$!
	wait_for "$treekvctl" inspect dumped
	wait_for not_dumped $children
	check "a client's core has no rows and no index" not_dumped $children
	check "the daemon's has none" not_dumped "$daemon"
	kill -KILL $children
	wait $children 2>/dev/null
	children=
}

# What was said and what is known of it, at the most talkative level.
test_logs()
{
	check "a model writes a text" "$O/bin/treekv-run" --cache told \
		--prompt "Zephyr quixotic" --generate 20
	"$treekvctl" snapshot told >/dev/null
	"$treekvctl" drop told
	says "the log knows the cache" "$log" "name=told"
	check "and none of its words" sh -c '! grep -qiE "zephyr|quixotic" "$1"' \
		sh "$log"
}

test_without()
{
	start_daemon --sandbox no
	check "it can be told to do without" threads_have Seccomp 0
	stop_daemon
}

start_daemon --log-level debug
test_privileges
test_dumps
test_logs
stop_daemon
test_without
exit $failed
