#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# treekv-top: its JSON against treekvctl's, its screens (in a tmux of their own)
# against its JSON, keys, sizes, what it does to caches, a daemon that goes and
# comes back, one that is older, records.
#
# Usage: test_top.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

top=$O/bin/treekv-top
writer=$helpers/kvwriter
tools=$(cd "$(dirname "$0")" && pwd)
nobody=65534

need python3 "treekv-top"

# ---- a terminal ----

in_tmux()
{
	tmux -S "$dir/tmux" "$@"
}

trap 'in_tmux kill-server 2>/dev/null; clean_up' EXIT

# show WIDTH HEIGHT [OPTION]...: treekv-top on a terminal of that size;
# $terminal may say what kind that is
show()
{
	size="-x $1 -y $2"
	shift 2
	# shellcheck disable=SC2086 # a list of words
	in_tmux -f /dev/null new-session -d $size -s top \
		"env ${terminal-LC_ALL=C.UTF-8} $top --no-ebpf $* 2>$dir/top.err
		echo \"ended \$?\"; cat" 2>"$dir/tmux.err" 9>&-
	in_tmux set -g status off
}

has_no_tmux()
{
	! in_tmux list-sessions
}

# The window closes with its program.
hide()
{
	in_tmux kill-server 2>/dev/null
	wait_for has_no_tmux
	rm -f "$dir/tmux"
}

press()
{
	in_tmux send-keys -t top "$@"
}

screen()
{
	in_tmux capture-pane -p -t top
}

is_shown()
{
	screen | grep -qF -- "$1"
}

is_hidden()
{
	! screen | grep -qF -- "$1"
}

# shown NAME WORDS: ok as soon as the screen has them
shown()
{
	if wait_for is_shown "$2"; then
		ok "$1"
	else
		screen >"$dir/screen"
		not_ok "$1" "$dir/screen" "$dir/top.err"
		echo "# lacks: $2"
	fi
}

hidden()
{
	if wait_for is_hidden "$2"; then
		ok "$1"
	else
		screen >"$dir/screen"
		not_ok "$1" "$dir/screen"
		echo "# still has: $2"
	fi
}

# agrees NAME [ORDER]: the table on the screen says what --json says
agrees()
{
	"$top" --no-ebpf --json --interval 0.1 >"$dir/json" 2>"$dir/err"
	screen >"$dir/screen"
	check "$1" python3 -B "$tools/top_screen.py" "$dir/screen" "$dir/json" \
		"${2-}"
}

# ---- without a terminal ----

# refused NAME STATUS WORDS OPTION...
refused()
{
	what=$1
	wanted=$2
	words=$3
	shift 3
	"$top" "$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	if [ $status -ne "$wanted" ]; then
		not_ok "$what: exit status $status" "$dir/out" "$dir/err"
	else
		says "$what" "$dir/err" "$words"
	fi
}

test_command_line()
{
	refused "an unknown option" 2 "unknown option, or one without its argument: --wrong; see treekv-top --help" --wrong
	refused "an interval that is none" 2 "--interval 0: give seconds, 0.1 to 3600" --interval 0
	refused "a column that is none" 2 "no column 'size'; there are name owner state" --sort size
	refused "a filter that is none" 2 "'many' is no figure" --filter 'tokens>many'
	refused "recording what is played" 2 "--play and --record exclude each other" --play a --record b
	refused "no terminal" 1 "standard input and output are not a terminal; see --once, --json and --record"
	"$top" --help >"$dir/out"
	says "--help lists the options" "$dir/out" "--filter TERMS"
	check "--version" [ "$("$top" --version)" = "treekv-top 0.1.0" ]
}

test_no_daemon()
{
	TREEKV_SOCKET=$dir/none.sock
	refused "no daemon: --once fails" 1 "cannot connect to treekvd at $dir/none.sock" --once
	refused "no daemon: --json fails" 1 "cannot connect" --json
	check "and is JSON all the same" python3 -c '
import json, sys
trouble = json.load(open(sys.argv[1]))["daemon"]["trouble"]
sys.exit("cannot connect to treekvd" not in trouble)' "$dir/out"
	TREEKV_SOCKET=$dir/treekvd.sock
}

