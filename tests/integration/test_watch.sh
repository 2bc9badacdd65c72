#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What eBPF sees of a daemon is what the daemon counts and what its writers say
# of themselves; whoever watches leaves nothing behind; and with less power he
# sees less, and says so.
#
# Usage: test_watch.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

kvwatch=$helpers/kvwatch
deadline=100 # to detach from a probe, the kernel waits for all processors
kvwriter=$helpers/kvwriter
tools=$(cd "$(dirname "$0")" && pwd)
watch=

# start_watch COMMAND...: kvwatch; its lines come to $dir/watch
start_watch()
{
	rm -f "$dir/ask" "$dir/watch"
	mkfifo "$dir/ask"
	: >"$dir/watch"
	"$@" <"$dir/ask" >"$dir/watch" 2>"$dir/watch.err" 7>&- &
	watch=$!
	children="$children $watch"
	exec 8>"$dir/ask"
	wait_for_line "$dir/watch" '"level"'
}

# stop_watch: its exit status in $status
stop_watch()
{
	exec 8>&-
	wait "$watch"
	status=$?
}

has_answered()
{
	[ "$(wc -l <"$dir/watch")" -gt "$1" ]
}

# look: what the daemon says of itself, then all that was seen
look()
{
	"$treekvctl" list --json >"$dir/list" 8>&-
	"$treekvctl" status --json >"$dir/status" 8>&-
	lines=$(wc -l <"$dir/watch")
	echo look >&8
	wait_for has_answered "$lines"
	tail -n 1 "$dir/watch" >"$dir/seen"
}

# is NAME EXPRESSION: ok when it is true of what look() brought (watched.py)
is()
{
	check "$1" python3 "$tools/watched.py" "$dir/seen" "$dir/status" \
		"$dir/list" "$2"
}

# write_later NAME [OPTION]...: a writer that goes on when 7 is written to
write_later()
{
	name=$1
	shift
	rm -f "$dir/go"
	mkfifo "$dir/go"
	"$kvwriter" --cache "$name" --verify-every 0 --pause "$@" <"$dir/go" \
		>"$dir/$name.out" 2>&1 8>&- &
	writer=$!
	children="$children $writer"
	exec 7>"$dir/go"
	wait_for_line "$dir/$name.out" paused
}

