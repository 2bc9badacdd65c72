#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Runs inside of the container (check.sh), as root, in a machine that has never
# seen treekvd. Nothing sleeps: what is waited for is asked for again until it
# is there, or until a deadline that only a broken program reaches.
#
# Prints "ok - NAME", "not ok - NAME", "skip - NAME: why" and "figure - TEXT".
#
# Usage: inside.sh VERSION NEXT-VERSION

# shellcheck disable=SC2086 # $work is a plain word
# shellcheck disable=SC2317 # functions are what check and wait_for run

set -u

version=$1
next=$2
rounds=${ROUNDS:-50}
here=$(cd "$(dirname "$0")" && pwd)
writers=8
steps=3000 # tokens of a run
deadline=30 # seconds
failed=0
work=/tmp/check # a plain word

ok()
{
	echo "ok - $1"
}

# not_ok NAME [FILE]...: with what the files say
not_ok()
{
	local file

	echo "not ok - $1"
	shift
	failed=1
	for file in "$@"; do
		echo "# $file:"
		sed 's/^/#   /' "$file"
	done
}

journal()
{
	journalctl -u treekvd -u treekvd.socket --no-pager -o short-precise \
		"$@"
}

# check NAME COMMAND...: ok when the command succeeds
check()
{
	local what=$1

	shift
	if "$@" >$work/check 2>&1; then
		ok "$what"
	else
		journal -n 30 >$work/journal
		not_ok "$what" $work/check $work/journal
	fi
}

# wait_for COMMAND...: runs it again until it succeeds
wait_for()
{
	local until=$((SECONDS + deadline))

	while ! "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $until ] || return 1
	done
}

# as USER COMMAND...
as()
{
	setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"
}

now_us()
{
	echo "${EPOCHREALTIME/./}"
}

main_pid()
{
	systemctl show -P MainPID treekvd
}

# metric NAME
metric()
{
	treekvctl status --json | grep -oE "\"$1\": [0-9]+" | grep -oE '[0-9]+$'
}

metric_is()
{
	[ "$(metric "$1")" = "$2" ]
}

log_says()
{
	journal | grep -qF -- "$1"
}

# Another daemon than $1 answers.
is_serving_after()
{
	local pid

	pid=$(treekvctl status 2>/dev/null |
		sed -n 's/^daemon .* process \([0-9]*\)$/\1/p')
	[ -n "$pid" ] && [ "$pid" != "$1" ]
}

# kill_daemon: and wait until the next one answers; $took microseconds
kill_daemon()
{
	local pid begin

	pid=$(main_pid)
	begin=$(now_us)
	kill -KILL "$pid"
	wait_for is_serving_after "$pid" || return 1
	took=$(($(now_us) - begin))
}

# ---- writers: each attaches, checks, goes on and detaches, again and again ----

# run_writer N: one run, in whose attach the daemon may die as in all else
run_writer()
{
	as alice "$here/kvwriter" --cache "w$1" --seed "$1" --steps $steps \
		--verify-every 16 2>>$work/errors
}

# Tails must add up: what a run committed is there when the next one attaches.
writer()
{
	local tail=0 line new

	while [ ! -e $work/stop ]; do
		line=$(run_writer "$1") || return
		read -r _ new _ <<<"$line"
		if [ "$new" -ne $((tail + steps)) ]; then
			echo "w$1: tail $new after $tail + $steps" >>$work/lost
		fi
		tail=$new
		echo "$line" >>$work/out
	done
}

start_writers()
{
	local i

	touch $work/errors $work/lost $work/out
	for ((i = 1; i <= writers; i++)); do
		writer "$i" &
	done
	check "eight writers of an unprivileged member of the group" \
		wait_for all_beyond ""
}

# Lines of a writer's number and its cache's tail.
tails()
{
	treekvctl list --json | grep -oE '"name": "[^"]*"|"tail": [0-9]+' |
		paste - - | grep '"w[0-9]*"' | sed 's/[^0-9\t]//g'
}

# Every writer has 64 tokens more than in $1, what tails said then ("": 0).
all_beyond()
{
	join -a 2 -e 0 -o 1.2,2.2 <(sort <<<"$1") <(tails | sort) |
		awk -v all="$writers" '$2 > $1 + 64 { n++ } END { exit n != all }'
}

# column NAME: summed over all runs
column()
{
	grep -oE "\b$1 [0-9]+" $work/out | awk '{ n += $2 } END { print n + 0 }'
}

# is_empty FILE
is_empty()
{
	cat "$1"
	[ ! -s "$1" ]
}