make_caches()
{
	"$writer" --cache story --steps 3000 --policy streaming >/dev/null
	"$writer" --cache notes --steps 500 >/dev/null
	"$writer" --cache essay --steps 200 --policy h2o --budget 48 >/dev/null
	"$writer" --cache short --steps 20 >/dev/null
}

test_json()
{
	"$top" --no-ebpf --json --interval 0.2 >"$dir/json" 2>"$dir/err"
	"$treekvctl" list --json >"$dir/list"
	"$treekvctl" status --json >"$dir/status"
	check "its JSON has what treekvctl's has, and rates" \
		python3 -B "$tools/top_json.py" "$dir/json" "$dir/list" \
		"$dir/status" "$(nproc)"
	"$top" --no-ebpf --once --interval 0.1 --filter 'tokens>100' \
		--sort name >"$dir/once" 2>"$dir/err"
	check "--once prints the table" python3 -B "$tools/top_screen.py" \
		"$dir/once" "$dir/json" "essay notes story"
}

test_writer_is_seen()
{
	rm -f "$dir/in"
	mkfifo "$dir/in"
	"$writer" --cache busy --steps 100 --hold <"$dir/in" >"$dir/busy" 2>&1 &
	holder=$!
	children="$children $holder"
	exec 9>"$dir/in"
	wait_for_line "$dir/busy" holding
	"$top" --no-ebpf --json --interval 0.1 >"$dir/json" 2>"$dir/err"
	check "who writes a cache is named" python3 -c '
import json, sys
top, pid = json.load(open(sys.argv[1])), int(sys.argv[2])
busy = [c for c in top["caches"] if c["name"] == "busy"][0]
assert busy["writer_pid"] == pid, busy
assert "kvwriter --cache busy" in busy["command"], busy
client = [c for c in top["clients"] if c["pid"] == pid][0]
assert client["leases"] == client["connections"] == 1, client
assert client["bytes"] == busy["bytes"], client
assert client["program"] == "kvwriter", client
assert client["requests"] >= 1, client
own = [c for c in top["clients"] if c["program"] == "treekv-top"]
assert len(own) == 1 and own[0]["leases"] == 0, own
' "$dir/json" "$holder"
	exec 9>&-
	wait "$holder"
}

# What a streaming cache keeps is known: the first four tokens and the last.
test_kept_map()
{
	"$treekvctl" inspect story --json >"$dir/inspect"
	check "the map of kept tokens is true" python3 -c '
import json, sys
cache = json.load(open(sys.argv[1]))
kept, tail, held = cache["kept"], cache["tail"], cache["held"]
edges = kept["edges"]
assert edges[0] == 0 and edges[-1] == tail
tokens = set(range(4)) | set(range(tail - (held - 4), tail))
wanted = [len([t for t in tokens if low <= t < high])
          for low, high in zip(edges, edges[1:])]
assert len(kept["groups"]) == 2 # layers
for group in kept["groups"]:
    assert group["heads"] == 2 and group["outside"] == 0, group
    assert group["rows"] == [2 * n for n in wanted], (group, wanted)
    assert group["scope"] == [], group
' "$dir/inspect"
	"$treekvctl" inspect notes --json >"$dir/inspect"
	check "so is that of a tree, and its eviction scope" python3 -c '
import json, sys
cache = json.load(open(sys.argv[1]))
kept = cache["kept"]
for group, layer in zip(kept["groups"], cache["layers"]):
    assert sum(group["rows"]) == 2 * layer["live"], group
    assert sum(group["scope"]) == 2, group
    half = len(group["rows"]) // 2
    assert sum(group["rows"][half:]) > 3 * sum(group["rows"][1:half]), group
' "$dir/inspect"
	LC_ALL=C "$treekvctl" inspect story >"$dir/out"
	says "inspect draws it" "$dir/out" "layer 0      |"
}

test_hostile_requests()
{
	python3 -B "$tools/top_frames.py" "$TREEKV_SOCKET" || failed=1
}

