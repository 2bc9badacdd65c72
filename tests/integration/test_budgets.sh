#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Budgets that differ by layer, down the whole line: a pyramid or a file, a
# cache that holds exactly so much in each layer, its daemon killed, its
# snapshot restored, and a text that is the one written without a daemon.
#
# Usage: test_budgets.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

run=$O/bin/treekv-run
out=$dir/out
err=$dir/err
need python3 "budgets"

# layers CACHE: budget and rows held of each layer, as inspect has them
layers()
{
	"$treekvctl" inspect "$1" --json | python3 -c '
import json, sys
cache = json.load(sys.stdin)
print(*(l["budget"] for l in cache["layers"]), "|",
      *(l["live"] for l in cache["layers"]), "|",
      *(l["capacity"] - l["budget"] for l in cache["layers"]))'
}

# holds NAME CACHE BUDGET...
holds()
{
	name=$1
	cache=$2
	shift 2
	layers "$cache" >"$out" 2>&1
	if [ "$(cat "$out")" = "$* | $* | 1 1 1 1 1" ]; then
		ok "$name"
	else
		not_ok "$name" "$out"
	fi
}

# text FILE...: what the runs wrote, one after the other
text()
{
	python3 -c 'import json, sys
print("".join(json.load(open(path))["text"] for path in sys.argv[1:]))' "$@"
}

# writes TO OPTION...
writes()
{
	to=$1
	shift
	"$run" --json "$@" >"$to" 2>"$err" || not_ok "treekv-run $*" "$err" \
		"$log"
}

# refuses NAME WORDS OPTION...
refuses()
{
	name=$1
	words=$2
	shift 2
	if ! "$run" "$@" >"$out" 2>"$err" && grep -qF -- "$words" "$err"; then
		ok "$name is refused"
	else
		not_ok "$name is refused" "$err"
		echo "# lacks: $words"
	fi
}

daemon_pid()
{
	"$treekvctl" status --json 2>/dev/null | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])'
}

# shellcheck disable=SC2317 # called by wait_for
is_another_daemon()
{
	now=$(daemon_pid 2>/dev/null) && [ -n "$now" ] && [ "$now" != "$1" ]
}

printf '70\n24\n33 # the third\n120\n41\n' >"$dir/budgets"
story="--prompt Call --seed 3 --lockstep --budget-profile $dir/budgets"

# shellcheck disable=SC2119 # no options
start_daemon --keeper
# shellcheck disable=SC2086 # story is a list of words, here and below
{
	writes "$dir/whole" $story --generate 500 --local
	writes "$dir/1" $story --generate 200 --cache story
}
holds "each layer holds its own" story 70 24 33 120 41
"$treekvctl" list >"$out"
says "the list has the least and the greatest" "$out" " 24-120 "
"$treekvctl" list --json >"$out"
says "its JSON all" "$out" '"budget": [70, 24, 33, 120, 41]'
"$treekvctl" inspect story >"$out"
says "inspect has what is recent: half of the least, less the sinks" "$out" \
	"24-120, of which 4 sinks and 8 recent"
says "so has the run's JSON" "$dir/1" '"budget": [70, 24, 33, 120, 41]'

before=$(daemon_pid)
kill -KILL "$before"
wait_for is_another_daemon "$before"
holds "a killed daemon's successor keeps them" story 70 24 33 120 41
writes "$dir/2" --cache story --lockstep --generate 350
holds "so does a run without the option" story 70 24 33 120 41

check "they are in a snapshot" "$treekvctl" snapshot story
stop_daemon
start_daemon
check "that is on disk" [ "$(field story state)" = "on disk" ]
"$treekvctl" list --json >"$out"
says "with its budgets" "$out" '"budget": [70, 24, 33, 120, 41]'
# shellcheck disable=SC2086
writes "$dir/3" $story --cache story --generate 500
holds "and come back" story 70 24 33 120 41
text "$dir/whole" >"$dir/whole.txt"
text "$dir/1" "$dir/2" "$dir/3" >"$dir/parts.txt"
check "the text is that without a daemon" cmp "$dir/whole.txt" "$dir/parts.txt"

# 12 kept, 52 selected on the mean: 102 in the first layer
refuses "another profile" "budget of layer 0 70, asked for 114" \
	--cache story --generate 501 --budget-profile pyramid --budget 64
refuses "a budget for all" "budget 70, asked for 64" \
	--cache story --generate 501 --budget 64
printf '70\n24\n33\n121\n41\n' >"$dir/other"
refuses "one layer's other budget" "budget of layer 3 120, asked for 121" \
	--cache story --generate 501 --budget-profile "$dir/other"
printf '70\n24\n33\n12\n41\n' >"$dir/small"
refuses "a budget without room for what the cache keeps" \
	"line 4: a budget of 12 has no room for sinks 4 + recent 8 + 1 selected" \
	--cache story --generate 501 --budget-profile "$dir/small"

# 4 sinks, 60 recent, 64 selected on the mean: 125, 95, 64, 33 and 3.
writes "$dir/pyramid" --text "$dir/whole.txt" --lockstep --budget 128 \
	--budget-profile pyramid --cache pyramid
holds "a pyramid keeps the sum" pyramid 189 158 128 98 67
writes "$dir/pyramid" --prompt It --lockstep --budget-profile pyramid \
	--cache default --generate 5
writes "$dir/again" --cache default --budget-profile pyramid --generate 9
says "one by the default budget goes on without it" "$dir/again" \
	'"resumed": true'
stop_daemon
check "the daemon ends well" [ "$status" = 0 ]
exit $failed
