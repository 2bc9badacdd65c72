#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Very large caches are made and given back without anybody else waiting for
# that; and who wants the room of one that is leaving has it.
#
# Usage: test_large.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "large caches"
free=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
if [ "$free" -lt $((3 << 20)) ]; then
	skip "large caches: 3 GiB of free memory"
	exit 77
fi
start_daemon --workers 1 --pool 900M --restore never
python3 -B "$(dirname "$0")/large.py" "$TREEKV_SOCKET" || failed=1
stop_daemon
check "the daemon stops in good order" [ "$status" -eq 0 ]
[ $failed -eq 0 ] || cat "$log"
exit $failed