test_other_users()
{
	if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
		skip "what another user sees: not root, or no setpriv"
		return
	fi
	mkdir -p "$dir/bin"
	cp "$top" "$dir/bin"
	chmod 755 "$dir" "$dir/bin"
	id=$("$treekvctl" inspect story --json |
		sed 's/^{"cache": \([0-9]*\).*/\1/')
	setpriv --reuid=$nobody --regid=0 --clear-groups \
		"$dir/bin/treekv-top" --no-ebpf --json --interval 0.1 \
		>"$dir/out" 2>"$dir/err"
	check "another user sees his own processes and no caches" python3 -c '
import json, sys
top = json.load(open(sys.argv[1]))
assert top["caches"] == [], top["caches"]
assert [c["program"] for c in top["clients"]] == ["treekv-top"], top["clients"]
assert top["workers"], top["workers"]
' "$dir/out"
	python3 -B "$tools/top_frames.py" "$TREEKV_SOCKET" "$id" $nobody ||
		failed=1
}

# ---- on a terminal ----

test_screens()
{
	show 120 30 --interval 0.2 --sort name
	shown "the table is shown" "story"
	agrees "it says what --json says" "essay notes short story"
	press r
	wait_for is_first story
	agrees "reversed" "story short notes essay"
	press '>' '>' '>' '>' '>' # owner, state, pid, policy, tokens
	wait_for is_first story
	agrees "sorted by another column" "story notes essay short"
	press / 'tokens>=200 !h2o' Enter
	hidden "a filter hides rows" "short"
	agrees "the rest is as it was" "story notes"
	shown "and the filter is named" "filter: tokens>=200 !h2o"
	press / Escape
	shown "no filter shows all" "short"
	press Down Enter
	shown "Enter opens a cache" "Kept tokens"
	shown "it is the one that the cursor was on" "500 seen"
	shown "its spec is there" "budget      64: sinks 4, recent 16, slack 16"
	shown "so is its map" "L 1 "
	shown "and a chart" "Compactions of this cache"
	press l
	shown "the map has another scale" "finer the newer"
	press '?'
	shown "help" "choose a row"
	press Escape Escape
	shown "and back" "HELD/BUDGET"
	press 3
	shown "workers" "THREAD"
	press 2
	shown "clients" "treekv-top"
	press Space
	shown "pause" "paused"
	press Space
	hidden "and on" "paused"
}

is_first()
{
	screen | grep -A 1 '^NAME' | tail -n 1 | grep -q "^$1 "
}

test_sizes()
{
	press 1
	wait_for is_shown "HELD/BUDGET"
	in_tmux resize-window -t top -x 40 -y 10
	hidden "40x10 has fewer columns" "HELD/BUDGET"
	shown "40x10" "essay"
	agrees "40x10 says what --json says"
	in_tmux resize-window -t top -x 200 -y 60
	shown "200x60 has them all" "COMMAND"
	shown "200x60" "EVI/S"
	agrees "200x60 says what --json says"
	in_tmux resize-window -t top -x 19 -y 4
	shown "a terminal that is too small is told" "too small: 19x4"
	in_tmux resize-window -t top -x 80 -y 24
	shown "and forgiven" "essay"
	press q
	shown "q quits" "ended 0"
	hide
}

test_plain_terminals()
{
	terminal="TERM=vt100 LC_ALL=C" show 80 24 --interval 0.2
	shown "a vt100 in ASCII" "story"
	press Enter
	shown "its map" "# all % half"
	agrees_in_ascii
	hide
	terminal="TERM=nonsense" show 80 24
	shown "an unknown terminal is refused" "ended 1"
	says "with the reason" "$dir/top.err" "this terminal is not known"
	hide
	terminal="NO_COLOR=1 LC_ALL=C.UTF-8" show 80 24 --interval 0.2
	wait_for is_shown story
	in_tmux capture-pane -p -e -t top >"$dir/screen"
	check "NO_COLOR: no colour" sh -c \
		"! grep -qE '$(printf '\033')\[[0-9;]*[34][0-7]' '$dir/screen'"
	hide
}

agrees_in_ascii()
{
	screen >"$dir/screen"
	check "nothing but ASCII" sh -c \
		"! LC_ALL=C grep -q '[^ -~]' '$dir/screen'"
}

# ---- doing something ----

is_saved()
{
	[ -n "$(ls "$dir/state/snapshots"/*/"$1".tkv 2>/dev/null)" ]
}

