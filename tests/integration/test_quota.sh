#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Quotas of users and groups, with processes of several users: what is over is
# refused at once and with the figure, and harms nobody else.
#
# Usage: test_quota.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

# shellcheck source=tests/integration/users.sh
. "$(dirname "$0")/users.sh"
need python3 "connections by the hundred"

# opens N connections as a user, says how many were taken in and the first
# refusal, and holds them until its input ends
connections()
{
	cat <<'PYTHON'
import os, socket, struct, sys
n, path, user, team = int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
os.setgroups([team])
os.setgid(user)
os.setuid(user)
hello = bytes([8, 1, 18, 4, 8, 1, 16, 1])
taken, text, held = 0, "", []
for _ in range(n):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    s.connect(path)
    held.append(s)
    reply = b""
    for attempt in range(2): # who is turned away may be told of the end first
        try:
            if not attempt:
                s.sendall(struct.pack("<I", len(hello)) + hello)
            reply = reply or s.recv(4096)
        except OSError:
            pass
    if b"treekvd " in reply and b"limit" not in reply:
        taken += 1
    elif not text:
        text = "".join(chr(c) if 32 <= c < 127 else " " for c in reply)
print("taken", taken, text, flush=True)
sys.stdin.read()
PYTHON
}

# keeps N connections of a user open: crowd USER N; crowd_ends
crowd()
{
	rm -f "$dir/crowd.in"
	mkfifo "$dir/crowd.in"
	python3 -B "$dir/bin/connections.py" "$2" "$TREEKV_SOCKET" "$1" $team \
		<"$dir/crowd.in" >"$dir/crowd" 2>"$dir/crowd.err" &
	children=$!
	exec 8>"$dir/crowd.in"
	wait_for_line "$dir/crowd" taken || not_ok "a crowd" "$dir/crowd.err"
}

crowd_ends()
{
	exec 8>&-
	wait $children
	children=
}

test_caches()
{
	for i in 1 2 3; do
		writer $alice --cache "c$i" --steps 1
	done
	says "a third cache is one too many" "$dir/err" \
		"user $alice is at the limit: 2 of 2 caches are used"
	writer $bob --cache c1 --steps 1
	says "which harms nobody else" "$dir/out" "tail 1 "
	ctl $alice drop c1
	writer $alice --cache c3 --steps 1
	says "and one less makes room" "$dir/out" "tail 1 "
	writer 0 --cache c1 --steps 1
	writer 0 --cache c2 --steps 1
	writer 0 --cache c3 --steps 1
	says "root has no limit" "$dir/out" "tail 1 "
}

test_groups()
{
	writer $alice --cache "@$team/g1" --steps 1
	says "a group's caches are the group's" "$dir/out" "tail 1 "
	writer $bob --cache "@$team/g2" --steps 1
	writer $bob --cache "@$team/g3" --steps 1
	says "which has a limit, too" "$dir/err" \
		"group $team is at the limit: 2 of 2 caches are used"
	check "and is counted apart" [ "$(figure "$alice" caches used)" = 2 ]
	check "by what is in its space" \
		[ "$(figure "@$team" caches used)" = 2 ]
}

test_bytes()
{
	used=$(figure $alice bytes used)
	"$treekvctl" quota $alice bytes=$((used + 4096)) caches=none \
		>/dev/null
	writer $alice --cache more --steps 1
	says "bytes are limited" "$dir/err" \
		"user $alice is at the limit: $used of $((used + 4096)) bytes"
	check "what is refused is not counted" \
		[ "$(figure $alice bytes used)" = "$used" ]
	"$treekvctl" quota $alice bytes=none >/dev/null
	writer $alice --cache more --steps 1
	says "a limit may be raised" "$dir/out" "tail 1 "
	"$treekvctl" quota $bob caches=1 >/dev/null
	ctl 0 chown $bob "~$alice/more"
	says "nobody is given more than he may have" "$dir/err" \
		"user $bob is at the limit"
	"$treekvctl" quota $bob caches=none >/dev/null
	before=$(figure $bob bytes used)
	ctl 0 chown $bob "~$alice/more"
	check "what is given away counts for whom it is given to" \
		[ "$(figure $bob bytes used)" -gt "$before" ]
	check "and no longer for whom it was" \
		[ "$(figure $alice bytes used)" = "$used" ]
}

