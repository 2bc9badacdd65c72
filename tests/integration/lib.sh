# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
# shellcheck disable=SC2034 # its variables are the tests'
#
# What integration tests share: sourced with the build directory in $1. Each
# test has a directory of its own, $dir, and at most one daemon at a time in
# it. Nothing sleeps: what is waited for is asked for again until it is there,
# or until a deadline that only a broken program reaches.
#
# A case prints "ok - NAME", "not ok - NAME" or "skip - NAME: what it lacked".

set -u

O=${1:?usage: test_NAME.sh BUILD-DIR}
treekvd=$O/bin/treekvd
treekvctl=$O/bin/treekvctl
helpers=$O/tests/helpers
deadline=30 # seconds
failed=0
daemon=
children=

dir=$(mktemp -d "${TMPDIR:-/tmp}/treekv-test.XXXXXX") || exit 1
export TREEKV_SOCKET="$dir/treekvd.sock"
log=$dir/log

ok()
{
	echo "ok - $1"
}

# not_ok NAME [FILE]...: with what the files say
not_ok()
{
	echo "not ok - $1"
	shift
	failed=1
	for file in "$@"; do
		echo "# $file:"
		tail -n 40 "$file" | sed 's/^/#   /'
	done
}

skip()
{
	echo "skip - $1"
}

# check NAME COMMAND...: ok when the command succeeds
check()
{
	what=$1
	shift
	if "$@" >"$dir/check" 2>&1; then
		ok "$what"
	else
		not_ok "$what" "$dir/check"
	fi
}

# says NAME FILE WORDS: ok when the file has a line with these very words
says()
{
	if grep -qF -- "$3" "$2"; then
		ok "$1"
	else
		not_ok "$1" "$2"
		echo "# lacks: $3"
	fi
}

# refused NAME WORDS COMMAND...: the command fails and says these words
refused()
{
	what=$1
	words=$2
	shift 2
	if "$@" >"$dir/out" 2>"$dir/err" </dev/null; then
		not_ok "$what" "$dir/out"
	else
		says "$what" "$dir/err" "$words"
	fi
}

# wait_for COMMAND...: runs it again until it succeeds
wait_for()
{
	until=$(($(date +%s) + deadline))
	while ! "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt $until ] || return 1
	done
}

# wait_for_line FILE WORDS
wait_for_line()
{
	wait_for grep -qF -- "$2" "$1"
}

is_up()
{
	"$treekvctl" status || ! kill -0 "$daemon"
}

# A call that the daemon makes and its filter does not know is a mistake in one
# of the two.
check_calls()
{
	! grep -qF 'event="system call refused"' "$log" 2>/dev/null ||
		not_ok "the daemon stays in its sandbox" "$log"
}

# start_daemon [OPTION]...: a daemon of our own; $wrapper may stand before it
start_daemon()
{
	check_calls
	: >"$dir/empty.conf"
	# shellcheck disable=SC2086 # a command and its arguments
	${wrapper-} "$treekvd" --config "$dir/empty.conf" \
		--socket "$TREEKV_SOCKET" --state-dir "$dir/state" \
		--huge-pages never "$@" >"$log" 2>&1 &
	daemon=$!
	if ! wait_for is_up || ! "$treekvctl" status >/dev/null 2>&1; then
		not_ok "the daemon starts" "$log"
		exit 1
	fi
}

# stop_daemon: its exit status in $status
stop_daemon()
{
	kill -TERM "$daemon"
	wait "$daemon"
	status=$?
	daemon=
}

# field NAME FIELD: of a cache, as 'treekvctl list --json' has it
field()
{
	"$treekvctl" list --json | python3 -c '
import json, sys
for cache in json.load(sys.stdin):
    if cache["name"] == sys.argv[1]:
        print(cache[sys.argv[2]])' "$1" "$2"
}

# has_state NAME STATE: and there is one cache of that name, not also one that
# is on its way out of memory
has_state()
{
	[ "$(field "$1" state)" = "$2" ]
}

is_sanitized()
{
	grep -qE '__(a|t)san_init' "$treekvd"
}

need()
{
	command -v "$1" >/dev/null 2>&1 && return
	skip "$2: $1 is not installed"
	exit 77
}

# has_ended PID: a zombie has, too
has_ended()
{
	! kill -0 "$1" 2>/dev/null || grep -q '^State:.*Z' "/proc/$1/status"
}

clean_up()
{
	# shellcheck disable=SC2086 # a list of numbers
	[ -z "$children" ] || kill -KILL $children 2>/dev/null
	if [ -n "$daemon" ]; then
		kill -CONT "$daemon" 2>/dev/null
		# in good order where that is possible: a keeper takes its
		# daemon along
		kill -TERM "$daemon" 2>/dev/null
		deadline=10
		wait_for has_ended "$daemon"
		kill -KILL "$daemon" 2>/dev/null
	fi
	# shellcheck disable=SC2086
	wait $daemon $children
	check_calls
	rm -rf "$dir"
}

trap clean_up EXIT
trap 'exit 1' HUP INT TERM