test_actions()
{
	show 100 24 --interval 0.2 --sort name
	wait_for is_shown story
	press s
	shown "a snapshot is asked for first" "Write cache essay of"
	press n
	shown "no means no" "nothing was done"
	check "nothing is on disk" sh -c "! ls '$dir/state/snapshots'/*/*.tkv"
	press s y
	shown "yes" "snapshot written of essay"
	check "it is on disk" is_saved essay
	press d k
	shown "a cache is dropped" "dropped essay"
	shown "and its snapshot kept" "on disk"
	check "the daemon has dropped it" [ "$(field essay state)" = "on disk" ]
	press d y
	hidden "its snapshot goes, too" "on disk"
	check "from the disk" sh -c "! ls '$dir/state/snapshots'/*/*.tkv"
	press b
	shown "no lease, nothing to break" "nobody writes notes"
	hide
}

# Caches of one name, on disk, where only the name says which is meant: the one
# that is chosen goes, and no other.
test_namesakes()
{
	if [ "$(id -u)" -ne 0 ]; then
		skip "caches of several users: not root"
		return
	fi
	chmod 755 "$dir"
	chmod 666 "$TREEKV_SOCKET"
	mkdir "$dir/bin"
	cp "$writer" "$dir/bin"
	for user in 0 61001; do
		for cache in twin @61100/twin @61200/twin; do
			setpriv --reuid=$user --regid=$user \
				--groups=61100,61200 "$dir/bin/kvwriter" \
				--cache $cache --steps 5 >/dev/null
		done
	done
	"$treekvctl" park "~61001/twin" >/dev/null
	"$treekvctl" park "@61100/twin" >/dev/null
	"$treekvctl" park "@61200/twin" >/dev/null
	show 100 24 --interval 0.2 --filter "'state=parked name~61200'"
	shown "a group's name is shown in full" "@61200/twin"
	press d y
	shown "one of a group is dropped" "dropped @61200/twin"
	check "that one" [ "$(twins)" = "0 idle 61001 parked @61100 parked " ]
	hide
	show 100 24 --interval 0.2 --filter "'state=parked owner=61001'"
	wait_for is_shown "twin"
	press d y
	shown "one of another user is dropped" "dropped twin"
	check "his" [ "$(twins)" = "0 idle @61100 parked " ]
	hide
	"$treekvctl" drop twin >/dev/null
	"$treekvctl" drop "@61100/twin" >/dev/null
}

# whose caches are called twin, and where they are
twins()
{
	"$treekvctl" list --json | python3 -B -c '
import json, sys
for cache in json.load(sys.stdin):
    if cache["name"] == "twin":
        print("@%(gid)u" % cache if cache["shared"] else "%(uid)u" % cache,
              cache["state"])' | sort | tr "\\n" " "
}

test_break()
{
	rm -f "$dir/in"
	mkfifo "$dir/in"
	"$writer" --cache held --steps 100 --hold <"$dir/in" >"$dir/held" 2>&1 &
	holder=$!
	children="$children $holder"
	exec 9>"$dir/in"
	wait_for_line "$dir/held" holding
	kill -STOP $holder
	show 100 24 --interval 0.2 --filter name=held
	shown "a stopped holder" "writing"
	press b
	shown "he is named" "from process $holder,"
	press y
	shown "his lease is broken" "lease broken of held"
	shown "the cache is free" "idle"
	kill -CONT $holder
	exec 9>&-
	wait $holder
	hide
}

# ---- daemons ----

test_restart()
{
	show 100 24 --interval 0.2
	wait_for is_shown story
	"$treekvctl" snapshot --all >/dev/null
	kill -KILL "$daemon"
	wait "$daemon"
	shown "a daemon that is gone is said" "no answer from treekvd"
	shown "with the reason" "cannot connect to treekvd at"
	start_daemon --log-level warning
	shown "the next one is found" "story"
	shown "it is the next one" "process $daemon"
	"$treekvctl" restore --all >/dev/null
	shown "and serves" "idle"
	hide
}

