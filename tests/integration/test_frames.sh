#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Malformed frames, lengths beyond the cap, wrong versions, peers that vanish:
# a clear answer, and the daemon goes on serving.
#
# Usage: test_frames.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "frames"
start_daemon --log-level error
python3 -B "$(dirname "$0")/frames.py" "$TREEKV_SOCKET" || failed=1
stop_daemon
check "the daemon outlives it all" [ "$status" -eq 0 ]
[ "$status" -eq 0 ] || cat "$log"
exit $failed
