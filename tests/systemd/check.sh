#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The packages under a real systemd: boots Debian in a container, installs what
# 'make deb' builds there, and runs inside.sh in it. The root file system is
# made once and kept, untouched, in $O/systemd-root: each run works on an
# overlay that goes with it. The last lines are the figures and "N passed, N
# failed, N skipped"; exit status 77 where it cannot run.
#
# ROUNDS=N is how many times the daemon is killed (50), WORDS is which cases.
#
# Usage: check.sh BUILD-DIR

set -eu

O=$(cd "${1:?usage: check.sh BUILD-DIR}" && pwd)
cd "$(dirname "$0")/../.."
root=$O/systemd-root
packages="libtreekv0 libtreekv-dev treekvd treekv-top"
include=systemd,systemd-sysv,dbus,man-db,liburing2,libjemalloc2
include=$include,libprotobuf-c1,libxxhash0,libseccomp2,libmicrohttpd12
include=$include,libncursesw6,libzstd1,libbpf1
deadline=60 # seconds, for a machine to boot or to end
nspawn=
output=

skip()
{
	echo "skip - make check-systemd: $1"
	echo "0 passed, 0 failed, 1 skipped"
	exit 77
}

# wait_for COMMAND...: runs it again until it succeeds
wait_for()
{
	until=$(($(date +%s) + deadline))
	while ! "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt $until ] || return 1
	done
}

in_machine()
{
	nsenter -t "$leader" -a "$@"
}

has_ended()
{
	! kill -0 "$nspawn" 2>/dev/null
}

# SIGTERM has nspawn shut the machine down as one would.
clean_up()
{
	if [ -n "$nspawn" ]; then
		kill -TERM "$nspawn" 2>/dev/null || true
		wait_for has_ended || kill -KILL "$nspawn"
		wait "$nspawn" 2>/dev/null || true
	fi
	rm -rf "$output"
}

make_root()
{
	[ "$(cat "$root/include" 2>/dev/null)" != "$include" ] || return 0
	echo "making the container's file system in $root (once)"
	rm -rf "$root/base" "$root/new"
	mkdir -p "$root"
	debootstrap --variant=minbase --include="$include" bookworm \
		"$root/new" >"$root/log" 2>&1 ||
		skip "debootstrap failed: $(tail -n 1 "$root/log")"
	rm -rf "$root"/new/var/cache/apt/archives/*.deb
	mv "$root/new" "$root/base"
	echo "$include" >"$root/include"
}

# Asked each time: nspawn's first child only makes the one that stays.
find_leader()
{
	read -r leader <"/proc/$nspawn/task/$nspawn/children" ||
		[ -n "$leader" ] # no newline
}

is_running()
{
	has_ended && return
	find_leader && state=$(in_machine systemctl is-system-running --wait)
	[ "${state-}" = running ] || [ "${state-}" = degraded ]
}

boot()
{
	systemd-nspawn -D "$root/base" --volatile=overlay --boot \
		--register=no --keep-unit --private-network \
		--machine="treekv-$$" --console=pipe \
		</dev/null >"$output/console" 2>&1 &
	nspawn=$!
	wait_for is_running && ! has_ended
}

[ "$(id -u)" -eq 0 ] || skip "only root can boot a container"
for program in debootstrap systemd-nspawn nsenter dpkg-buildpackage; do
	command -v $program >/dev/null || skip "$program is not installed"
done

output=$(mktemp -d "${TMPDIR:-/tmp}/treekv-systemd.XXXXXX")
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
make_root

version=$(sed -n 's/^#define TREEKV_VERSION[[:space:]]*"\(.*\)"/\1/p' \
	client/treekv.h)
next=$version+check2
mkdir "$output/check"
for v in "$version" "$next"; do
	TREEKV_LINTIAN=no TREEKV_DEB_VERSION=$v sh systemd/deb.sh "$O" \
		>"$output/deb"
	mkdir "$output/check/$v"
	for p in $packages; do
		cp "$O/deb/${p}_${v}_"*.deb "$output/check/$v"
	done
done
cp "$O/tests/helpers/kvwriter" "$O/tests/helpers/kvfreeze" \
	tests/systemd/inside.sh "$output/check"

if ! boot; then
	cat "$output/console"
	skip "the container does not boot: $(tail -n 1 "$output/console")"
fi
tar -C "$output" -cf - check | in_machine tar -C /root -xf -
echo "booted: $(in_machine systemctl --version | head -n 1), $state"

status=0
in_machine env ROUNDS="${ROUNDS:-50}" PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	bash /root/check/inside.sh "$version" "$next" >"$output/result" 2>&1 ||
	status=$?
grep -v '^figure - ' "$output/result" || true
echo
sed -n 's/^figure - //p' "$output/result"
passed=$(grep -c '^ok - ' "$output/result" || true)
failed=$(grep -c '^not ok - ' "$output/result" || true)
skipped=$(grep -c '^skip - ' "$output/result" || true)
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
	echo "not ok - inside.sh ended with status $status"
	failed=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
