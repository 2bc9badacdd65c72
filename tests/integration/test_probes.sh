#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The probes are those of treekv-probes(7), in every program that has some;
# each fires when that happens which the page says, with the arguments it says;
# and the examples of the page do what it says, as they are printed there.
#
# Usage: test_probes.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

page=$O/man/treekv-probes.7
deadline=100 # to detach from a probe, the kernel waits for all processors
script=$(cd "$(dirname "$0")" && pwd)/probe_script.py
kvwriter=$helpers/kvwriter
tracer=

# notes PROGRAM PROVIDER: "PROBE TYPE..." as the program's own notes have it
notes()
{
	readelf -n "$1" 2>/dev/null | awk -v provider="$2" '
		$1 == "Provider:" { ours = $2 == provider }
		$1 == "Name:" { name = $2 }
		/Semaphore: 0x0+$/ { name = name " (no semaphore)" }
		$1 == "Arguments:" && ours {
			line = name
			for (i = 2; i <= NF; i++) {
				split($i, part, "@")
				type = part[1] == 8 ? "64" : part[1] == 4 ? \
					"u32" : part[1] == -4 ? "s32" : "?"
				if (part[2] !~ /^%/)
					type = "not in a register"
				line = line " " type
			}
			print line
		}' | sort
}

# has_probes PROGRAM PROVIDER: those of the page, no more, no others
has_probes()
{
	notes "$1" "$2" >"$dir/notes"
	python3 "$script" "$page" list "$2" | sed 's/u64\|string/64/g' |
		sort >"$dir/promised"
	[ -s "$dir/promised" ] && diff "$dir/promised" "$dir/notes"
}

# trace NAME COMMAND...: bpftrace, until untrace; what it prints is in NAME.out
trace()
{
	traced=$dir/$1.out
	shift
	"$@" >"$traced" 2>&1 &
	tracer=$!
	children="$children $tracer"
	wait_for is_traced
}

# It says how many probes it is about to attach to.
is_traced()
{
	wanted=$(sed -n 's/^Attaching \([0-9]*\) probes*\.\.\..*/\1/p' "$traced")
	[ -n "$wanted" ] && [ "$(bpftool perf show | grep -c "^pid $tracer ")" \
		-eq "$wanted" ]
}

# untrace: it prints what it has counted
untrace()
{
	kill -INT "$tracer"
	wait_for has_ended "$tracer" || kill -KILL "$tracer"
	wait "$tracer"
}

# fired PATTERN [TIMES]
fired()
{
	n=$(grep -cE "$1" "$traced")
	[ "$n" -eq "${2:-1}" ] && return
	echo "$n times, not ${2:-1}: $1"
	tail -n 20 "$traced"
	return 1
}

# count PATTERN
count()
{
	grep -c "$1" "$traced"
}

# sum PROBE WORD CACHE: of an argument over all lines of a probe and a cache
sum()
{
	sed -n "s/^$1 $3 .* $2=\([0-9]*\).*/\1/p" "$traced" |
		awk '{ n += $1 } END { print n + 0 }'
}

is_stopped()
{
	! cat /proc/"$1"/task/*/status | grep '^State:' | grep -qv 'T (stopped)'
}

# stop PID: all of its threads, which takes them a moment on a busy machine
stop()
{
	kill -STOP "$1"
	wait_for is_stopped "$1"
}

sleeps_in()
{
	grep -q "^$2 " "/proc/$1/syscall"
}

daemon_pid()
{
	"$treekvctl" status --json | sed 's/.*"pid": \([0-9]*\).*/\1/'
}

# hold NAME [OPTION]...: a writer that has written and holds on
hold()
{
	name=$1
	shift
	rm -f "$dir/go"
	mkfifo "$dir/go"
	"$kvwriter" --cache "$name" --whole --per-step-max 1 "$@" --hold \
		<"$dir/go" >"$dir/$name.writer" 2>&1 &
	writer=$!
	children="$children $writer"
	exec 7>"$dir/go"
}

need readelf "probes"
if ! notes "$treekvd" treekvd | grep -q .; then
	skip "probes: built without <sys/sdt.h>"
	exit 77
fi
check "treekvd's probes are those of the page" has_probes "$treekvd" treekvd
check "the library's, too" has_probes "$O/lib/libtreekv.so.0" libtreekv
check "also where it is linked in" has_probes "$O/bin/treekv-run" libtreekv

[ "$(id -u)" = 0 ] || {
	skip "probes that fire: attaching takes root"
	exit $failed
}
need bpftrace "probes that fire"
need bpftool "probes that fire"