stop_writers()
{
	touch $work/stop
	wait
	check "zero wrong rows, zero refusals" is_empty $work/errors
	check "zero lost commits" is_empty $work/lost
	check "nothing was quarantined" metric_is caches_quarantined 0
	echo "figure - writers: $(tails | awk '{ n += $2 } END { print n }')" \
		"tokens committed, $(column rows) rows checked," \
		"$(wc -l <$work/out) attaches, none of them twice," \
		"$(column reconnects) reconnects;" \
		"$(wc -l <$work/errors) wrong, $(wc -l <$work/lost) lost"
}

# ---- cases ----

install_packages()
{
	dpkg -i "$here/$1"/*.deb >$work/dpkg 2>&1 || {
		cat $work/dpkg
		return 1
	}
}

case_install()
{
	check "the packages install" install_packages "$version"
	check "installing starts the service" systemctl is-active treekvd
	check "the socket is root:treekv 0660" test "$(stat -c '%U:%G %a' \
		/run/treekvd/treekvd.sock)" = "root:treekv 660"
	check "it runs as treekv" test "$(stat -c %U "/proc/$(main_pid)")" = \
		treekv
	check "systemd-analyze security: at most 1.5" systemd-analyze \
		security --threshold=15 --no-pager treekvd.service
	echo "figure - exposure: $(tail -n 1 $work/check |
		grep -oE '[0-9.]+ [A-Z]+')"
	check "the doctor finds nothing that fails" treekvctl doctor
	check "treekv-top shows it" sh -c "treekv-top --once --no-ebpf |
		grep -qF 'process $(main_pid), up'"
}

case_users()
{
	useradd -m -G treekv alice
	useradd -m mallory
	check "a member of the group attaches" as alice "$here/kvwriter" \
		--cache first --steps 100
	if as mallory treekvctl status >$work/out 2>&1 ||
		! grep -q 'usermod -aG treekv' $work/out; then
		not_ok "others are refused, and told the group" $work/out
	else
		ok "others are refused, and told the group"
	fi
}

status_says()
{
	systemctl show -P StatusText treekvd | grep -qF -- "$1" &&
		systemctl status --no-pager treekvd | grep -qF -- "$1"
}

case_status()
{
	check "systemctl status says how many caches there are" \
		wait_for status_says '1 caches, 0 of them written to'
}

case_reload()
{
	local conf=/etc/treekvd/treekvd.conf pid

	pid=$(main_pid)
	printf 'pool = 3G\nworkers = 2\n' >>$conf
	check "systemctl reload" systemctl reload treekvd
	check "reload changes the pool" wait_for metric_is pool_limit_bytes \
		$((3 << 30))
	check "reload says what needs a restart" wait_for log_says \
		'event="option needs a restart" name=workers'
	echo 'pool = many' >>$conf
	systemctl reload treekvd
	check "reload refuses what makes no sense" wait_for log_says \
		"pool cannot be 'many'"
	check "and keeps what it has" metric_is pool_limit_bytes $((3 << 30))
	check "it is the same daemon" test "$(main_pid)" = "$pid"
	sed -i '/many/d' $conf
}

# metrics_on PORT: into $work/metrics, by a client that does HTTP 1.0
metrics_on()
{
	exec 3<>"/dev/tcp/127.0.0.1/$1" || return
	printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
	cat <&3 >$work/metrics
	exec 3>&-
	grep -q '^treekvd_uptime_seconds ' $work/metrics
}

case_metrics()
{
	local conf=/etc/treekvd/treekvd.conf
	local drop_in=/run/systemd/system/treekvd.service.d/metrics.conf

	echo 'metrics = /run/treekvd/metrics.sock' >>$conf
	systemctl restart treekvd
	check "metrics on a socket" wait_for test -S /run/treekvd/metrics.sock
	check "for the daemon's group" test "$(stat -c '%U:%G %a' \
		/run/treekvd/metrics.sock)" = "treekv:treekv 660"
	check "treekvd-metrics.socket is not enabled by itself" test \
		"$(systemctl is-enabled treekvd-metrics.socket)" = disabled
	check "and can be" systemctl enable --now treekvd-metrics.socket
	check "metrics on a loopback port, through systemd" \
		wait_for metrics_on 9971
	check "the proxy is confined as well" systemd-analyze security \
		--threshold=15 --no-pager treekvd-metrics.service
	mkdir -p "${drop_in%/*}"
	man -P cat 8 treekvd | sed -n '/^ *\[Service\]/,/^$/s/^ *//p' >$drop_in
	sed -i 's,^metrics = .*,metrics = 127.0.0.1:9972,' $conf
	systemctl daemon-reload
	systemctl restart treekvd
	check "metrics on a loopback port, by the manual's drop-in" \
		wait_for metrics_on 9972
	check "systemd-analyze security with it: at most 1.5" systemd-analyze \
		security --threshold=15 --no-pager treekvd.service
	rm $drop_in
	sed -i 's,^metrics = .*,metrics = /run/treekvd/metrics.sock,' $conf
	systemctl daemon-reload
	systemctl restart treekvd
}

