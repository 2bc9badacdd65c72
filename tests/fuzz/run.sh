#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Fuzz targets that were built with libFuzzer, each for some seconds, from its
# seeds (corpus/) and from what earlier rounds have added to them in
# BUILD-DIR/corpus. What is found stays in BUILD-DIR as crash-*, timeout-*;
# fixed, it belongs to the seeds, as found-*.
#
# Usage: run.sh BUILD-DIR SECONDS [TARGET]...

set -eu

build=$(cd "${1:?usage: run.sh BUILD-DIR SECONDS [TARGET]...}" && pwd)
seconds=${2:?usage: run.sh BUILD-DIR SECONDS [TARGET]...}
shift 2
tests=$(cd "$(dirname "$0")" && pwd)
failed=0

if [ $# -eq 0 ]; then
	for source in "$tests"/fuzz_*.c; do
		set -- "$@" "$(basename "$source" .c)"
	done
fi

# of LOG: the last "cov:" line's figures, and how many executions there were
sum_up()
{
	executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$1")
	edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$1" | tail -n 1)
	printf '%-16s %9s executions %6s edges\n' "$2" "$executions" "$edges"
}

cd "$build"
for target; do
	mkdir -p "corpus/$target" "$tests/corpus/$target"
	log=$build/$target.log
	# Leaks are the targets' own to find: a daemon that ends leaves to the
	# kernel what its other threads have not given back yet.
	if ! ASAN_OPTIONS=detect_leaks=0 "$build/tests/fuzz/$target" -max_total_time="$seconds" \
		-timeout=30 -print_final_stats=1 -print_funcs=0 \
		-detect_leaks=0 -close_fd_mask=1 -max_len=20000 \
		"corpus/$target" "$tests/corpus/$target" >"$log" 2>&1; then
		failed=1
		tail -n 40 "$log"
	fi
	sum_up "$log" "$target"
done
exit $failed