# ---- each fires when it should ----

all_answered()
{
	test "$(count ^request_start)" = "$(count ^request_done)"
}

start_daemon --keeper --log-level debug --reclaim-anonymous drop
python3 "$script" "$page" script treekvd="$treekvd" libtreekv="$kvwriter" \
	>"$dir/all.bt"
BPFTRACE_PERF_RB_PAGES=2048 BPFTRACE_MAX_PROBES=4096
export BPFTRACE_PERF_RB_PAGES BPFTRACE_MAX_PROBES
trace all bpftrace "$dir/all.bt"

a=a-$$ # others may use these programs, too
hold "$a" --steps 400
first=$writer
wait_for_line "$dir/$a.writer" "holding 400"
exec 7>&-
wait "$writer"
number=$(field "$a" cache)
compactions=$(field "$a" compactions)
evictions=$(field "$a" evictions)
"$treekvctl" snapshot "$a" >/dev/null
size=$(stat -c %s "$dir"/state/snapshots/0/"$a".tkv)
"$treekvctl" drop "$a" --keep-snapshot >/dev/null &
dropper=$!
wait $dropper
"$kvwriter" --cache "$a" --steps 1 >/dev/null
"$kvwriter" --cache parked-$$ --steps 9 >/dev/null
"$treekvctl" park parked-$$ >/dev/null
"$kvwriter" --steps 9 --ttl 1 >/dev/null &
anonymous=$!
wait_for_line "$log" "cache reclaimed"
hold stalled-$$ --steps 300 --pause
wait_for_line "$dir/stalled-$$.writer" paused
served=$(daemon_pid)
stop "$served"
echo go >&7
wait_for sleeps_in "$writer" 202
kill -KILL "$served"
wait_for_line "$dir/stalled-$$.writer" "holding 300"
exec 7>&-
wait "$writer"
"$kvwriter" --cache prompt-$$ --prompt 100 --steps 10 --whole \
	--per-step-max 1 >/dev/null
hold dies-$$ --steps 10
wait_for_line "$dir/dies-$$.writer" "holding 10"
kill -KILL "$writer"
wait "$writer" 2>/dev/null
dead=$writer
wait_for grep -q "writer died" "$log"
hold broken-$$ --steps 10
wait_for_line "$dir/broken-$$.writer" "holding 10"
broken=$writer
"$treekvctl" lease break broken-$$ >/dev/null
exec 7>&-
wait "$writer"
"$kvwriter" --cache nothing --attach >"$dir/refused" 2>&1 &
refused=$!
wait $refused
"$helpers/kvhostile" head-behind >/dev/null &
hostile=$!
wait $hostile
# what it prints comes later, each processor's in the sequence it happened in
wait_for grep -qE "^request_done .* type=5 pid=$hostile " "$traced"
wait_for all_answered
untrace

waits="name=\"stalled-$$\""
check "bpftrace has lost nothing" sh -c "! grep -qi lost '$traced'"
check "create" fired \
	"^create cache=$number name=\"$a\" pid=$first uid=0 bytes=[1-9][0-9]* huge=0$"
check "attach" fired \
	"^attach cache=$number name=\"$a\" pid=$first lease=[1-9][0-9]* tail=0$"
check "step, each" fired "^step cache=$number name=\"$a\" tokens=1 " 400
check "with what was there before" fired \
	"^step cache=$number name=\"$a\" tokens=1 tail=399 generation=[1-9][0-9]*$"
check "commit, each" fired "^commit cache=$number name=\"$a\" tokens=1 " 400
check "with what is there now" fired \
	"^commit cache=$number name=\"$a\" tokens=1 tail=400$"
check "progress, at the end" fired \
	"^progress .* name=\"$a\" steps=400 commits=400 tokens=400$"
check "doorbell" test "$(count "^doorbell .*name=\"$a\" ready=0")" -gt 0
check "compaction_start" fired "^compaction_start cache=$number name=\"$a\" " "$compactions"
check "compaction_done" fired "^compaction_done cache=$number name=\"$a\" " "$compactions"
check "publication" fired "^publication cache=$number name=\"$a\" " "$compactions"
check "of all evictions" test \
	"$(sum publication evicted "cache=$number name=\"$a\"")" = \
	"$evictions"
check "of the generation that was made" fired \
	"^publication cache=$number name=\"$a\" generation=$((compactions + 1)) "
check "detach" fired "^detach .*name=\"$a\" pid=$first cause=0 tail=400$"
check "snapshot" fired \
	"^snapshot .*name=\"$a\" tail=400 bytes=$size ns=[1-9][0-9]* error=0$"
