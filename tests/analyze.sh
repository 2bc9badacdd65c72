#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Static analysis: cppcheck and clang-tidy of all that is shipped, the latter by
# .clang-tidy, which says what is left out and why. Exceptions stand where they
# are made, with their reason.
#
# Usage: analyze.sh BUILD-DIR [cppcheck|clang-tidy]...
# BUILD-DIR has the generated headers, for clang-tidy. Without a tool, both.

set -eu

O=${1:?usage: analyze.sh BUILD-DIR [cppcheck|clang-tidy]...}
shift
cd "$(dirname "$0")/.."

# ctuuninitvar takes a buffer that is about to be written to for one that is read.
# The programs of the kernel are another language: its verifier analyses them.
run_cppcheck()
{
	# shellcheck disable=SC2086 # a command and its arguments
	queue=$(echo '#include <sys/queue.h>' | ${CC:-cc} -E -M -xc - |
		tr ' ' '\n' | grep sys/queue.h)
	git ls-files 'bpf/*.c' 'client/*.c' 'daemon/*.c' 'proto/*.c' |
		grep -v '\.bpf\.c$' |
		cppcheck --std=c11 --language=c --quiet --inline-suppr \
			--enable=warning,portability,performance \
			--suppress=missingIncludeSystem \
			--suppress=ctuuninitvar --include="$queue" \
			-D_GNU_SOURCE -I. --error-exitcode=1 --file-list=-
}

# One file each: with several, version 14 forgets what a va_list is. Whoever has
# a skeleton (watch_impl.h) has a leak of bpftool's, which is not ours to mend.
run_clang_tidy()
{
	git ls-files 'bpf/*.c' 'client/*.c' 'daemon/*.c' 'proto/*.c' |
		grep -v '\.bpf\.c$' | xargs grep -L 'watch_impl\.h' |
		xargs -P "$(nproc)" -I FILE clang-tidy --quiet FILE -- \
			-std=gnu11 -I. -Iclient "-I$O/gen" -D_GNU_SOURCE=
}

[ $# -gt 0 ] || set -- cppcheck clang-tidy
for tool; do
	case $tool in
	cppcheck) run_cppcheck ;;
	clang-tidy) run_clang_tidy ;;
	*)
		echo "analyze.sh: there is no tool $tool" >&2
		exit 2
		;;
	esac
done
