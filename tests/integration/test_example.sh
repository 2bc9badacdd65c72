#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What is installed can be used: 'make install' into a directory of our own,
# client/example.c compiled there as its first line says, run against a daemon.
# And what is built keeps its promises: exported symbols, pure objects.
#
# Usage: test_example.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

top=$(cd "$(dirname "$0")/../.." && pwd)
prefix=$dir/usr

test_exports()
{
	nm -D --defined-only "$O/lib/libtreekv.so.0" |
		awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
		sort >"$dir/exported"
	grep -oE '\btreekv_[a-z_]+\(' "$top/client/treekv.h" | tr -d '(' |
		sort -u >"$dir/declared"
	check "the library exports what treekv.h declares, nothing else" \
		diff "$dir/declared" "$dir/exported"
}

test_pure_objects()
{
	if is_sanitized || grep -q __gcov_init "$treekvd"; then
		skip "pure objects: sanitizers and counters add calls"
		return
	fi
	for object in policy survivors order compact compact_prompt \
		park_queue; do
		nm --undefined-only "$O/daemon/$object.o" | awk '{ print $2 }' |
			grep -vxE 'mem(cpy|move|set)|strcmp|__assert_fail|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__mem(cpy|move|set)_chk|__cpu_(model|indicator_init)|__cpu_features2|(order|policy|policies|compact|park_queue)[a-z0-9_]*' \
			>"$dir/imports"
		check "$object.o imports nothing that could do I/O" \
			[ ! -s "$dir/imports" ]
		[ ! -s "$dir/imports" ] || sed 's/^/# /' "$dir/imports"
	done
}

test_install()
{
	if ! make -C "$top" -s O="$O" prefix="$prefix" ${SAN+SAN="$SAN"} \
		install >"$dir/make" 2>&1; then
		not_ok "make install" "$dir/make"
		return
	fi
	ok "make install"
	for file in bin/treekvd bin/treekvctl bin/treekv-run \
		lib/libtreekv.so.0 lib/libtreekv.so lib/pkgconfig/libtreekv.pc \
		include/treekv.h share/man/man8/treekvd.8 \
		share/man/man1/treekvctl.1 share/man/man1/treekv-run.1 \
		share/man/man3/treekv.3; do
		[ -s "$prefix/$file" ] || not_ok "$file is installed"
	done
}

test_example()
{
	if ! command -v pkg-config >/dev/null; then
		skip "the example: pkg-config is not installed"
		return
	fi
	export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
	# shellcheck disable=SC2046 # a list of flags
	check "the example compiles against what is installed" \
		cc -std=gnu11 -Wall -Wextra -Werror $sanitize \
		"$top/client/example.c" -o "$dir/example" \
		$(pkg-config --cflags --libs libtreekv)
	start_daemon --log-level warning
	LD_LIBRARY_PATH=$prefix/lib "$dir/example" >"$dir/out" 2>"$dir/err"
	says "it runs" "$dir/out" "5 tokens committed"
	says "and finds its tokens again" "$dir/out" \
		"5 tokens are still there, the last is 'id 4'"
	stop_daemon
	sed 's/^/# /' "$dir/err"
}

test_uninstall()
{
	make -C "$top" -s O="$O" prefix="$prefix" uninstall >"$dir/make" 2>&1
	find "$prefix" ! -type d >"$dir/left"
	check "make uninstall takes everything away" [ ! -s "$dir/left" ]
}

# The build directory as it was made: 'make install' must not build it anew.
sanitize=
if grep -q __asan_init "$treekvd"; then
	SAN=address,undefined
	sanitize=-fsanitize=$SAN
elif grep -q __tsan_init "$treekvd"; then
	SAN=thread
	sanitize=-fsanitize=$SAN
fi
test_exports
test_pure_objects
test_install
test_example
test_uninstall
exit $failed
