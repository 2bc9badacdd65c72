#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Every man page that is built is clean, as mandoc sees it; and treekvd.conf(5)
# has every option of the file that the daemon prints.
#
# Usage: test_man.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

need mandoc "man pages"
for page in "$O"/man/*.[1-8]; do
	if mandoc -T lint -W warning "$page" >"$dir/lint" 2>&1; then
		ok "${page##*/} is clean"
	else
		not_ok "${page##*/} is clean" "$dir/lint"
	fi
done

"$treekvd" --print-config | sed -n 's/^#*\([a-z][a-z-]*\) = .*/\1/p' |
	sort >"$dir/options"
"$treekvd" --print-config-man | sed -n 's/^\\fB\(.*\)\\fR = .*/\1/p' |
	sed 's/\\-/-/g' | sort >"$dir/described"
check "there are options" [ -s "$dir/options" ]
check "treekvd.conf(5) describes each, once" \
	diff "$dir/options" "$dir/described"
exit $failed
