#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The unit tests of a build under valgrind's memcheck: nothing invalid is read or
# written, nothing uninitialised decides, nothing is lost. What valgrind cannot
# run is not run, and named.
#
# Usage: valgrind.sh BUILD-DIR [WORD]...

set -eu

O=$(cd "${1:?usage: valgrind.sh BUILD-DIR [WORD]...}" && pwd)
shift
cd "$(dirname "$0")/.."

memcheck="valgrind --quiet --error-exitcode=9 --leak-check=full
	--show-leak-kinds=definite --errors-for-leak-kinds=definite
	--soname-synonyms=somalloc=*jemalloc* --child-silent-after-fork=yes"

if [ $# -eq 0 ]; then
	echo "skip - unit/test_sandbox: its filter refuses valgrind's own calls"
	echo "skip - unit/test_faults: its clients are made by clone(2)"
	for program in "$O"/tests/test_*; do
		case $program in
		*/test_sandbox | */test_faults | *.[od]) ;;
		*) set -- "$@" "unit/${program##*/}" ;;
		esac
	done
fi
EMULATOR="env LD_PRELOAD=$O/tests/patience.so $memcheck" \
	sh tests/run.sh "$O" "$@"
