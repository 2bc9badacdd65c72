#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What is built for AVX-512, for AVX2 and for anything (client/dense.c,
# daemon/order.c, daemon/policy.c) computes the same in every build: the unit
# tests, which compare with naive references to the bit, on processors that
# qemu-user makes up, with the function that was meant having run. The processor
# at hand runs them among the unit tests. The engine's kernels have a table, by
# which tests/unit/test_kernel.c reaches each.
#
# Usage: test_paths.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

# path PROCESSOR SUFFIX TEST FUNCTION...
path()
{
	name="$3 by the functions for .$2"
	if ! nm "$O/tests/$3" | grep -q "arch_x86_64_v3"; then
		skip "$name: this build has no others"
		return
	fi
	if ! command -v qemu-x86_64 >/dev/null; then
		skip "$name: no qemu-x86_64; install qemu-user"
		return
	fi
	qemu-x86_64 -cpu "$1" -d in_asm -D "$dir/ran" "$O/tests/$3" \
		>"$dir/out" 2>&1 || {
		not_ok "$name" "$dir/out"
		return
	}
	suffix=$2
	shift 3
	for function in "$@"; do
		grep -q "^IN: $function\.$suffix" "$dir/ran" || {
			grep "^IN: $function" "$dir/ran" | sort -u >"$dir/out"
			not_ok "$name: $function.$suffix has run" "$dir/out"
			return
		}
	done
	ok "$name"
}

for way in "Nehalem default" "Haswell arch_x86_64_v3"; do
	# shellcheck disable=SC2086 # two words
	{
		path $way test_policy least
		path $way test_lockstep order16_shift order32_shift
		path $way test_scores cache_add_scores widen
	}
done
exit $failed
