#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Snapshots on disks that are full, read-only, fail or do not answer: nothing
# that is in memory is harmed, and everybody is told.
#
# Usage: test_snapshot_disks.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name
# shellcheck disable=SC2086 # $large is several words

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "disks"
uid=$(id -u)
# 4 MiB
large="--layers 4 --heads 4 --k-row 4096 --v-row 4096 --budget 128 --slack 16"
disk=$dir/disk
loop=

put_away()
{
	umount "$disk" 2>/dev/null
	[ -z "$loop" ] || losetup -d "$loop"
	loop=
}

[ "$uid" -eq 0 ] || {
	skip "disks that fail: needs root, to mount some"
	exit 77
}
trap 'clean_up; put_away; rm -rf "$dir"' EXIT
mkdir "$disk"

writer()
{
	"$helpers/kvwriter" "$@"
}

verify()
{
	name=$1
	shift
	writer --cache "$name" --attach --verify-only "$@"
}

refuses()
{
	! "$@"
}

# fails WHAT NAME WORDS: a snapshot of it, and everybody is told in these words
fails()
{
	"$treekvctl" snapshot "$2" >"$dir/why" 2>&1
	check "$1: an error, in the exit status" test $? -eq 1
	says "$1: in the answer" "$dir/why" "$3"
	says "$1: in the log" "$log" "$3"
	"$treekvctl" status >"$dir/status"
	says "$1: in status" "$dir/status" "$3"
	"$treekvctl" list --json >"$dir/list"
	says "$1: in the list" "$dir/list" "$3"
	check "$1: nothing is left of it" test -z \
		"$(find "$disk/snapshots/$uid" -name '*.tmp')"
	check "$1: the cache is untouched" verify "$2" $large
}

# ---- full, then read-only

mount_small()
{
	mount -t tmpfs -o size=256k tmpfs "$disk"
}

test_full()
{
	start_daemon --state-dir "$disk"
	writer --cache full --steps 300 $large >/dev/null
	writer --cache fits --steps 300 >/dev/null
	fails "full" full "No space left"
	check "full: smaller ones fit" "$treekvctl" snapshot fits
	check "full: all, and one failed" refuses "$treekvctl" snapshot --all
	writer --cache fits --steps 10 >/dev/null
	mount -o remount,ro "$disk"
	"$treekvctl" snapshot fits >"$dir/why" 2>&1
	check "read-only: an error" test $? -eq 1
	says "read-only: with a way out" "$dir/why" "--state-dir"
	"$treekvctl" status >"$dir/status"
	says "read-only: in status" "$dir/status" "Read-only"
	check "read-only: the cache is untouched" verify fits
	stop_daemon
	check "a stop that cannot write says so in its exit status" \
		test "$status" -eq 3
	says "and how many are lost" "$log" "unsaved=2"
	umount "$disk"
}

# ---- a device of its own

# A disk of 64 MiB, on a file that can be cut short. What the file system keeps
# for itself is at its beginning.
mount_loop()
{
	truncate -s 64M "$dir/image"
	mkfs.ext4 -q -F -O ^has_journal -b 4096 -N 64 "$dir/image" \
		>"$dir/mkfs" 2>&1 || return 1
	loop=$(losetup -f --show "$dir/image" 2>"$dir/losetup") &&
		mount "$loop" "$disk"
}

# What is beyond the first MiB gives EIO from now on.
cut_short()
{
	truncate -s 1M "$dir/image"
	losetup -c "$loop"
}

test_eio()
{
	start_daemon --state-dir "$disk"
	writer --cache read --steps 300 $large >/dev/null
	writer --cache written --steps 300 $large >/dev/null
	check "a disk that works" "$treekvctl" snapshot read
	# what a look at the file needs is remembered; O_DIRECT asks the disk
	head -c 8192 "$disk/snapshots/$uid/read.tkv" >/dev/null
	cut_short
	"$treekvctl" drop read --keep-snapshot >/dev/null
	"$treekvctl" restore read >"$dir/why" 2>&1
	check "reading from a disk that fails: an error" test $? -eq 1
	says "reading: that says so" "$dir/why" \
		"reading $disk/snapshots/$uid/read.tkv: Input/output error"
	says "reading: in the log" "$log" 'event="restore failed"'
	"$treekvctl" status >"$dir/status"
	says "reading: in status" "$dir/status" "Input/output error"
	check "reading: nothing is served" refuses verify read $large
	check "reading: the file is left alone" \
		test -f "$disk/snapshots/$uid/read.tkv"
	fails "writing to a disk that fails" written \
		".tmp: Input/output error"
	"$treekvctl" drop written >/dev/null
	stop_daemon
	check "the daemon stops" test "$status" -eq 0
}

# ---- a disk that does not answer

is_saving()
{
	"$treekvctl" list --json | grep -q '"snapshot_total"'
}

is_stopping()
{
	grep -q 'event="writing snapshots"' "$log"
}

gave_up()
{
	grep -q 'event="snapshots not finished" left=1' "$log"
}

test_limit()
{
	start_daemon --state-dir "$disk" --snapshot-limit 1
	writer --cache hangs --steps 100 >/dev/null
	fsfreeze -f "$disk" 2>"$dir/freeze" || {
		skip "a disk that does not answer: $(cat "$dir/freeze")"
		stop_daemon
		return
	}
	"$treekvctl" snapshot hangs >"$dir/out" 2>&1 &
	children=$!
	check "a snapshot that hangs is under way" wait_for is_saving
	check "its worker compacts on meanwhile" writer --cache goes \
		--steps 2000 --timeout 5000
	fsfreeze -u "$disk"
	wait $children
	check "and saves once the disk answers" test $? -eq 0
	children=
	writer --cache hangs --attach --steps 100 >/dev/null
	"$treekvctl" drop goes >/dev/null
	fsfreeze -f "$disk"
	kill -TERM "$daemon"
	check "a stop begins to write" wait_for is_stopping
	check "and gives up after the limit" wait_for gave_up
	fsfreeze -u "$disk"
	wait "$daemon"
	status=$?
	daemon=
	check "in the exit status" test "$status" -eq 3
	check "nothing is left of it" test -z "$(find "$disk" -name '*.tmp')"
}

if mount_small; then
	test_full
else
	skip "full and read-only disks: mounting is not allowed"
fi
if mount_loop; then
	test_eio
	put_away
else
	skip "a disk that fails: no loop device: $(cat "$dir/mkfs" \
		"$dir/losetup" 2>/dev/null)"
fi
rm -f "$dir/image"
if mount_loop; then
	test_limit
	put_away
fi
exit $failed