check "drop" fired "^drop cache=$number name=\"$a\" pid=$dropper$"
check "park" fired "^park .*name=\"parked-$$\" tail=9 bytes=[1-9][0-9]*$"
check "reclaim" fired \
	"^reclaim .*name=\"anonymous-$anonymous-.*\" bytes=[1-9][0-9]*$"
check "gone" fired "^gone cache=$number name=\"$a\" bytes=[1-9][0-9]*$"
check "restore" fired \
	"^restore .*name=\"$a\" tail=400 bytes=$size ns=[1-9][0-9]* error=0$"
check "stall_begin" test "$(count "^stall_begin .*$waits tail=[1-9]")" -gt 0
check "stall_end" test \
	"$(count "^stall_end .*$waits ns=[1-9][0-9]* error=0$")" = \
	"$(count "^stall_begin .*$waits")"
check "stall, as the daemon tells it" test \
	"$(count "^stall .*$waits stalls=[1-9][0-9]* ns=[1-9]")" -gt 0
check "reconnect" fired \
	"^reconnect .*$waits lease=[1-9][0-9]* reconnects=1$"
check "prefill" fired "^prefill .*name=\"prompt-$$\" tail=100$"
check "whose tokens count" fired \
	"^progress .*name=\"prompt-$$\" steps=10 commits=10 tokens=110$"
check "and whose order is published" test \
	"$(count "^publication .*name=\"prompt-$$\" generation=2 ")" -eq 1
check "detach of one who died" fired \
	"^detach .*name=\"dies-$$\" pid=$dead cause=1 tail=10$"
check "detach of one whose lease was broken" fired \
	"^detach .*name=\"broken-$$\" pid=$broken cause=2 tail=10$"
check "refusal" fired \
	"^refusal pid=$refused uid=0 error=-2 text=\"there is no cache nothing"
check "request_start" fired "^request_start .* type=4 pid=$refused$"
check "request_done" fired "^request_done .* type=4 pid=$refused error=-2$"
check "of each request that began" all_answered
check "quarantine" fired \
	"^quarantine .*name=\"hostile\" fault=2 reason=\"its writer's head"
python3 "$script" "$page" list treekvd >"$dir/every"
python3 "$script" "$page" list libtreekv >>"$dir/every"
while read -r probe _; do
	grep -q "^$probe " "$traced" || not_ok "$probe has fired" "$traced"
done <"$dir/every"
stop_daemon

# ---- the page's examples, as a reader finds them ----

need mandoc "the page's examples"
mandoc -T utf8 "$page" | sed -n 's/.\x08//g; s/^ *\(bpftrace -e .*\)/\1/p' \
	>"$dir/examples"
check "the page has three examples" test "$(wc -l <"$dir/examples")" -eq 3
PATH=$O/bin:$PATH
export PATH
start_daemon

# example N: as it is printed
example()
{
	sed -n "${1}p" "$dir/examples" | sed 's/^/exec /' >"$dir/example.sh"
	trace "example$1" sh "$dir/example.sh"
}

# bars: how much all bars of a histogram stand for: "[8, 16)  97 |@@@"
bars()
{
	sed -n 's/^\[.*[])] *\([0-9]*\) |.*/\1/p' "$traced" |
		awk '{ n += $1 } END { print n + 0 }'
}

example 1
treekv-run --generate 400 --budget 128 --cache one-$$ >/dev/null 2>&1
untrace
says "tokens taken out at a time, by cache" "$traced" "@[one-$$]:"
check "of every compaction" test "$(bars)" -ge "$(field one-$$ compactions)"
example 2
treekv-run --threads 1 --generate 5000 --budget 64 --slack 4 --cache two \
	>/dev/null 2>&1 &
writer=$!
children="$children $writer"
wait_for "$treekvctl" inspect two
stop "$writer"
stop "$daemon"
kill -CONT "$writer"
wait_for sleeps_in "$writer" 202
kill -CONT "$daemon"
wait "$writer"
untrace
stalls=$(field two stalls)
check "a writer waits" test "$stalls" -gt 0
# one that is tried again when its time is up waits more than once
check "how long" test "$(bars)" -ge "$stalls"
example 3
"$treekvctl" drop nothing 2>"$dir/err"
check "what is refused, in its own words" wait_for_line "$traced" \
	"$(sed -n 's/.*\(there is no cache nothing\).*/\1/p' "$dir/err")"
untrace
exit $failed
