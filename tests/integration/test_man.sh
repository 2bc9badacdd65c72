#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Every man page that is built is clean, as mandoc sees it.
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
exit $failed
