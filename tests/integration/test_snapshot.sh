#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Snapshots and restores with a real daemon: caches that check themselves are
# saved under their writers, over a stop, and from files that are damaged.

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

uid=$(id -u)
snapshots=$dir/state/snapshots/$uid
large="--layers 4 --heads 4 --k-row 4096 --v-row 4096 --budget 128 --slack 16"
copies=12
if is_sanitized; then
	copies=4
fi

writer()
{
	"$helpers/kvwriter" "$@"
}

metric()
{
	"$treekvctl" status --json | python3 -c '
import json, sys
print(json.load(sys.stdin)["metrics"][sys.argv[1]])' "$1"
}

# verify NAME [OPTION]...: all rows, scores, note and ids of it are right
verify()
{
	name=$1
	shift
	# shellcheck disable=SC2086 # several words
	writer --cache "$name" --attach --verify-only "$@"
}

# shellcheck disable=SC2317 # called by name
refuses()
{
	! "$@"
}

# ---- under a writer that goes on

start_daemon
# shellcheck disable=SC2086
"$helpers/kvwriter" --cache busy --steps 100000000 --verify-every 0 \
	--progress $large >"$dir/busy" 2>"$dir/busy.err" &
children=$!
busy=$!
wait_for_line "$dir/busy" "committed 300"
for i in $(seq $copies); do
	"$treekvctl" snapshot busy >>"$dir/saved" 2>&1 || break
	cp "$snapshots/busy.tkv" "$dir/copy.$i"
done
check "$copies snapshots under a writer" test -f "$dir/copy.$copies"
check "the writer goes on" kill -0 "$busy"
kill -KILL "$busy"
wait "$busy" 2>/dev/null
children=
# shellcheck disable=SC2086
check "his cache is right afterwards" verify busy $large
bad=0
tails=
for i in $(seq $copies); do
	"$treekvctl" drop busy --keep-snapshot >/dev/null
	cp "$dir/copy.$i" "$snapshots/busy.tkv"
	# shellcheck disable=SC2086
	"$treekvctl" restore busy >"$dir/restored" 2>&1 &&
		verify busy $large >"$dir/verified" 2>&1 || bad=$i
	tails="$tails $(field busy tail | head -n 1)"
done
if [ "$bad" -eq 0 ]; then
	ok "each of them is a whole cache, at tokens$tails"
else
	not_ok "snapshot $bad is a whole cache" "$dir/restored" "$dir/verified"
fi
# shellcheck disable=SC2086
check "and goes on" writer --cache busy --attach --steps 300 $large
"$treekvctl" drop busy >/dev/null
check "drop removes the snapshot" refuses test -e "$snapshots/busy.tkv"

# ---- over a stop

writer --cache a --steps 500 >/dev/null
writer --cache b --steps 20 >/dev/null
writer --cache gone --steps 20 --ephemeral >/dev/null
stop_daemon
check "the daemon stops" test "$status" -eq 0
check "a and b were written" test -f "$snapshots/a.tkv" -a \
	-f "$snapshots/b.tkv" -a ! -e "$snapshots/gone.tkv"
check "and nothing else" test "$(ls "$snapshots" | wc -l)" -eq 2
start_daemon
check "listed as on disk" test "$(field a state)" = "on disk"
check "with their tokens" test "$(field a tail)" -eq 500
check "the first attach restores" verify a
check "in memory then" test "$(field a state)" = idle
check "another model is told so" refuses writer --cache b --steps 1 --budget 32
check "and b goes on" writer --cache b --steps 500
check "no failure" test "$(metric restore_failures_total)" -eq 0
stop_daemon
start_daemon --restore eager
wait_for test "$(metric restores_total)" -eq 2
check "eager restores at the start" test "$(metric restores_total)" -eq 2
check "all of it" verify b
stop_daemon
start_daemon --restore never --snapshot-on-stop no
check "never means never" refuses verify a
check "but by request" "$treekvctl" restore --all
check "all are there" verify a
writer --cache a --steps 77 >/dev/null
stop_daemon
start_daemon
check "not written when stopping if so configured" \
	test "$(field a tail)" -eq 500
stop_daemon

# ---- what has not changed is not written again

start_daemon
verify a >/dev/null
modified=$(stat -c %Y.%Z "$snapshots/a.tkv")
stop_daemon
check "what has not changed is left as it is" \
	test "$(stat -c %Y.%Z "$snapshots/a.tkv")" = "$modified"
start_daemon
verify a >/dev/null
rm "$snapshots/a.tkv"
stop_daemon
check "unless its file has gone" test -f "$snapshots/a.tkv"

# ---- periodic, at a rate, and another one from a reload on

# counted N: snapshots that were written by now
# shellcheck disable=SC2317 # called by wait_for
counted()
{
	[ "$(metric snapshots_total)" -ge "$1" ]
}