test_connections()
{
	crowd $alice 12
	says "so many connections are taken in as may be" "$dir/crowd" \
		"taken 8 "
	says "and further ones told why not" "$dir/crowd" \
		"user $alice is at the limit: 8 of 8 connections are used"
	ctl $alice status
	says "whoever comes on top of them as well" "$dir/err" "8 of 8"
	ctl $bob status
	check "others come in" grep -q treekvd "$dir/out"
	check "they are counted" [ "$(figure $alice connections used)" = 8 ]
	"$treekvctl" quota "@$team" connections=3 >/dev/null
	check "those that are there count for a new limit" \
		[ "$(figure "@$team" connections used)" = 8 ]
	ctl $bob status
	says "a group's limit is its members'" "$dir/err" \
		"group $team is at the limit: 8 of 3 connections"
	crowd_ends
	wait_for none_left
	check "all are given back" none_left
	ctl $bob status
	check "then there is room for others" grep -q treekvd "$dir/out"
	"$treekvctl" quota "@$team" connections=default >/dev/null
}

none_left()
{
	[ "$(figure "@$team" connections used)" = 0 ]
}

test_requests()
{
	"$treekvctl" quota $alice requests=0 >/dev/null
	ctl $alice list
	says "requests are limited" "$dir/err" \
		"user $alice is at the limit: 0 of 0 requests"
	ctl $bob list
	check "of him alone" [ ! -s "$dir/err" ]
	"$treekvctl" quota $alice requests=default >/dev/null
	ctl $alice list
	check "until he may again" [ ! -s "$dir/err" ]
}

test_who_sees()
{
	ctl $alice quota --json
	check "a user sees what he has" grep -q "\"uid\": *$alice" "$dir/out"
	check "and his groups" grep -q "\"gid\": *$team" "$dir/out"
	check "nobody else's" [ "$(grep -c "$bob" "$dir/out")" = 0 ]
	ctl $alice quota $bob
	says "also if he asks" "$dir/err" "what others use is not shown"
	ctl $alice quota $alice bytes=none
	says "he sets nothing" "$dir/err" "only root and the daemon's user"
	ctl 0 quota $alice bites=1
	says "there are four kinds" "$dir/err" "there is no limit bites"
	ctl 0 quota $alice bytes=many
	says "and limits are numbers" "$dir/err" "what is bytes=many?"
	ctl 0 quota
	says "in text as well" "$dir/out" "connections"
}

test_configuration()
{
	stop_daemon
	printf 'quota-caches = 1\nquota = %s caches=3\nquota = @%s caches=0\n' \
		$alice $team >"$dir/quota.conf"
	start_daemon --log-level info --config "$dir/quota.conf"
	chmod 666 "$TREEKV_SOCKET"
	check "limits are configured" [ "$(figure $alice caches limit)" = 3 ]
	writer $bob --cache "@$team/g9" --steps 1
	says "for several" "$dir/err" "group $team is at the limit: 0 of 0"
	writer $bob --cache b1 --steps 1
	writer $bob --cache b2 --steps 1
	says "and for who has none of his own" "$dir/err" \
		"user $bob is at the limit: 1 of 1 caches"
	sed -i 's/= 1$/= 2/' "$dir/quota.conf"
	kill -HUP "$daemon"
	wait_for writer $bob --cache b2 --steps 1
	says "and change with a reload" "$dir/out" "tail 1 "
	echo 'quota = nosuchuser caches=1' >"$dir/bad.conf"
	"$treekvd" --config "$dir/bad.conf" --socket "$dir/s" 2>"$dir/err"
	says "what is none is named" "$dir/err" \
		"bad.conf:1: quota cannot be 'nosuchuser caches=1': there is no user nosuchuser"
}