test_hang()
{
	show 100 24 --interval 0.2
	wait_for is_shown story
	kill -STOP "$daemon"
	shown "a daemon that hangs is said" "has not answered"
	press '?'
	shown "and keys work meanwhile" "choose a row"
	press Escape
	kill -CONT "$daemon"
	shown "it goes on" "TOK/S"
	press q
	shown "quits" "ended 0"
	hide
}

test_older_daemon()
{
	python3 -B "$tools/top_relay.py" "$TREEKV_SOCKET" "$dir/old.sock" &
	relay=$!
	children="$children $relay"
	wait_for [ -S "$dir/old.sock" ]
	show 100 24 --interval 0.2 --socket "$dir/old.sock"
	shown "an older daemon's caches" "story"
	press Enter
	shown "it has no map, and that is said" "knows no map of kept tokens"
	press Escape 3
	shown "nor workers" "no workers"
	asked=$("$treekvctl" status --json |
		sed 's/.*"refusals_total": \([0-9]*\).*/\1/')
	check "it is asked once, not every time" [ "$asked" -le "$((${1:-0} + 3))" ]
	hide
	kill $relay
	wait $relay 2>/dev/null
}

# ---- records ----

recorded()
{
	[ "$(stat -c %s "$dir/record" 2>/dev/null || echo 0)" -gt "$1" ]
}

test_records()
{
	"$top" --no-ebpf --record "$dir/record" --interval 0.1 </dev/null \
		>"$dir/out" 2>"$dir/err" &
	recorder=$!
	children="$children $recorder"
	wait_for recorded 1000
	size=$(stat -c %s "$dir/record")
	"$writer" --cache newcomer --steps 300 >/dev/null
	wait_for recorded $((size + 500))
	"$top" --no-ebpf --json --interval 0.1 >"$dir/json"
	size=$(stat -c %s "$dir/record")
	wait_for recorded $((size + 300))
	kill -TERM $recorder
	wait $recorder
	check "a recorder ends in good order" [ $? -eq 0 ]
	refused "a record is not overwritten" 1 "give another name" \
		--record "$dir/record"
	TREEKV_SOCKET=$dir/none.sock
	"$top" --play "$dir/record" --json >"$dir/played" 2>"$dir/err"
	check "it is played without a daemon" python3 -c '
import json, sys
live, played = (json.load(open(name)) for name in sys.argv[1:])
def plain(top):
    return [{k: v for k, v in c.items() if k != "rates"}
            for c in top["caches"]]
assert plain(live) == plain(played), (plain(live), plain(played))
' "$dir/json" "$dir/played"
	test_played_screen
	TREEKV_SOCKET=$dir/treekvd.sock
	head -c 200 "$dir/record" >"$dir/torn"
	head -c 300 /dev/urandom >"$dir/noise"
	refused "a torn record is said" 1 "has no sample" --play "$dir/torn" --json
	refused "noise is no record" 1 "is no record of treekv-top" \
		--play "$dir/noise" --json
	refused "nor is nothing" 1 "cannot open the record" --play "$dir/nil"
}

test_played_screen()
{
	as=
	if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
		chmod 644 "$dir/record"
		chmod 755 "$dir"
		mkdir -p "$dir/bin"
		cp "$top" "$dir/bin"
		as="setpriv --reuid=$nobody --regid=$nobody --clear-groups"
		as="$as --bounding-set=-all --inh-caps=-all"
		$as "$dir/bin/treekv-top" --play "$dir/record" --json \
			>"$dir/out" 2>"$dir/err"
		check "and without privileges" cmp "$dir/out" "$dir/played"
	fi
	in_tmux -f /dev/null new-session -d -x 100 -y 24 -s top \
		"env LC_ALL=C.UTF-8 $top --play $dir/record; echo ended; cat"
	in_tmux set -g status off
	shown "a record on a terminal" "record "
	press Space
	shown "it stops" "paused"
	press '[' '['
	shown "its beginning" "paused 1/"
	hidden "when a cache was not there yet" "newcomer"
	press ']'
	shown "and its end" "newcomer"
	press d
	shown "nothing can be done to it" "this is a record"
	press q
	shown "quits" "ended"
	hide
}

# ---- eBPF ----

