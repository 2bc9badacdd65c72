#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# /metrics: off unless asked for; the formats as promtool, Prometheus and a
# parser of Python's see them; clients that are slow, many or mad; the alert
# rules and the dashboard.
#
# Usage: test_metrics.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "metrics"
need curl "metrics"
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
rules=$top/systemd/treekvd.rules.yml
dashboard=$top/systemd/treekvd-dashboard.json
writer=$helpers/kvwriter
at=$dir/metrics.sock
nobody=65534

# tool NAME: in $found, where it is: installed, or unpacked for the tests
tool()
{
	for found in "$(command -v "$1")" "$O/prometheus/$1" \
		"${O%-?san}/prometheus/$1"; do
		[ ! -x "$found" ] || return 0
	done
	return 1
}

by_hand()
{
	python3 -B "$here/metrics.py" "$@" || failed=1
}

# get FILE [OPTION]...
get()
{
	to=$1
	shift
	curl -sS --unix-socket "$at" -o "$to" "$@" http://treekvd/metrics
}

free_port()
{
	python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

test_off()
{
	start_daemon
	check "without 'metrics' no HTTP library is loaded" \
		[ "$(grep -cE 'microhttpd|gnutls' "/proc/$daemon/maps")" -eq 0 ]
	check "and there is no TCP socket" [ "$(find "/proc/$daemon/fd" \
		-lname 'socket:*' | wc -l)" -le 2 ]
	stop_daemon
}

# wrong VALUE: is refused
wrong()
{
	"$treekvd" --config "$dir/empty.conf" --socket "$TREEKV_SOCKET" \
		--metrics "$1" >"$dir/err" 2>&1
	status=$?
	check "'$1' is refused" [ $status -eq 2 ]
	says "and what would do is said" "$dir/err" \
		"metrics cannot be '$1'; it is off, an absolute path, or a loopback address with a port such as 127.0.0.1:9971 or [::1]:9971"
}

test_values()
{
	for value in 0.0.0.0:9971 192.168.1.1:9971 9971 metrics.sock \
		127.0.0.1 127.0.0.1:0 127.0.0.1:99999 '[::]:9971' \
		'[::1:9971' localhost:9971 ''; do
		wrong "$value"
	done
}

fill()
{
	"$writer" --cache one --steps 3000 --slack 1 --verify-every 99999 \
		>/dev/null 2>&1
	"$writer" --cache two --steps 500 >/dev/null 2>&1
	"$treekvctl" snapshot --all >/dev/null
	"$treekvctl" drop two --keep-snapshot >/dev/null
	"$treekvctl" restore two >/dev/null
	"$treekvctl" drop nothing 2>/dev/null
}

test_formats()
{
	check "the socket is for its owner and group" \
		[ "$(stat -c %a "$at")" = 660 ]
	"$treekvctl" status --json >"$dir/status"
	get "$dir/text"
	get "$dir/open" -H 'Accept: application/openmetrics-text'
	by_hand table "$dir/status" "$dir/text" "$dir/open"
	by_hand names "$dir/text" "$rules" "$dashboard"
	if tool promtool; then
		check "promtool check metrics has nothing to say" \
			is_clean "$found"
		check "promtool check rules" "$found" check rules "$rules"
		check "promtool test rules: each alert fires when it should" \
			"$found" test rules "$top/tests/metrics/rules_test.yml"
	else
		skip "promtool: Debian's package prometheus is not here"
	fi
	if /usr/bin/python3 -c 'import prometheus_client' 2>/dev/null; then
		check "OpenMetrics as Prometheus' own parser reads it" \
			/usr/bin/python3 -c '
import sys
from prometheus_client.openmetrics import parser
list(parser.text_string_to_metric_families(open(sys.argv[1]).read()))' \
			"$dir/open"
	else
		skip "Prometheus' Python parser: python3-prometheus-client is not installed"
	fi
}

is_clean()
{
	"$1" check metrics <"$dir/text" >"$dir/lint" 2>&1
	status=$?
	cat "$dir/lint"
	[ $status -eq 0 ] && [ ! -s "$dir/lint" ]
}

test_tenants()
{
	if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
		skip "metrics by user: needs root and setpriv"
		return
	fi
	start_daemon --metrics "$at" --metrics-tenants 2
	mkdir -p "$dir/bin"
	cp "$writer" "$dir/bin"
	chmod 755 "$dir" "$dir/bin"
	for user in 1 2 3 4; do
		setpriv --reuid=$((nobody - user)) --regid=0 --clear-groups \
			"$dir/bin/kvwriter" --cache mine --steps 10 \
			--budget $((64 + 64 * user)) >/dev/null 2>&1
	done
	get "$dir/text"
	pool=$(sed -n 's/^treekvd_pool_used_bytes //p' "$dir/text")
	by_hand tenants "$dir/text" 2 "$pool"
	says "the one with most is named" "$dir/text" \
		"treekvd_tenant_caches{uid=\"$((nobody - 4))\"} 1"
	stop_daemon
}

# quiet: as test_daemon.sh, with somebody who could be scraped
switches()
{
	cat /proc/"$daemon"/task/*/status | grep -E '_ctxt_switches|^Name'
}

is_quiet()
{
	switches >"$dir/quiet.1"
	"$treekvctl" --version
	switches >"$dir/quiet.2"
	cmp -s "$dir/quiet.1" "$dir/quiet.2"
}

test_idle()
{
	if grep -q __tsan_init "$treekvd"; then
		skip "wake-ups: ThreadSanitizer has a thread that wakes itself"
		return
	fi
	get "$dir/text"
	sleep 1 # the end of that client is no wake-up
	wait_for is_quiet
	switches >"$dir/before"
	sleep 2 # what is observed, not waited for
	switches >"$dir/after"
	check "a daemon that nobody scrapes is not woken" \
		diff "$dir/before" "$dir/after"
}

# The writers go on, and so does treekvctl, whatever HTTP clients do.
test_clients()
{
	"$writer" --cache busy --steps 100000000 --verify-every 0 \
		--progress >"$dir/busy" 2>&1 &
	busy=$!
	children="$children $busy"
	wait_for_line "$dir/busy" "committed 1000"
	by_hand http "$at"
	check "meanwhile a writer goes on" kill -0 $busy
	check "and the daemon answers" "$treekvctl" status
	kill -KILL $busy
	wait $busy 2>/dev/null
}

# Out of descriptors it does not spin, and comes back.
test_descriptors()
{
	wrapper="prlimit --nofile=40:40"
	start_daemon --metrics "$at"
	wrapper=
	python3 - "$TREEKV_SOCKET" "$at" <<-'END' >"$dir/out" 2>&1 || failed=1
		import socket, sys, time
		crowd = []
		for _ in range(60):
		    s = socket.socket(socket.AF_UNIX)
		    s.connect(sys.argv[1])
		    crowd.append(s)
		late = socket.socket(socket.AF_UNIX)
		late.settimeout(30)
		late.connect(sys.argv[2])
		late.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
		time.sleep(0.5)
		for s in crowd:
		    s.close()
		assert late.recv(12) == b"HTTP/1.1 200", "no answer"
		print("answered")
	END
	says "when descriptors are there again, who waited is served" \
		"$dir/out" answered
	stop_daemon
}

test_in_the_way()
{
	start_daemon --metrics "$at"
	first=$daemon
	first_log=$log
	log=$dir/log2
	TREEKV_SOCKET=$dir/second.sock
	start_daemon --metrics "$at" --state-dir "$dir/state2"
	says "a second daemon's metrics are refused, it serves all the same" \
		"$log" "another treekvd listens on $at (pid $first); stop it or give another path (--metrics)"
	stop_daemon
	TREEKV_SOCKET=$dir/treekvd.sock
	log=$first_log
	daemon=$first
	kill -KILL "$daemon"
	wait "$daemon" 2>/dev/null
	start_daemon --metrics "$at"
	check "after kill -9 the next daemon has them again" get "$dir/text"
	stop_daemon
	check "a daemon that ends takes its socket along" [ ! -e "$at" ]
}

test_tcp()
{
	port=$(free_port)
	start_daemon --metrics "127.0.0.1:$port"
	check "on a loopback port" curl -sSf -o "$dir/text" \
		"http://127.0.0.1:$port/metrics"
	TREEKV_SOCKET=$dir/second.sock "$treekvd" --config "$dir/empty.conf" \
		--socket "$dir/second.sock" --state-dir "$dir/state2" \
		--metrics "127.0.0.1:$port" >"$dir/log2" 2>&1 &
	second=$!
	children="$children $second"
	check "a port that is taken is named" wait_for_line "$dir/log2" \
		"event=\"metrics not served\" at=127.0.0.1:$port error=\"Address already in use\""
	kill $second
	wait $second
	test_prometheus "$port"
	stop_daemon
	if [ -e /proc/net/if_inet6 ]; then
		start_daemon --metrics "[::1]:$port"
		check "on a loopback port of IPv6" curl -sSf -g \
			-o "$dir/text" "http://[::1]:$port/metrics"
		stop_daemon
	else
		skip "IPv6: this machine has none"
	fi
}

is_there()
{
	curl -sSf -o /dev/null "http://127.0.0.1:$1/-/ready"
}

test_prometheus()
{
	if ! tool prometheus; then
		skip "a real Prometheus: Debian's package is not here"
		return
	fi
	fill
	"$treekvctl" status --json >"$dir/status"
	server=$(free_port)
	cat >"$dir/prometheus.yml" <<-END
		global: {scrape_interval: 1s, evaluation_interval: 1s}
		rule_files: [$rules]
		scrape_configs:
		  - job_name: treekvd
		    static_configs: [{targets: ['127.0.0.1:$1']}]
	END
	"$found" --config.file="$dir/prometheus.yml" \
		--storage.tsdb.path="$dir/tsdb" \
		--web.listen-address="127.0.0.1:$server" \
		--log.level=warn >"$dir/prometheus.log" 2>&1 &
	prometheus=$!
	children="$children $prometheus"
	if wait_for is_there "$server"; then
		by_hand scraped "$server" "$dir/status" "$dashboard"
	else
		not_ok "Prometheus starts" "$dir/prometheus.log"
	fi
	kill $prometheus
	wait $prometheus 2>/dev/null
}

# The library is there but for this daemon.
test_no_library()
{
	library=$(ldconfig -p | sed -n 's/.*libmicrohttpd.so.12 .*=> //p' |
		head -n 1)
	if ! unshare -m true 2>/dev/null; then
		skip "a machine without libmicrohttpd: needs root"
		return
	fi
	unshare -m sh -c 'mount --bind /dev/null "$1" && shift && exec "$@"' sh \
		"$(readlink -f "$library")" "$treekvd" \
		--config "$dir/empty.conf" --socket "$TREEKV_SOCKET" \
		--state-dir "$dir/state" --metrics "$at" >"$log" 2>&1 &
	daemon=$!
	wait_for is_up
	says "without libmicrohttpd, the log says what to install" "$log" \
		"install libmicrohttpd12"
	check "and all else works" "$writer" --cache without --steps 100
	stop_daemon
}

: >"$dir/empty.conf"
test_off
test_values
start_daemon --metrics "$at"
test_idle
fill
test_formats
test_clients
stop_daemon
check "it stops in good order" [ "$status" -eq 0 ]
test_tenants
test_descriptors
test_in_the_way
test_tcp
test_no_library
exit $failed
