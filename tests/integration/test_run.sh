#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# treekv-run, a real model: through the daemon in lockstep it must compute what
# it computes without one, to the bit; slack may change little; a killed
# process's successor writes what it would have written; so do processes whose
# daemon is killed. The text is one that the model has written itself.
#
# Usage: test_run.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

run=$O/bin/treekv-run
tokens=2000
need python3 "treekv-run"
# TSan takes a second for 300 tokens
is_sanitized && tokens=400

# get FILE KEY: a value of a JSON object
get()
{
	python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"
}

# same NAME FILE FILE KEY
same()
{
	one=$(get "$2" "$4")
	two=$(get "$3" "$4")
	if [ -n "$one" ] && [ "$one" = "$two" ]; then
		ok "$1"
	else
		not_ok "$1" "$2" "$3"
		echo "# $4: $one != $two"
	fi
}

# score TO OPTION...
score()
{
	to=$1
	shift
	"$run" --text "$dir/text" --tokens $tokens --perplexity --budget 128 \
		--json "$@" >"$to" 2>"$dir/err" || not_ok "treekv-run $*" \
		"$dir/err" "$log"
}

make_text()
{
	if ! "$run" --local --prompt "It was" --generate $((tokens + 200)) \
		--seed 11 >"$dir/text" 2>"$dir/err"; then
		not_ok "the model writes a text" "$dir/err"
		exit 1
	fi
}

test_lockstep_is_local_to_the_bit()
{
	for policy in treekv treekv-left treekv-skip streaming h2o tova; do
		score "$dir/local" --local --policy $policy
		score "$dir/daemon" --lockstep --policy $policy
		same "$policy: lockstep is local to the bit" "$dir/local" \
			"$dir/daemon" logits
	done
	for dtype in f16 bf16; do
		score "$dir/local" --local --dtype $dtype
		score "$dir/daemon" --lockstep --dtype $dtype
		same "$dtype: lockstep is local to the bit" "$dir/local" \
			"$dir/daemon" logits
	done
	score "$dir/local" --local --threads 1
	score "$dir/daemon" --lockstep --threads 2
	same "two threads compute what one does" "$dir/local" "$dir/daemon" logits
}

test_slack_changes_little()
{
	score "$dir/local" --local
	for slack in 16 64; do
		score "$dir/daemon" --slack $slack
		if python3 -c 'import json, sys
a, b = (json.load(open(f))["ppl"] for f in sys.argv[1:])
sys.exit(abs(a / b - 1) >= 0.005)' "$dir/local" "$dir/daemon"; then
			ok "slack $slack changes the perplexity by less than 0.5 %"
		else
			not_ok "slack $slack" "$dir/local" "$dir/daemon"
		fi
	done
	check "all tokens were fed" \
		[ "$(get "$dir/daemon" tokens)" = $tokens ]
}

# What all of the following do first; no blanks within a word.
on="--text $dir/text --tokens 300 --budget 128 --seed 5 --lockstep"

# has_written FILE SIZE
# shellcheck disable=SC2317 # called by wait_for, as the next one
has_written()
{
	[ "$(wc -c <"$1")" -ge "$2" ]
}

test_a_successor_writes_what_the_killed_one_would_have()
{
	: >"$dir/first"
	# shellcheck disable=SC2086 # on is a list of words, here and below
	"$run" $on --cache killed --generate 100000 >"$dir/first" \
		2>"$dir/err" &
	children=$!
	wait_for has_written "$dir/first" 100
	kill -KILL $children
	wait $children 2>/dev/null
	children=
	# 200 more than it has written, however late it was killed
	more=$(($(field killed tail) - 300 + 200))
	"$run" --cache killed --budget 128 --lockstep --generate $more --json \
		>"$dir/second" 2>"$dir/err"
	# shellcheck disable=SC2086
	"$run" $on --cache whole --generate $more --json >"$dir/whole" \
		2>>"$dir/err"
	if python3 - "$dir" <<'PYTHON'
import json, sys
d = sys.argv[1]
whole = json.load(open(d + "/whole"))["text"].encode()
second = json.load(open(d + "/second"))
first = open(d + "/first", "rb").read()[:second["text_at"]]
sys.exit(not second["resumed"] or len(first) < 90 or
         len(second["text"]) < 90 or
         first + second["text"].encode() != whole)
PYTHON
	then
		ok "a successor writes what the killed process would have"
	else
		not_ok "a successor" "$dir/whole" "$dir/first" "$dir/second" \
			"$dir/err"
	fi
}

test_the_daemon_may_die_under_running_processes()
{
	stop_daemon
	start_daemon --keeper
	# shellcheck disable=SC2086
	"$run" $on --cache under --generate 1500 --json >"$dir/under" \
		2>"$dir/err" &
	children=$!
	for round in 1 2 3; do
		wait_for has_seen $((round * 300))
		kill -KILL "$(daemon_pid)"
	done
	if wait $children; then
		ok "it ends well"
	else
		not_ok "it ends well" "$dir/err" "$log"
	fi
	children=
	# shellcheck disable=SC2086
	"$run" $on --local --generate 1500 --json >"$dir/local" 2>"$dir/err"
	same "and has written what it would have" "$dir/local" "$dir/under" \
		text
	says "the caches were adopted" "$log" 'event="adopted" caches='
}

daemon_pid()
{
	"$treekvctl" status --json | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])'
}

# shellcheck disable=SC2317
has_seen()
{
	seen=$(field under tail 2>/dev/null)
	[ "${seen:-0}" -ge "$1" ]
}

test_one_writer_at_a_time()
{
	: >"$dir/first"
	# shellcheck disable=SC2086
	"$run" $on --cache busy --generate 100000 >"$dir/first" \
		2>"$dir/err" &
	children=$!
	wait_for has_written "$dir/first" 10
	"$run" --cache busy --budget 128 --generate 1 2>"$dir/refused" &&
		not_ok "a second writer is refused" "$dir/refused"
	says "a second writer is refused, the first named" "$dir/refused" \
		"process $children"
	kill -TERM $children
	wait $children
	children=
	"$run" --cache busy --budget 64 --generate 1 2>"$dir/refused" &&
		not_ok "another budget is refused" "$dir/refused"
	says "another budget is refused, both named" "$dir/refused" \
		"budget 128, asked for 64"
}

test_a_mode_is_what_it_is_made_with()
{
	"$run" --cache moded --mode 0640 --prompt "It was" --generate 1 \
		>"$dir/out" 2>"$dir/err"
	check "who may read is said when a cache is made" \
		[ "$(field moded mode)" = 0640 ]
	"$run" --cache moded --mode 0600 --generate 2 >"$dir/out" 2>"$dir/err"
	check "one that exists keeps its mode" \
		[ "$(field moded mode)" = 0640 ]
	"$run" --cache other --mode 0755 --prompt x 2>"$dir/refused" &&
		not_ok "another mode is refused" "$dir/refused"
	says "another mode is refused" "$dir/refused" \
		"--mode 0755: must be octal"
	"$run" --local --mode 0600 --prompt x 2>"$dir/refused" &&
		not_ok "so is one of no cache" "$dir/refused"
	says "so is one of no cache" "$dir/refused" "leave out --mode"
}

start_daemon
make_text
test_a_mode_is_what_it_is_made_with
test_lockstep_is_local_to_the_bit
test_slack_changes_little
test_a_successor_writes_what_the_killed_one_would_have
test_one_writer_at_a_time
test_the_daemon_may_die_under_running_processes
exit $failed
