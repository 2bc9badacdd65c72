#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What can be seen of the service without systemd (tests/systemd has the rest):
# notifications, signs of life, reload; the units, what is installed and the
# completion; treekvctl hugepages.
#
# Usage: test_service.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "the service"
root=$(cd "$(dirname "$0")/../.." && pwd)
said=$dir/said
manager=

# A manager that writes down what it is told, and starts the daemon.
start_managed()
{
	printf 'pool = 100M\n' >"$dir/conf"
	python3 - "$dir/notify" "$said" "$treekvd" --config "$dir/conf" \
		--socket "$TREEKV_SOCKET" --state-dir "$dir/state" \
		>"$log" 2>&1 <<'PYTHON' &
import os, socket, sys
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(sys.argv[1])
os.environ.update(NOTIFY_SOCKET=sys.argv[1], WATCHDOG_USEC="200000")
pid = os.spawnv(os.P_NOWAIT, sys.argv[3], sys.argv[3:])
with open(sys.argv[2], "w", buffering=1) as said:
    print("PID=%d" % pid, file=said)
    while True:
        text = manager.recv(4096).decode()
        print(text, file=said)
        if text == "STOPPING=1":
            break
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PYTHON
	manager=$!
	wait_for_line "$said" "READY=1"
	daemon=$(sed -n 's/^PID=//p' "$said")
}

# more_than N WORDS: said so more often than that
more_than()
{
	[ "$(grep -cF -- "$2" "$said")" -gt "$1" ]
}

# last_status WORDS: is what it said last
last_status()
{
	grep '^STATUS=' "$said" | tail -n 1 | grep -qF -- "$1"
}

pool_is()
{
	"$treekvctl" status --json | grep -q "\"pool_limit_bytes\": $1"
}

test_manager()
{
	check "the manager is told" start_managed
	says "with the first status" "$said" \
		"STATUS=0 caches, 0 of them written to, 0 clients; pool 0.0 of"
	"$helpers/kvwriter" --cache kept --steps 10 >/dev/null
	check "the status follows" wait_for last_status \
		"1 caches, 0 of them written to, 0 clients"
	check "signs of life" wait_for more_than 3 "WATCHDOG=1"

	printf 'pool = 200M\nworkers = 2\n' >"$dir/conf"
	kill -HUP "$daemon"
	check "SIGHUP: the pool" wait_for pool_is $((200 << 20))
	says "SIGHUP: what needs a restart" "$log" \
		'event="option needs a restart" name=workers'
	check "SIGHUP: the manager is told" wait_for more_than 1 "READY=1"
	says "SIGHUP: and when it began" "$said" "MONOTONIC_USEC="

	printf 'pool = 300M\nworkers = many\n' >"$dir/conf"
	kill -HUP "$daemon"
	check "SIGHUP: a file that makes no sense is told" \
		wait_for_line "$log" 'event="not reloaded"'
	check "and nothing of it is taken" pool_is $((200 << 20))
	check "the manager is told all the same" wait_for more_than 2 "READY=1"

	"$treekvctl" drop kept >/dev/null
	kill -TERM "$daemon"
	wait "$manager"
	check "an orderly end, which the manager is told" test $? = 0
	says "first of all" "$said" "STOPPING=1"

	rm "$said" "$dir/notify"
	start_managed
	freeze_worker
	kill -KILL "$daemon"
	kill -KILL "$manager"
	wait "$manager" 2>/dev/null
	daemon=
}

worker_tid()
{
	for task in "/proc/$daemon"/task/*; do
		if [ "$(cat "$task/comm")" = treekvd-worker ]; then
			echo "${task##*/}"
			return
		fi
	done
}

freeze_worker()
{
	what="a worker that hangs ends the signs of life"
	"$helpers/kvfreeze" "$(worker_tid)" 2>"$dir/freeze" &
	freezer=$!
	if wait_for_frozen && wait_for_line "$log" "a worker hangs"; then
		before=$(grep -c WATCHDOG=1 "$said")
		"$treekvctl" status >/dev/null # its loop goes round
		if more_than "$before" "WATCHDOG=1"; then
			not_ok "$what" "$said"
		else
			ok "$what"
		fi
	else
		skip "$what: $(cat "$dir/freeze")"
	fi
	children="$children $freezer"
}

wait_for_frozen()
{
	wait_for is_frozen_or_refused && ! [ -s "$dir/freeze" ]
}

