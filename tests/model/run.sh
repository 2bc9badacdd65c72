#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Check the models of the order protocol, order.pml, and of prefill, prefill.pml,
# and that their mutants fail.
#
# usage: run.sh [DIR [long]]
#
# DIR is where the verifiers are built (default: a temporary folder); "long"
# adds larger sizes (two minutes more, up to 1.5 GB). Prints a line per check;
# exits 0 when all hold, 1 when one does not, 77 when spin is not there.

set -u

if ! command -v spin >/dev/null 2>&1; then
	echo "skip - spin is not installed"
	exit 77
fi

models=$(cd "$(dirname "$0")" && pwd)
model=order.pml
failed=0

if [ $# -gt 0 ]; then
	dir=$1
	mkdir -p "$dir" || exit 1
else
	dir=$(mktemp -d) || exit 1
	trap 'rm -rf "$dir"' EXIT
	trap 'exit 1' HUP INT TERM
fi
cd "$dir" || exit 1

fail()
{
	echo "not ok - $1: $2"
	failed=1
}

# build FLAGS-OF-CC... -- FLAGS-OF-THE-MODEL...
build()
{
	cc_flags=
	while [ "$1" != -- ]; do
		cc_flags="$cc_flags $1"
		shift
	done
	shift
	rm -f pan pan.? ./*.pml.trail ./*.pml
	cp "$models/$model" . && spin -a "$@" $model >build.log 2>&1 || return
	# shellcheck disable=SC2086 # a list of flags
	"${CC:-cc}" -w -DCOLLAPSE -DMEMLIM=1500 $cc_flags -o pan pan.c \
		>>build.log 2>&1
}

# search FLAGS-OF-PAN...: what it says is in pan.log
search()
{
	./pan -n -m100000 -w22 "$@" >pan.log 2>&1
}

# A search that met one of its own limits has proven nothing.
exhausted()
{
	grep -q 'errors: 0$' pan.log && ! grep -q -e 'depth too small' \
		-e 'not completed' -e 'out of memory' -e MEMLIM pan.log
}

# sound NAME FLAGS...: no state violates an assertion or is a deadlock
sound()
{
	name=$1
	shift
	if ! build -O1 -DSAFETY -- "$@"; then
		fail "$name" "not built: $(tail -n 1 build.log)"
	elif search && exhausted; then
		echo "ok - $name: $(states) states"
	else
		fail "$name" "$(reason)"
	fi
}

# live NAME FLAGS...: moreover, no cycle in which the writer begins no step
live()
{
	name=$1
	shift
	if ! build -O1 -DNP -- "$@"; then
		fail "$name" "not built: $(tail -n 1 build.log)"
	elif search -l && exhausted; then
		echo "ok - $name: $(states) states"
	else
		fail "$name" "$(reason)"
	fi
}

# mutant NAME REASON FLAGS...: fails, and for this reason
mutant()
{
	name=$1
	expected=$2
	shift 2
	if ! build -O0 -DSAFETY -- "-DMUT_$name" "$@"; then
		fail "mutant $name" "not built: $(tail -n 1 build.log)"
		return
	fi
	search
	case $(reason) in
	*"$expected"*) echo "ok - mutant $name fails: $(reason)" ;;
	*) fail "mutant $name" "expected $expected, got $(reason)" ;;
	esac
}

states()
{
	sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log
}

reason()
{
	sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p
		/depth too small/p
		/out of memory/p
		/MEMLIM/p
		/errors: 0$/p' pan.log | head -n 1 | tr -s ' '
}

sound "order model, capacity 4" -DROWS -DTOKENS=7
sound "order model, capacity 5" -DROWS -DCAPACITY=5 -DTOKENS=6
sound "order model with a reader" -DROWS -DREADER -DTOKENS=5
sound "order and bells" -DROWS -DBELLS -DLOW=2 -DTOKENS=5
sound "order and bells, from nothing" \
	-DROWS -DBELLS -DLOW=2 -DSTART=0 -DTOKENS=5
sound "bells, ring at one above the budget" -DBELLS -DTOKENS=7
sound "bells, ring late, capacity 5" -DBELLS -DCAPACITY=5 -DLOW=3 -DTOKENS=7
sound "bells, the daemon dies" -DBELLS -DDAEMON_DIES -DLOW=2 -DTOKENS=5
sound "scores, note and commit" -DSCORES -DTOKENS=7
live "bells, every stall ends" -DBELLS -DLOW=2 -DTOKENS=6
live "bells, every stall ends, the daemon dies" \
	-DBELLS -DDAEMON_DIES -DLOW=2 -DTOKENS=4

if [ "${2:-}" = long ]; then
	sound "long: order model, capacity 5" -DROWS -DCAPACITY=5 -DTOKENS=8
	sound "long: with a reader" -DROWS -DREADER -DTOKENS=6
	sound "long: with a reader, capacity 5" \
		-DROWS -DREADER -DCAPACITY=5 -DTOKENS=6
	sound "long: order and bells" -DROWS -DBELLS -DLOW=2 -DTOKENS=7
	live "long: every stall ends, the daemon dies" \
		-DBELLS -DDAEMON_DIES -DLOW=2 -DTOKENS=7
fi

rows="-DROWS -DTOKENS=6"
reader="-DROWS -DREADER -DTOKENS=5"
bells="-DBELLS -DLOW=2 -DTOKENS=6"
scores="-DSCORES -DTOKENS=6"

# shellcheck disable=SC2086 # lists of flags
{
	mutant FREED_FIRST '!(live_row_wrong)' $rows
	mutant COMMIT_BEFORE_ROWS '!(live_row_wrong)' $rows
	mutant NO_STALL '!(live_slot_written)' $rows
	mutant NO_GRACE '!(used_buffer_written)' $rows
	mutant SEEN_EARLY '!(used_buffer_written)' $rows
	mutant HEAD_FALLS '!(reader_deceived)' $reader
	mutant HEAD_FORGOTTEN '!(reader_deceived)' $reader
	mutant HEAD_AFTER_ROWS '!(reader_deceived)' $reader
	mutant READER_NO_HEAD_CHECK '!(reader_deceived)' $reader
	mutant READER_NO_RECHECK '!(reader_deceived)' $reader
	mutant NO_COMMIT_BARRIER '!(doorbell_lost)' $bells
	mutant NO_ARMED_BARRIER '!(doorbell_lost)' $bells
	mutant NO_SEEN_BARRIER '!(doorbell_lost)' $bells
	mutant NO_WAITING_BARRIER '!(doorbell_lost)' $bells
	mutant RING_ONCE '!(doorbell_lost)' -DBELLS -DTOKENS=6
	mutant NEWER_IS_ENOUGH '!(doorbell_lost)' -DBELLS -DTOKENS=6
	mutant DEATH_UNNOTICED '!(doorbell_lost)' $bells
	mutant NO_STALL_RING 'invalid end state' $bells
	mutant NO_STALL_BARRIER 'invalid end state' $bells
	mutant EPOCH_UNWATCHED 'invalid end state' $bells -DDAEMON_DIES
	mutant SCORE_IN_PLACE '!(score_wrong)' $scores
	mutant NOT_CARRIED '!(score_wrong)' $scores
	mutant COMMIT_SPLIT '!(score_wrong)' $scores
}

model=prefill.pml
sound "prompts"
mutant WORD_ALONE '!(torn)'
mutant COMMIT_FIRST '!(content_wrong)'
mutant SAME_PARITY '!(content_wrong)'
mutant STEP_UNANSWERED '!(content_wrong)'
mutant HANDED_ON '!(content_wrong)'
mutant LEASE_UNCHECKED '!(content_wrong)'

exit $failed