daemon_pid()
{
	"$treekvctl" status --json 2>/dev/null | python3 -B -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])'
}

# Whoever has a lease when a new daemon comes asks for it again, and is over his
# limits just then.
test_renewal()
{
	stop_daemon
	: >"$dir/renew.conf"
	start_daemon --log-level info --config "$dir/renew.conf" --keeper
	chmod 666 "$TREEKV_SOCKET"
	for limit in requests connections; do
		rm -f "$dir/line"
		mkfifo "$dir/line"
		setpriv --reuid=$alice --regid=$alice --clear-groups \
			"$dir/bin/kvwriter" --cache "$limit" --pause \
			--steps 300 --hold <"$dir/line" >"$dir/renewing" \
			2>"$dir/renewing.err" &
		children=$!
		exec 7>"$dir/line"
		wait_for_line "$dir/renewing" paused
		echo "quota = $alice $limit=0" >"$dir/renew.conf"
		kill -KILL "$(daemon_pid)"
		wait_for "$treekvctl" status
		echo >&7
		wait_for_line "$log" "user $alice is at the limit: 0 of 0 $limit"
		: >"$dir/renew.conf"
		kill -HUP "$(daemon_pid)"
		check "over the limit of $limit a writer keeps his lease" \
			wait_for_line "$dir/renewing" "holding 300"
		exec 7>&-
		wait $children || not_ok "and his rows" "$dir/renewing.err"
		children=
	done
}

# A daemon with an /etc/passwd of its own, in which somebody comes and goes, as he
# does whom a directory server knows.
test_names()
{
	stop_daemon
	cp /etc/passwd "$dir/passwd"
	echo "quotaone:x:$alice:$alice::/:/bin/false" >>"$dir/passwd"
	cat >"$dir/enter" <<'END'
mount --bind "$1" /etc/passwd || exit
shift
exec "$@"
END
	if ! unshare -m sh "$dir/enter" "$dir/passwd" true; then
		skip "users who come and go: cannot mount"
		start_daemon
		return
	fi
	echo "quota = quotaone caches=3" >"$dir/names.conf"
	wrapper="unshare -m sh $dir/enter $dir/passwd"
	start_daemon --log-level info --config "$dir/names.conf"
	wrapper=
	check "a limit is a name's" [ "$(figure $alice caches limit)" = 3 ]
	cat /etc/passwd >"$dir/passwd"
	echo "quotatwo:x:$bob:$bob::/:/bin/false" >>"$dir/passwd"
	printf 'quota = quotaone caches=4\nquota = quotatwo caches=5\n' \
		>"$dir/names.conf"
	kill -HUP "$daemon"
	wait_for_line "$log" 'event="reloaded"'
	check "who was looked up before is known at a reload" \
		[ "$(figure $alice caches limit)" = 4 ]
	check "and who is in the file by then" \
		[ "$(figure $bob caches limit)" = 5 ]
	printf 'quota = quotaone caches=6\nquota = quotafour caches=1\n' \
		>"$dir/names.conf"
	kill -HUP "$daemon"
	wait_for_line "$log" 'event="not reloaded"'
	says "nobody else is, and that is said" "$log" \
		"names.conf:2: quota cannot be 'quotafour caches=1': there is no user quotafour in /etc/passwd, and a daemon that serves looks nowhere else; give the number (getent passwd quotafour), or restart it"
	check "then all limits stay as they were" \
		[ "$(figure $alice caches limit)" = 4 ]
}

mkdir "$dir/bin"
cp "$helpers/kvwriter" "$treekvctl" "$dir/bin"
connections >"$dir/bin/connections.py"
chmod 755 "$dir" "$dir/bin"
start_daemon --log-level info --quota-caches 2 --quota-connections 8 \
	--snapshot-on-stop no
chmod 666 "$TREEKV_SOCKET"
test_caches
test_groups
test_bytes
test_connections
test_requests
test_who_sees
test_configuration
test_renewal
test_names
stop_daemon
exit $failed