is_frozen_or_refused()
{
	[ -s "$dir/freeze" ] ||
		grep -q '^State:.*tracing' "/proc/$daemon/task/$(worker_tid)/status"
}

json_value()
{
	python3 -c 'import json, sys
print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

test_hugepages()
{
	"$treekvctl" hugepages --pool 1G >"$dir/out"
	says "hugepages: 1 GiB is 512 pages" "$dir/out" \
		"pool     1024 MiB need 512 pages of 2 MiB"
	check "hugepages: a huge pool lacks some, and says the line" \
		lacks_some
	"$treekvctl" hugepages --pool 3X >"$dir/out" 2>&1
	check "hugepages: a pool that is none is refused" test $? -eq 2
	"$treekvctl" list --pool 3G >"$dir/out" 2>&1
	check "hugepages: --pool is nobody else's" test $? -eq 2
}

lacks_some()
{
	"$treekvctl" hugepages --pool 100T --json >"$dir/json" || return 1
	[ "$(json_value pages_needed <"$dir/json")" = $((100 << 19)) ] &&
		[ "$(json_value pages_missing <"$dir/json")" -gt 0 ] &&
		[ "$(json_value sysctl <"$dir/json")" = \
			"vm.nr_hugepages=$(($(json_value pages_total \
				<"$dir/json") + $(json_value pages_missing \
				<"$dir/json")))" ]
}

test_units()
{
	if ! command -v systemd-analyze >/dev/null; then
		skip "the units: systemd-analyze is not installed"
		return
	fi
	check "the sandbox: at most 1.5" systemd-analyze security \
		--offline=yes --threshold=15 --no-pager \
		"$O/systemd/treekvd.service"
}

installed_files()
{
	(cd "$dir/root" && find . ! -type d | sort)
}

test_install()
{
	make -C "$root" O="$O" install DESTDIR="$dir/root" >"$dir/out" 2>&1 ||
		not_ok "make install" "$dir/out"
	installed_files >"$dir/files"
	for file in etc/treekvd/treekvd.conf usr/local/bin/treekvd \
		usr/local/lib/systemd/system/treekvd.service \
		usr/local/lib/systemd/system/treekvd.socket \
		usr/local/lib/sysusers.d/treekvd.conf \
		usr/local/lib/tmpfiles.d/treekvd.conf \
		usr/local/share/man/man5/treekvd.conf.5 \
		usr/local/share/bash-completion/completions/treekvctl; do
		says "installed: $file" "$dir/files" "./$file"
	done
	echo 'pool = 1G' >>"$dir/root/etc/treekvd/treekvd.conf"
	make -C "$root" O="$O" install DESTDIR="$dir/root" >"$dir/out" 2>&1
	says "an edited treekvd.conf stays" \
		"$dir/root/etc/treekvd/treekvd.conf" "pool = 1G"
	make -C "$root" O="$O" uninstall DESTDIR="$dir/root" >"$dir/out" 2>&1
	check "uninstalled: all but that" test "$(installed_files)" = \
		./etc/treekvd/treekvd.conf
}

# completes WORDS PROGRAM ARGUMENT...: the last one is being typed
completes()
{
	expected=$1
	shift
	# shellcheck disable=SC2016 # for the other shell
	got=$(PATH=$O/bin:$PATH bash -c '. "$0"
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
		at=$(complete -p "$1")
		at=${at#* -F }
		"${at%% *}" "$1"
		echo "${COMPREPLY[*]}"' \
		"$root/systemd/treekv.bash-completion" "$@")
	[ "$got" = "$expected" ] || {
		echo "$*: $got"
		return 1
	}
}

test_completion()
{
	if ! command -v bash >/dev/null; then
		skip "completion: bash is not installed"
		return
	fi
	check "completes options of the daemon" \
		completes "--huge-pages" treekvd --huge
	check "completes their words" \
		completes "require prefer never" treekvd --huge-pages ""
	check "completes commands" completes "hugepages" treekvctl huge
	check "completes policies" \
		completes "treekv treekv-left treekv-skip" \
		treekv-run --policy tree
	start_daemon --workers 1
	"$helpers/kvwriter" --cache story --steps 10 >/dev/null
	check "completes names of caches" completes story treekvctl inspect s
	check "completes them for treekv-run" \
		completes story treekv-run --cache ""
	stop_daemon
}

test_manager
test_hugepages
test_units
test_install
test_completion
exit $failed