case_restart()
{
	local before pid

	before=$(tails)
	pid=$(main_pid)
	check "systemctl restart" systemctl restart treekvd
	check "restart keeps the caches, and the writers go on" \
		wait_for all_beyond "$before"
	check "which takes no snapshots: the daemon knows that from a stop" \
		log_says 'event="restarting"'
	check "restart wrote nothing" test -z \
		"$(find /var/lib/treekvd/snapshots -name '*.tkv')"
	check "it is another daemon, with two workers by now" metric_is \
		workers 2
	check "the socket is still root's" test "$(stat -c '%U:%G %a' \
		/run/treekvd/treekvd.sock)" = "root:treekv 660"
	[ "$pid" != "$(main_pid)" ] || not_ok "restart was no restart"
}

# A configuration that makes no sense must not cost the caches.
case_bad_restart()
{
	local before

	before=$(tails)
	echo 'pool = many' >>/etc/treekvd/treekvd.conf
	if systemctl restart treekvd 2>/dev/null; then
		not_ok "restart with a broken configuration fails"
	else
		ok "restart with a broken configuration fails"
	fi
	sed -i '/many/d' /etc/treekvd/treekvd.conf
	check "once it is mended, the daemon comes back by itself, with all" \
		wait_for all_beyond "$before"
}

case_kill()
{
	local before i

	: >$work/took
	for ((i = 1; i <= rounds; i++)); do
		before=$(tails)
		if ! kill_daemon; then
			journal -n 40 >$work/journal
			not_ok "kill -9, round $i: serving again" $work/journal
			return
		fi
		echo "$took" >>$work/took
		if ! wait_for all_beyond "$before"; then
			tails >$work/tails
			journal -n 40 >$work/journal
			not_ok "kill -9, round $i: every writer goes on" \
				$work/tails $work/journal $work/errors
			return
		fi
	done
	ok "$rounds rounds of kill -9 under $writers writers: each goes on"
	check "and metrics are served by the last of those daemons" \
		wait_for metrics_on 9971
	echo "figure - kill -9 under $writers writers, $rounds rounds, to" \
		"serving: $(sort -n $work/took | awk '{ t[NR] = $1 / 1000 }
		END { printf "median %.0f ms, most %.0f ms",
		t[int((NR + 1) / 2)], t[NR] }')"
}

set_watchdog()
{
	mkdir -p /run/systemd/system/treekvd.service.d
	printf '[Service]\nWatchdogSec=2s\n' \
		>/run/systemd/system/treekvd.service.d/watchdog.conf
	systemctl daemon-reload
	systemctl restart treekvd
}

case_watchdog()
{
	local before begin pid tid

	set_watchdog
	before=$(tails)
	pid=$(main_pid)
	begin=$(now_us)
	kill -STOP "$pid"
	check "watchdog: a stopped daemon is replaced" \
		wait_for is_serving_after "$pid"
	echo "figure - watchdog of 2 s: serving again" \
		"$((($(now_us) - begin) / 1000)) ms after SIGSTOP"
	check "watchdog: the writers go on" wait_for all_beyond "$before"

	before=$(tails)
	pid=$(main_pid)
	tid=$(grep -l treekvd-worker "/proc/$pid"/task/*/comm | head -n 1)
	tid=${tid%/comm}
	begin=$(now_us)
	"$here/kvfreeze" "${tid##*/}" &
	check "watchdog: a daemon with one hanging worker is replaced" \
		wait_for is_replaced "$pid"
	echo "figure - watchdog of 2 s: serving again" \
		"$((($(now_us) - begin) / 1000)) ms after a worker hung"
	check "watchdog: the writers go on after that" \
		wait_for all_beyond "$before"
	rm /run/systemd/system/treekvd.service.d/watchdog.conf
	systemctl daemon-reload
	systemctl restart treekvd
}

is_replaced()
{
	[ "$(main_pid)" != "$1" ] && is_serving_after "$1"
}

runs_new_binary()
{
	[ "$(readlink "/proc/$(main_pid)/exe")" = /usr/bin/treekvd ]
}