# of NAME WORD: the figure after that word in a writer's totals
of()
{
	sed -n "s/^tail .*\b$2 \([0-9]*\).*/\1/p; s/^$2 \([0-9]*\) .*/\1/p" \
		"$dir/$1.out"
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

# sleeps_in PID CALL: its first thread is in that system call
sleeps_in()
{
	grep -q "^$2 " "/proc/$1/syscall"
}

has_paused_twice()
{
	[ "$(grep -c ^paused "$dir/late.out")" -eq 2 ]
}

# attached PID: somebody is, to all or to some of its probes
attached()
{
	python3 "$tools/probes.py" "$1" >"$dir/attached"
	[ -s "$dir/attached" ]
}

detached()
{
	! attached "$1"
}

# programs PID: the numbers of the kernel's programs that a process has
programs()
{
	sed -n 's/^prog_id:[^0-9]*//p' /proc/"$1"/fdinfo/* | sort -u
}

# are_gone FILE: of programs
are_gone()
{
	bpftool prog show | sed -n 's/^\([0-9]*\): .*/\1/p' | sort >"$dir/all"
	comm -12 "$1" "$dir/all" >"$dir/left"
	[ -s "$1" ] && [ ! -s "$dir/left" ]
}

[ "$(id -u)" = 0 ] || {
	skip "eBPF: attaching takes root"
	exit 77
}
need bpftool "eBPF"
start_daemon --workers 2 --log-level debug
asked=$("$treekvctl" status --json |
	sed 's/.*"requests_total": \([0-9]*\).*/\1/')
start_watch "$kvwatch" "$daemon"
if ! grep -q '"level": "full"' "$dir/watch"; then
	skip "eBPF: $(cat "$dir/watch")"
	exit 77
fi
says "root sees it all" "$dir/watch" '"eBPF: probes, scheduler and io_uring"'

# ---- counts ----

# One in a program beside the daemon, one in one that is first met now, and two
# caches of one process.
write_later steps --steps 100000 --whole --per-step-max 1
look
echo go >&7
wait "$writer"
exec 7>&-
"$O/bin/treekv-run" --generate 300 --cache run --budget 128 \
	>"$dir/run.out" 2>&1
"$kvwriter" --cache steps --steps 2500 --verify-every 0 --whole --again \
	>"$dir/again.out" 2>&1
look
first=$writer
tail=$(of steps tail)
check "a writer wrote 100000 tokens" test "$tail" -eq 100000
is "every token is seen" "process($first)['tokens'] == $tail"
is "in as many steps" "process($first)['steps'] == $tail"
is "each committed once" "process($first)['commits'] == $tail"
is "by its name" "process($first)['comm'] == 'kvwriter'"
is "its stalls are those it counts" \
	"process($first)['stalls'] == $(of steps stalls)"
is "tokens of a program beside the daemon" \
	"[p['tokens'] for p in s['processes'] if p['comm'] == 'treekv-run'] \
	== [c['run']['tail']]"
is "all tokens are all caches' tails" \
	"sum(p['tokens'] for p in s['processes']) == \
	sum(row['tail'] for row in c.values())"
is "compactions of a cache" \
	"cache('steps')['compactions'] == c['steps']['compactions']"
is "evictions of a cache" \
	"cache('steps')['evictions'] == c['steps']['evictions']"
is "stalls of a cache" "cache('steps')['stalls'] == c['steps']['stalls']"
is "each compaction is timed" "h['compaction']['count'] == \
	m['compactions_total'] == sum(x['compaction']['count'] \
	for x in s['caches'])"
is "all compactions" "sum(x['compactions'] for x in s['caches']) == \
	m['compactions_total'] > 1000"
is "all publications" "sum(x['publications'] for x in s['caches']) == \
	m['compactions_total']"
is "all evictions" "sum(x['evictions'] for x in s['caches']) == \
	m['evictions_total']"
is "all doorbells" "sum(x['doorbells'] for x in s['caches']) == \
	m['doorbells_total']"
is "all stalls" "h['stall']['count'] == m['stalls_total']"
is "a doorbell is answered by one publication at most" \
	"0 < h['publication']['count'] <= m['doorbells_total']"
is "all requests" "sum(h[n]['count'] for n in h if n.startswith('request') \
	and n != 'request hello') == m['requests_total'] - $asked"
is "requests by their type" \
	"h['request create']['count'] == h['request detach']['count'] == 4"
is "both workers, which waited for a processor" \
	"[x['run_delay']['count'] > 0 for x in s['workers']] == [True] * 2"
is "replies, as io_uring operations" \
	"h['io-uring']['count'] >= m['requests_total'] - $asked"
is "nothing dropped" "not any(s['drops'].values())"
is "times are in the buckets they belong to" "all(sum(b << i for i, b in \
	enumerate(h[n]['buckets'])) <= h[n]['sum'] <= sum(b << i + 1 for i, b \
	in enumerate(h[n]['buckets'])) for n in ('compaction', 'stall'))"

# ---- a stall that is provoked is one that is shown ----

write_later stalled --steps 200 --whole --per-step-max 1 --timeout 60000
look
stop "$daemon"
echo go >&7
check "the writer waits" wait_for sleeps_in "$writer" 202 # futex
kill -CONT "$daemon"
wait "$writer"
exec 7>&-
look
stalls=$(of stalled stalls)
check "the writer stalled" test "$stalls" -ge 1
is "a process that ended is shown once more" "process($writer)['gone']"
is "its stalls are shown" "process($writer)['stalls'] == $stalls == \
	cache('stalled')['stalls'] == c['stalled']['stalls']"
is "for as long as the writer says" "1 / 2 < cache('stalled')['stall_ns'] \
	/ c['stalled']['stall_ns'] < 2"
is "and all stalls are" "h['stall']['count'] == m['stalls_total']"
says "the daemon tells of them, too" "$log" 'event="stalled" name=stalled'

# The same, but its time is up first, and it tries again.
stalled=$writer
write_later late --steps 200 --whole --per-step-max 1 --timeout 1000
look
stop "$daemon"
printf g >&7
wait_for has_paused_twice || not_ok "a step's time is up" "$dir/late.out" "$log"
printf g >&7
check "it waits again" wait_for sleeps_in "$writer" 202
kill -CONT "$daemon"
wait "$writer"
exec 7>&-
look
is "its next try is the same stall" "0 < process($writer)['stalls'] == \
	$(of late stalls) == cache('late')['stalls']"
is "and the time of both counts" "h['stall']['count'] == \
	m['stalls_total'] + 1"

# ---- who has gone ----

number=$(field stalled cache)
"$treekvctl" drop stalled >/dev/null
look
is "and then no more" "process($stalled) is None"
is "a cache that was dropped, too" \
	"$number in [x['cache'] for x in s['caches']]"
look
is "is shown once more" "$number not in [x['cache'] for x in s['caches']]"

# ---- nothing is left behind ----

write_later held --steps 10
look
attached "$daemon"
check "while watched, the daemon's probes are breakpoints" \
	grep -q '^treekvd compaction_done$' "$dir/attached"
check "and so are a writer's" attached "$writer"
check "of those that are needed only" \
	sh -c "! grep -q half '$dir/attached' && \
	! grep -qE 'libtreekv (step|commit)' '$dir/attached'"
programs "$watch" >"$dir/programs"
check "its programs are in the kernel" test "$(wc -l <"$dir/programs")" -gt 10
kill -KILL "$watch"
wait "$watch" 2>/dev/null
check "kill -9 leaves no breakpoint in the daemon" wait_for detached "$daemon"
check "none in a writer" wait_for detached "$writer"
check "no program in the kernel" wait_for are_gone "$dir/programs"
exec 8>&-
start_watch "$kvwatch" "$daemon" "$writer"
echo go >&7
wait "$writer"
exec 7>&-
look
is "a writer from before is followed as well" \
	"process($writer)['commits'] > 0 and process($writer)['gone']"
programs "$watch" >"$dir/programs"
stop_watch
check "an orderly end" test $status -eq 0
check "leaves no breakpoint either" detached "$daemon"
check "nor a program" wait_for are_gone "$dir/programs"

# ---- tables that are full ----

# Processes that are not there fill the table until they are looked for.
ghosts=$(seq 4000001 4001100)
# shellcheck disable=SC2086 # a list of numbers
start_watch "$kvwatch" "$daemon" $ghosts
"$kvwriter" --cache steps --steps 10 >/dev/null
look
is "what does not fit is counted: 76 of a list of 1100, and one" \
	"s['drops']['processes'] == 77"
look
is "those that are not there make room" "s['processes'] == []"
"$kvwriter" --cache steps --steps 10 >/dev/null
look
is "for who comes" "len(s['processes']) == 1 and \
	s['drops']['processes'] == 77"
stop_watch

# ---- with less power ----

cp "$kvwatch" "$dir/kvwatch"
chmod 755 "$dir" "$dir/kvwatch"
start_watch setpriv --reuid 65534 --regid 65534 --clear-groups \
	--inh-caps +bpf,+perfmon --ambient-caps +bpf,+perfmon \
	"$dir/kvwatch" "$daemon"
says "with CAP_BPF and CAP_PERFMON: scheduler and io_uring" "$dir/watch" \
	'"level": "tracepoints"'
says "and it says why not more" "$dir/watch" \
	"they take root (CAP_SYS_ADMIN)"
"$kvwriter" --cache steps --steps 1000 >/dev/null
look
is "which are seen" "h['run-delay']['count'] > 0 and \
	h['io-uring']['count'] > 0 and list(h) == ['run-delay', 'io-uring']"
is "and nothing else" "s['caches'] == s['processes'] == []"
stop_watch

# none NAME REASON COMMAND...: nothing is seen, and it says why
none()
{
	name=$1
	reason=$2
	shift 2
	start_watch "$@"
	if ! grep -q '"level": "none"' "$dir/watch"; then
		not_ok "$name" "$dir/watch" "$dir/watch.err"
	else
		says "$name" "$dir/watch" \
			"no eBPF, only the daemon's own counters: $reason"
	fi
	stop_watch
}

none "without capabilities" "eBPF takes root, or CAP_BPF and CAP_PERFMON" \
	setpriv --reuid 65534 --regid 65534 --clear-groups \
	"$dir/kvwatch" "$daemon"
none "root of a container without them" \
	"eBPF takes root, or CAP_BPF and CAP_PERFMON" \
	setpriv --bounding-set -sys_admin,-bpf,-perfmon "$kvwatch" "$daemon"
# shellcheck disable=SC2016 # the inner shell's
none "a kernel without BTF" "this kernel has no BTF" unshare --mount sh -c \
	'mount -t tmpfs none /sys/kernel/btf && mount -t tmpfs none /boot &&
	exec "$@"' sh "$kvwatch" "$daemon"
# Locking this one would be for good: bpf(2) is refused, and so it says.
# shellcheck disable=SC2016 # the inner shell's
none "a kernel that is locked down" "this kernel is locked down" \
	unshare --mount sh -c 'mount -t tmpfs none /sys/kernel/security &&
	echo "none integrity [confidentiality]" >/sys/kernel/security/lockdown &&
	exec "$@"' sh "$helpers/noring" bpf:EPERM "$kvwatch" "$daemon"
none "a seccomp filter" "the kernel refuses bpf(2)" \
	"$helpers/noring" bpf:EPERM "$kvwatch" "$daemon"
none "a daemon that has ended" "treekvd has ended" "$kvwatch" 4000001
start_watch "$helpers/noring" perf:EPERM "$kvwatch" "$daemon"
says "without perf_event_open(2): scheduler and io_uring" "$dir/watch" \
	"counters: the kernel refuses perf_event_open(2)"
stop_watch
none "a PID namespace" "this is a PID namespace of its own" \
	unshare --pid --fork --mount-proc "$kvwatch" 1
none "a program built without it" "this program was built without it" \
	"$helpers/kvwatch-absent" "$daemon"
exit $failed
