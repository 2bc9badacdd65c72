#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A folder in which not everything is a snapshot that can be served: what is
# named, what is left alone, and that nobody else is harmed.
#
# Usage: test_snapshot_files.sh BUILD-DIR
#
# shellcheck disable=SC2317 # check and wait_for call functions by name

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need python3 "files of snapshots"
snapshots=$dir/state/snapshots/$(id -u)
# 4 MiB
large="--layers 4 --heads 4 --k-row 4096 --v-row 4096 --budget 128 --slack 16"
bad="torn flipped newer foreign letter pipe link"

writer()
{
	"$helpers/kvwriter" "$@"
}

verify()
{
	writer --cache "$1" --attach --verify-only
}

refuses()
{
	! "$@"
}

# patch NAME OFFSET: another byte there
patch()
{
	printf '\101' | dd of="$snapshots/$1.tkv" bs=1 seek="$2" \
		conv=notrunc 2>/dev/null
}

# What lies there, bytes and all.
picture()
{
	for name in $bad; do
		stat -c '%n %F %s %Y' "$snapshots/$name.tkv"
		[ "$name" = pipe ] || cksum <"$snapshots/$name.tkv"
	done
}

# reason NAME: why the list says that it cannot be served
reason()
{
	case $1 in
	torn) echo "cut short" ;;
	flipped) echo "differs" ;;
	newer) echo "version" ;;
	foreign) echo "of cache good" ;;
	link) echo "symbolic link" ;;
	*) echo "" ;;
	esac
}

make_files()
{
	start_daemon
	for name in good torn flipped newer; do
		writer --cache $name --steps 300 >/dev/null
	done
	stop_daemon
	truncate -s -4096 "$snapshots/torn.tkv"
	patch flipped 5000
	patch newer 8 # where the version is
	cp "$snapshots/good.tkv" "$snapshots/foreign.tkv"
	echo "a letter" >"$snapshots/letter.tkv"
	mkfifo "$snapshots/pipe.tkv"
	ln -s good.tkv "$snapshots/link.tkv"
	echo "half of one" >"$snapshots/good.5e.tmp"
	picture >"$dir/before"
}

test_start()
{
	start_daemon --restore eager
	check "a start among bad files restores the good one" \
		wait_for verify good
	check "unfinished files are removed" refuses \
		test -e "$snapshots/good.5e.tmp"
	for name in $bad; do
		says "$name: named in the log" "$log" "/$name.tkv"
		check "$name: not served" refuses verify $name
		verify $name 2>"$dir/why"
		says "$name: named to who attaches" "$dir/why" "/$name.tkv"
		says "$name: and why" "$dir/why" "$(reason $name)"
		check "$name: nor by request" refuses "$treekvctl" restore $name
		check "$name: nor begun anew" refuses writer --cache $name \
			--steps 1
		check "$name: listed as what it is" \
			wait_for has_state $name damaged
	done
	stop_daemon
	check "nobody is kept from stopping" test "$status" -eq 0
	picture >"$dir/after"
	check "all of them are left as they were" cmp "$dir/before" \
		"$dir/after"
}

# Under "never" names are free; their files are not.
test_in_the_way()
{
	start_daemon --restore never
	for name in newer foreign letter; do
		writer --cache $name --steps 20 >/dev/null
		"$treekvctl" snapshot $name >"$dir/why" 2>&1
		check "$name: is not written over" test $? -eq 1
		says "$name: with the way out" "$dir/why" "is in the way"
		check "$name: the cache is untouched" verify $name
	done
	stop_daemon
	check "a stop says that they are lost" test "$status" -eq 3
	says "and how many" "$log" "unsaved=3"
	picture >"$dir/after"
	check "their files are as they were" cmp "$dir/before" "$dir/after"
	check "nothing unfinished is left" test -z \
		"$(find "$snapshots" -name '*.tmp')"
}

is_saving()
{
	[ -n "$(find "$snapshots" -name 'slow.*.tmp')" ]
}

# A look at the folder meanwhile takes nothing away from who writes there.
test_restore_meanwhile()
{
	printf 'snapshot-rate = 2M\n' >"$dir/conf"
	start_daemon --config "$dir/conf"
	# shellcheck disable=SC2086 # several words
	writer --cache slow --steps 150 $large >/dev/null
	"$treekvctl" snapshot slow >"$dir/saved" 2>&1 &
	children=$!
	check "a slow snapshot" wait_for is_saving
	"$treekvctl" restore --all >"$dir/restored" 2>&1
	says "all others are restored meanwhile" "$dir/restored" "restored good"
	: >"$dir/conf"
	kill -HUP "$daemon"
	wait $children
	check "and it is written to its end" test $? -eq 0
	children=
	stop_daemon
}

make_files
test_start
test_in_the_way
test_restore_meanwhile
exit $failed
