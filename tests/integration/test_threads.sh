#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Threads of a process that share a connection (tests/helpers/kvthreads.c).
#
# Usage: test_threads.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

start_daemon
"$helpers/kvthreads" || failed=1
stop_daemon
check "the daemon stops cleanly" [ "$status" -eq 0 ]
exit $failed