start_daemon --snapshot-every 1 --snapshot-rate 1G
writer --cache often --steps 50 >/dev/null
check "written by itself" wait_for test -f "$snapshots/often.tkv"
stop_daemon
printf 'snapshot-every = 86400\n' >"$dir/conf"
start_daemon --config "$dir/conf"
writer --cache often --steps 50 >/dev/null
check "not before it is time" test "$(metric snapshots_total)" -eq 0
printf 'snapshot-every = 1\n' >"$dir/conf"
kill -HUP "$daemon"
check "a reload takes the shorter interval" wait_for counted 1
says "and says so" "$log" 'event="option changed" name=snapshot-every'
: >"$dir/conf"
kill -HUP "$daemon"
wait_for_line "$log" 'event="reloaded"'
printf 'snapshot-every = 2\n' >"$dir/conf"
writer --cache often --steps 50 >/dev/null
kill -HUP "$daemon"
check "and one after there was none" wait_for counted 2
stop_daemon

# ---- slowly, so that one can look on

printf 'snapshot-rate = 2M\n' >"$dir/conf"
start_daemon --config "$dir/conf" --restore never
# shellcheck disable=SC2086 # 4 MiB
writer --cache slow --steps 150 $large >/dev/null
python3 - "$treekvctl" >"$dir/terminal" <<'PYTHON'
import os, pty, sys
def read(fd):
    data = os.read(fd, 4096)
    return data
sys.exit(os.waitstatus_to_exitcode(pty.spawn(
    [sys.argv[1], "snapshot", "slow"], read)))
PYTHON
check "a slow snapshot" test $? -eq 0
tr '\r' '\n' <"$dir/terminal" | grep ' of .* MiB' >"$dir/shown"
check "a terminal shows how far it is, more than once" \
	test "$(sort -u "$dir/shown" | wc -l)" -gt 2
"$treekvctl" snapshot slow >"$dir/saved" 2>&1 &
children=$!
# is_saving: some bytes are written, and not all
is_saving()
{
	"$treekvctl" list --json | python3 -c '
import json, sys
cache = [c for c in json.load(sys.stdin) if c["name"] == "slow"][0]
sys.exit(not 0 < cache["snapshot_done"] < cache["snapshot_total"])'
}
check "the list says how far it is" wait_for is_saving
: >"$dir/conf"
kill -HUP "$daemon"
wait $children
check "a reload lifts the limit of one that is under way" \
	grep -q "saved slow" "$dir/saved"
children=
stop_daemon

# ---- an attach to what is on disk

start_daemon
python3 "$(dirname "$0")/progress.py" "$TREEKV_SOCKET" slow >"$dir/out" 2>&1
says "who attaches is told at once how far restoring is" "$dir/out" "progress"
says "and then given the cache" "$dir/out" "attached slow"
writer --cache b --exclusive --steps 1 2>"$dir/why"
check "an exclusive creation finds what is on disk" test $? -eq 3
says "and says so" "$dir/why" "on disk"
# shellcheck disable=SC2086
check "which is not harmed" verify b
stop_daemon
rm -f "$snapshots"/slow.tkv

# ---- files that are not what they ought to be

start_daemon
truncate -s -4096 "$snapshots/a.tkv"
printf 'x' | dd of="$snapshots/b.tkv" bs=1 seek=30000 conv=notrunc 2>/dev/null
cp "$snapshots/a.tkv" "$dir/torn"
check "a torn file is refused" refuses verify a
verify a 2>"$dir/why"
says "and named" "$dir/why" "a.tkv"
says "with the reason" "$dir/why" "cut short"
check "a cache is not begun anew over it" refuses writer --cache a --steps 1
check "it is left as it was" cmp "$dir/torn" "$snapshots/a.tkv"
"$treekvctl" restore b >"$dir/why" 2>&1
check "a flipped byte is refused" test $? -eq 1
says "with the section" "$dir/why" "the hash of section"
check "no cache is left of it" wait_for has_state b damaged
"$treekvctl" status >"$dir/why"
says "status has it" "$dir/why" "the latest failure"
says "the log has it" "$log" "hash of section"
stop_daemon
check "a stop with damaged files" test "$status" -eq 0
rm -f "$snapshots"/*

# ---- an engine goes on as if nothing had happened

run="$O/bin/treekv-run --cache story --prompt Call --budget 64 --lockstep
	--seed 3 --json"
text()
{
	python3 -c '
import json, sys
print("".join(json.load(open(name))["text"] for name in sys.argv[1:]))' "$@"
}

if [ -x "$O/bin/treekv-run" ]; then
	start_daemon
	# shellcheck disable=SC2086
	{
		$run --generate 300 >"$dir/whole" 2>/dev/null
		"$treekvctl" drop story >/dev/null
		$run --generate 130 >"$dir/part.1" 2>/dev/null
		stop_daemon
		start_daemon
		$run --generate 300 >"$dir/part.2" 2>"$dir/err"
	}
	text "$dir/whole" >"$dir/whole.txt"
	text "$dir/part.1" "$dir/part.2" >"$dir/parts.txt"
	check "300 tokens in two runs over a stop, as in one" \
		cmp "$dir/whole.txt" "$dir/parts.txt"
	check "which are not nothing" test "$(wc -c <"$dir/whole.txt")" -gt 300
	stop_daemon
fi

exit $failed
