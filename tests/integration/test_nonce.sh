#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Who lost the answer to a request for a lease asks again with the same nonce,
# and has it: himself and nobody else, under whatever daemon, once. Who gave up
# asking, or giving back, has his cache when he asks the next time.
#
# Usage: test_nonce.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "nonces"

# speak NAME ARGUMENT...: cases of their own, byte by byte
speak()
{
	name=$1
	shift
	python3 -B "$(dirname "$0")/$name" "$@" >"$dir/out" 2>&1 || failed=1
	grep -E '^(not )?ok' "$dir/out"
	[ $failed -eq 0 ] || sed 's/^/# /' "$dir/out" "$log"
}

start_daemon --keeper --snapshot-on-stop no
speak nonce.py "$TREEKV_SOCKET"
check "a detach without answer is made up for" \
	"$helpers/kvlost" detached detach "$daemon"
stop_daemon
speak nonce_pending.py "$treekvd" "$dir"

# The second lease is recorded, and there is no daemon until he has given up.
treekvd=$helpers/treekvd-faults
export TREEKV_CRASH_FUSE="$dir/fuse" TREEKV_CRASH_AT="lease-recorded:2"
: >"$dir/fuse"
start_daemon --keeper --snapshot-on-stop no
check "an attach without answer is made up for" \
	"$helpers/kvlost" attached attach "$daemon"
check "the daemon died in that" [ ! -e "$dir/fuse" ]
exit $failed
