#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A short round of every fuzz target (tests/fuzz): its seeds, among them what
# was found once, and some variants of them, the same ones each time.
#
# Usage: test_fuzz.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

tests=$(cd "$(dirname "$0")" && pwd)
corpus=$tests/../fuzz/corpus
cd "$dir" || exit 1

# round TARGET VARIANTS
round()
{
	if "$O/tests/fuzz/$1" "$2" "$corpus/$1" >out 2>err; then
		ok "$1: $(tail -n 1 out)"
	else
		tail -n 60 err >failure
		not_ok "$1 ends well on its seeds and variants of them" failure
		[ ! -e "crash-$1" ] || {
			echo "# the input, in base64:"
			base64 "crash-$1" | sed 's/^/# /'
		}
	fi
}

round fuzz_config 20000
round fuzz_control 150
round fuzz_index 20000
round fuzz_message 20000
round fuzz_model 500
round fuzz_record 2000
round fuzz_sample 100
round fuzz_snapshot 5000
round fuzz_trace 500
round fuzz_words 5000

for target in "$O"/tests/fuzz/fuzz_*; do
	case $target in *.o | *.d) continue ;; esac
	grep -q "^round ${target##*/} " "$tests/test_fuzz.sh" ||
		not_ok "${target##*/} has a round"
done
exit $failed
