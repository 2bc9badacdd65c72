#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A user who means harm (hostile.py, which needs no library of ours) beside two
# who work: he is refused or cut off, each time with the reason, and harms nobody
# but himself. The others' rows are checked after each step, and what he was
# given is all given back.
#
# Usage: test_tenants_hostile.sh BUILD-DIR
#
# shellcheck disable=SC2317 # wait_for calls functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/users.sh
. "$(dirname "$0")/users.sh"

need python3 "a hostile client"
here=$(dirname "$0")

descriptors()
{
	for fd in "/proc/$daemon/fd/"*; do
		echo "$fd"
	done | wc -l
}

# work USER NAME: one round after the other until there is $dir/enough
work()
{
	rounds=0
	while [ ! -e "$dir/enough" ]; do
		setpriv --reuid="$1" --regid="$1" --clear-groups \
			"$dir/bin/kvwriter" --cache "$2" --steps 300 \
			--verify-every 50 >"$dir/$2.out" 2>"$dir/$2.err" ||
			return 1
		rounds=$((rounds + 1))
		echo $rounds >"$dir/$2.rounds"
	done
}

has_worked()
{
	[ -e "$dir/deskA.rounds" ] && [ -e "$dir/deskB.rounds" ]
}

is_as_before()
{
	[ "$(descriptors)" -le "$before" ] &&
		[ "$("$treekvctl" list --json | grep -o '"name"' | wc -l)" = 2 ]
}

start_daemon --workers 2 --snapshot-on-stop no --log-level error
chmod 666 "$TREEKV_SOCKET"
mkdir "$dir/bin"
cp "$helpers/kvwriter" "$dir/bin"
chmod 755 "$dir" "$dir/bin"
"$treekvctl" quota $carol caches=40 bytes=64M requests=300 >/dev/null
writer $alice --cache deskA --steps 100
writer $bob --cache deskB --steps 100
before=$(descriptors)
work $alice deskA &
first=$!
work $bob deskB &
children="$first $!"
wait_for has_worked
for part in messages framing memory floods descriptors crowd hoard; do
	python3 -B "$here/hostile.py" "$TREEKV_SOCKET" \
		"$here/../../proto/treekv.proto" $carol $part \
		>"$dir/out" 2>"$dir/err"
	status=$?
	if [ $status -eq 0 ] && "$treekvctl" status >/dev/null 2>&1; then
		ok "$(cat "$dir/out")"
	else
		not_ok "the daemon bears with his $part" "$dir/out" \
			"$dir/err" "$log"
	fi
done
: >"$dir/enough"
for who in $children; do
	wait "$who"
	status=$?
	check "a neighbour has found every row right" [ $status -eq 0 ]
done
children=
echo "# rounds of 300 tokens: $(cat "$dir/deskA.rounds" "$dir/deskB.rounds" |
	tr '\n' ' ')"
check "all that he was given is given back" wait_for is_as_before
stop_daemon
check "the daemon stops cleanly" [ "$status" -eq 0 ]
exit $failed