test_ebpf()
{
	"$top" --json --interval 0.1 >"$dir/json" 2>"$dir/err"
	level=$(sed 's/.*"watch": {"level": "\([a-z]*\)".*/\1/' "$dir/json")
	if [ "$level" != full ]; then
		skip "histograms from eBPF: $(sed \
			's/.*"watch": {[^}]*"text": "\([^"]*\)".*/\1/' "$dir/json")"
		return
	fi
	"$top" --json --interval 3 >"$dir/json" 2>"$dir/err" &
	asker=$!
	children="$children $asker"
	# while it is attached or not: what counts is that some steps are seen
	"$writer" --cache seen --steps 20000 --verify-every 0 >/dev/null
	while kill -0 $asker 2>/dev/null; do
		"$writer" --cache seen --steps 2000 --verify-every 0 >/dev/null
	done
	wait $asker
	check "histograms from eBPF" python3 -c '
import json, sys
top = json.load(open(sys.argv[1]))
histograms = {h["name"]: h for h in top["histograms"]}
seen = histograms["compaction"]
assert seen["source"] == "ebpf" and seen["count"] > 0, seen
assert seen["unit"] == "nanoseconds", seen
assert seen["count"] == sum(seen["buckets"]), seen
assert 0 < seen["p50"] <= seen["p99"], seen
cache = [c for c in top["caches"] if c["name"] == "seen"][0]
assert cache["compaction"]["source"] == "ebpf", cache
assert sum(cache["compaction"]["buckets"]) <= int(sys.argv[2]), cache
' "$dir/json" "$(field seen compactions)" # which has gone on since
}

# attached PID: somebody is, to probes of its program
attached()
{
	python3 -B "$tools/probes.py" "$1" >"$dir/attached"
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
	[ -z "$(comm -12 "$1" "$dir/all")" ]
}

shows_stalls()
{
	"$top" --play "$dir/watched" --json >"$dir/json" 2>"$dir/err"
	python3 -c '
import json, sys
top = json.load(open(sys.argv[1]))
stall = {h["name"]: h for h in top["histograms"]}["stall"]
cache = [c for c in top["caches"] if c["name"] == "waits"][0]
sys.exit(not (stall["source"] == "ebpf" and stall["p99"] > 0
              and 0 < stall["count"] <= cache["stalls"]))' "$dir/json"
}

test_killed()
{
	if [ "$level" != full ] || ! command -v bpftool >/dev/null; then
		skip "what killing it leaves: eBPF cannot be had in full, or no bpftool"
		return
	fi
	"$top" --record "$dir/watched" --interval 0.1 </dev/null \
		>"$dir/out" 2>"$dir/err" &
	recorder=$!
	children="$children $recorder"
	check "it attaches to the daemon" wait_for attached "$daemon"
	rm -f "$dir/in"
	mkfifo "$dir/in"
	"$writer" --cache waits --slack 1 --steps 2000 --verify-every 0 \
		--pause <"$dir/in" >"$dir/waits" 2>&1 &
	holder=$!
	children="$children $holder"
	exec 9>"$dir/in"
	wait_for_line "$dir/waits" paused
	check "and to who writes" wait_for attached "$holder"
	echo go >&9
	exec 9>&-
	wait $holder
	check "a stall is shown, as the kernel saw it" wait_for shows_stalls
	programs "$recorder" >"$dir/programs"
	check "it has programs in the kernel" [ -s "$dir/programs" ]
	kill -KILL $recorder
	wait $recorder 2>/dev/null
	check "kill -9 leaves no breakpoint" wait_for detached "$daemon"
	check "nor a program" wait_for are_gone "$dir/programs"
}

start_daemon --log-level warning
test_command_line
test_no_daemon
make_caches
test_json
test_writer_is_seen
test_kept_map
test_hostile_requests
test_other_users
if command -v tmux >/dev/null; then
	"$treekvctl" drop busy >/dev/null
	test_screens
	test_sizes
	test_plain_terminals
	test_actions
	test_namesakes
	test_break
	test_restart
	test_hang
	test_older_daemon "$("$treekvctl" status --json |
		sed 's/.*"refusals_total": \([0-9]*\).*/\1/')"
	test_records
else
	skip "screens: tmux is not installed"
fi
test_ebpf
test_killed
stop_daemon
check "the daemon ends in good order" [ "$status" -eq 0 ]
exit $failed
