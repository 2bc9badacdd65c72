#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Who may reach what: the descriptors that a client is handed, and caches of
# another user.
#
# Usage: test_access.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

nobody=65534

# as_nobody GROUP COMMAND...: with the programs that $dir/bin has
as_nobody()
{
	group=$1
	shift
	setpriv --reuid=$nobody --regid="$group" --clear-groups "$@" \
		>"$dir/out" 2>"$dir/err" </dev/null
}

test_descriptors()
{
	"$helpers/kvaccess" 2>"$dir/err" || {
		failed=1
		sed 's/^/# /' "$dir/err"
	}
}

test_other_users()
{
	if [ "$(id -u)" -ne 0 ]; then
		skip "caches of another user: not root"
		return
	fi
	if ! command -v setpriv >/dev/null; then
		skip "caches of another user: setpriv is not installed"
		return
	fi
	mkdir "$dir/bin"
	cp "$helpers/kvwriter" "$treekvctl" "$dir/bin"
	chmod 755 "$dir" "$dir/bin"
	"$helpers/kvwriter" --cache secret --steps 100 >/dev/null 2>&1

	as_nobody $nobody "$dir/bin/kvwriter" --cache secret
	says "who is not in the socket's group cannot connect" "$dir/err" \
		"cannot connect to treekvd at $TREEKV_SOCKET: Permission denied; its group may use it: 'usermod -aG treekv USER', then log in again"
	as_nobody 0 "$dir/bin/kvwriter" --cache secret --attach
	says "another user cannot attach" "$dir/err" \
		"there is no cache secret"
	as_nobody 0 "$dir/bin/treekvctl" list --json
	check "nor see it" grep -qx '\[\]' "$dir/out"
	as_nobody 0 "$dir/bin/treekvctl" inspect secret
	says "nor inspect it" "$dir/err" "there is no cache secret"
	as_nobody 0 "$dir/bin/treekvctl" drop secret
	says "nor drop it" "$dir/err" "there is no cache secret"
	as_nobody 0 "$dir/bin/kvwriter" --cache secret --exclusive --steps 50
	says "the name is free for a cache of his own" "$dir/out" "tail 50 "
	"$helpers/kvwriter" --cache secret --attach --steps 10 \
		>"$dir/out" 2>"$dir/err"
	says "and ours is as it was" "$dir/out" "tail 110 "
	"$treekvctl" list --json >"$dir/out"
	check "root sees both" [ "$(grep -oE '"name": *"secret"' "$dir/out" | wc -l)" = 2 ]
}

start_daemon --log-level warning
test_descriptors
test_other_users
stop_daemon
exit $failed
