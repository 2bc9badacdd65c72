#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Runs all tests of a build: every program $O/tests/test_*, every
# integration/test_*.sh and the model, each for 300 seconds at most, or LIMIT of the
# environment. One line a program; what fails is shown in full, what is skipped
# with its reason. The last line is "N passed, N failed, N skipped".
#
# Usage: run.sh BUILD-DIR [WORD]...
# With WORDs, only programs whose names contain one of them. EMULATOR=COMMAND in
# the environment runs the unit tests of another architecture.

set -u

O=$(cd "${1:?usage: run.sh BUILD-DIR [WORD]...}" && pwd) || exit 1
shift
tests=$(cd "$(dirname "$0")" && pwd)
cd "$tests/.." || exit 1
limit=${LIMIT:-300}
passed=0
failed=0
skipped=0
output=$(mktemp "${TMPDIR:-/tmp}/treekv-run.XXXXXX") || exit 1
trap 'rm -f "$output"' EXIT
job=
trap '[ -z "$job" ] || kill $job; exit 130' HUP INT TERM

# count PATTERN: lines of the output that are so
count()
{
	grep -cE "$1" "$output"
}

# sums up what the program with exit status $2 printed in $3 seconds
sum_up()
{
	skip=$(count '^skip - |^(not )?ok .*# SKIP')
	good=$(($(count '^ok\b') - $(count '^ok .*# SKIP')))
	bad=$(($(count '^not ok\b') - $(count '^not ok .*# SKIP')))
	if [ "$2" -ne 0 ] && [ $bad -eq 0 ] &&
		{ [ "$2" -ne 77 ] || [ "$skip" -eq 0 ]; }; then
		bad=1
		echo "exit status $2 (124: after $limit s)" >>"$output"
	elif grep -qE '^[^ ]+\.sh: [0-9]+: .*: not found$' "$output"; then
		bad=1
		echo "a command of the test was not found" >>"$output"
	elif [ $((good + bad + skip)) -eq 0 ]; then
		bad=1
		echo "tested nothing" >>"$output"
	fi
	passed=$((passed + good))
	failed=$((failed + bad))
	skipped=$((skipped + skip))
	printf '%-32s %4d passed' "$1" "$good"
	[ $bad -eq 0 ] || printf ' %4d failed' $bad
	[ "$skip" -eq 0 ] || printf ' %4d skipped' "$skip"
	printf '  %d s\n' "$3"
	if [ $bad -ne 0 ]; then
		sed 's/^/    /' "$output"
	else
		grep -E '^skip - |^(not )?ok .*# SKIP' "$output" |
			sed 's/^/    /'
	fi
}

# wanted NAME WORD...: no words, or one of them is in the name
wanted()
{
	all=$1
	shift
	[ $# -gt 0 ] || return 0
	for word in "$@"; do
		case $all in *"$word"*) return 0 ;; esac
	done
	return 1
}

# run NAME COMMAND...
run()
{
	name=$1
	shift
	begin=$(date +%s)
	CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 10 "$limit" "$@" >"$output" 2>&1 \
		</dev/null &
	job=$! # waited for, so that the trap runs at once
	wait $job
	sum_up "$name" $? $(($(date +%s) - begin))
	job=
}

for program in "$O"/tests/test_*; do
	name=${program##*/}
	if [ -x "$program" ] && wanted "unit/$name" "$@"; then
		# shellcheck disable=SC2086 # a command, or nothing
		run "unit/$name" ${EMULATOR:-} "$program"
	fi
done
for script in "$tests"/integration/test_*.sh "$tests"/model/run.sh; do
	name=${script#"$tests"/}
	name=${name%.sh}
	[ -f "$script" ] || continue
	argument=$O
	if [ "$name" = integration/test_replay ]; then
		argument=$O/bin/treekvctl
	fi
	if wanted "$name" "$@"; then
		run "$name" sh "$script" "$argument"
	fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
