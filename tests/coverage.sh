#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# How many lines of proto/ and daemon/ the tests reach, file by file: all of
# run.sh but the model's, in a build with COVERAGE=1. Fails where a test fails or
# where less than 90 % are reached. The report of every line, for lcov's tools,
# is in BUILD-DIR/coverage.info. What is not reached, and why: coverage.md.
#
# Processes add up their counters in files at their end. Some are other users':
# so the files are made here, empty, for everybody. Who is killed leaves none.
#
# Usage: coverage.sh BUILD-DIR

set -u

O=$(cd "${1:?usage: coverage.sh BUILD-DIR}" && pwd) || exit 1
cd "$(dirname "$0")/.." || exit 1
wanted=90 # of 100
r=0

# counters KIND: the files of a build
counters()
{
	find "$O" -name "*.$1" -type f
}

counters gcda | xargs -r rm -f
counters gcno | sed 's/gcno$/gcda/' | xargs touch
counters gcda | xargs chmod a+rw

sh tests/run.sh "$O" unit/ integration/ || r=1

find "$O" -name '*.gcda' -empty -delete

# capture FILE [OPTION]: of the lines of proto/ and daemon/
capture()
{
	file=$1
	shift
	lcov --quiet --capture "$@" --directory "$O" --base-directory "$PWD" \
		--no-external --output-file "$file.all" &&
		lcov --quiet --extract "$file.all" "$PWD/proto/*" \
			"$PWD/daemon/*" --output-file "$file" &&
		rm "$file.all"
}

# What no program has run counts, too. lcov 1.16 says much that is its own affair.
if ! { capture "$O/coverage.none" --initial &&
	capture "$O/coverage.some" &&
	lcov --quiet --add-tracefile "$O/coverage.none" \
		--add-tracefile "$O/coverage.some" \
		--output-file "$O/coverage.info"; } 2>"$O/coverage.log"; then
	cat "$O/coverage.log" >&2
	exit 1
fi
rm -f "$O/coverage.none" "$O/coverage.some"

awk -v root="$PWD/" -v wanted=$wanted '
	function line(name, lines, hit) {
		printf "%-32s %6d of %6d lines %6.1f %%\n", name, hit, lines,
			lines ? 100 * hit / lines : 100
	}
	/^SF:/ { name = substr($0, 4 + length(root)) }
	/^DA:/ { split(substr($0, 4), at, ","); lines++; hit += at[2] > 0 }
	/^end_of_record/ {
		line(name, lines, hit)
		all += lines; reached += hit; lines = hit = 0
	}
	END {
		line("proto/ and daemon/", all, reached)
		if (100 * reached < wanted * all) {
			printf "less than %d %%\n", wanted
			exit 1
		}
	}' "$O/coverage.info" || r=1
exit $r