case_upgrade()
{
	local before begin pid

	before=$(tails)
	pid=$(main_pid)
	begin=$(now_us)
	check "the packages upgrade" install_packages "$next"
	check "upgrade: another daemon serves" wait_for is_replaced "$pid"
	echo "figure - upgrade, dpkg's work included:" \
		"$((($(now_us) - begin) / 1000)) ms"
	check "upgrade: it is the new binary" runs_new_binary
	check "upgrade: the new version is installed" test "$(dpkg-query -W \
		-f '${Version}' treekvd)" = "$next"
	check "upgrade: the socket unit was left alone" systemctl is-active \
		treekvd.socket
	check "upgrade keeps the caches, and the writers go on" \
		wait_for all_beyond "$before"
}

# has N: caches, as the daemon counts them
fill_to()
{
	local i have

	have=$(metric caches)
	for ((i = have; i < $1; i++)); do
		as alice "$here/kvwriter" --cache "c$i" --steps 8 \
			>/dev/null 2>>$work/fill || return 1
	done
	metric_is caches "$1"
}

# serve_again N LIMIT: kills the daemon over N caches, in ms; 0: no limit
serve_again()
{
	local i all=

	check "$1 caches" fill_to "$1"
	for i in 1 2 3; do
		kill_daemon || not_ok "kill -9 with $1 caches, time $i"
		all="$all $((took / 1000))"
		check "all $1 caches are back" metric_is caches "$1"
	done
	echo "figure - kill -9 with $1 caches, to serving:$all ms"
	[ "$2" -gt 0 ] || return
	check "serving again in under $2 ms with $1 caches" \
		test "$(tr ' ' '\n' <<<"$all" | sort -n | sed -n 3p)" -lt "$2"
}

case_many()
{
	local conf=/etc/treekvd/treekvd.conf

	: >$work/fill
	serve_again 256 1000
	serve_again 1000 0
	check "1,024 caches" fill_to 1024
	check "one more has an idle one parked" as alice "$here/kvwriter" \
		--cache onemore --steps 8
	check "and there are 1,024" metric_is caches 1024
	echo 'reclaim-named = never' >>$conf
	systemctl reload treekvd
	check "no idle cache may be parked" wait_for log_says \
		'event="option changed" name=reclaim-named'
	if as alice "$here/kvwriter" --cache toomany --steps 1 >$work/out \
		2>&1 || ! grep -q 'keep over a restart' $work/out; then
		not_ok "then one more is refused, with the reason" $work/out
	else
		ok "then one more is refused, with the reason"
	fi
	sed -i '/^reclaim-named/d' $conf
}

case_pages()
{
	local page

	for page in treekvd.8 treekvd.conf.5 treekvctl.1 treekv-run.1 treekv.3; do
		MANWIDTH=80 man --warnings -P cat "${page##*.}" \
			"${page%.*}" >$work/page 2>$work/warnings
		if [ -s $work/warnings ] || ! grep -q '^NAME' $work/page; then
			not_ok "$page renders" $work/warnings
		else
			ok "$page renders"
		fi
	done
}

case_activation()
{
	systemctl stop treekvd
	check "stop leaves the socket" systemctl is-active treekvd.socket
	if systemctl is-active -q treekvd; then
		not_ok "stop stops"
	fi
	check "a client starts the daemon by its socket" as alice \
		"$here/kvwriter" --cache again --exclusive --steps 100
	check "and systemd knows it" systemctl is-active treekvd
}

# systemd drops the descriptors at a stop: what comes back comes from disk.
case_snapshots()
{
	local held

	check "a cache to stop over" as alice "$here/kvwriter" --cache saved \
		--steps 2000
	check "the service stops" systemctl stop treekvd.socket treekvd
	check "and starts again" systemctl start treekvd.socket treekvd
	held=$(as alice treekvctl list | grep -c 'on disk')
	check "its caches are on disk" [ "$held" -ge 1 ]
	check "stop, start, restore: every row is there, and it goes on" \
		as alice "$here/kvwriter" --cache saved --attach --steps 500
	rm -r /var/lib/treekvd/snapshots/*
	check "kill -9 after a restore" kill_daemon
	check "what was restored is in the store like all others" \
		as alice "$here/kvwriter" --cache saved --attach --steps 500
}

case_remove()
{
	check "the packages go away" dpkg --purge libtreekv-dev treekvd \
		libtreekv0
	check "nothing of them runs" test -z "$(systemctl list-units \
		--no-legend 'treekvd*' | grep -v 'not-found')"
	check "no socket is left" test ! -e /run/treekvd/treekvd.sock
}

mkdir -p $work
chmod 777 $work
case_install
case_users
case_status
case_reload
case_metrics
start_writers
case_restart
case_bad_restart
case_kill
case_watchdog
case_upgrade
stop_writers
case_many
case_activation
case_snapshots
case_pages
case_remove
exit $failed
