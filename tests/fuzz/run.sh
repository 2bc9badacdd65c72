#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Every fuzz target (tests/fuzz/fuzz_*.c) for some seconds, with libFuzzer and
# AddressSanitizer. What is found stays in BUILD-DIR-fuzz as crash-*.
#
# Usage: run.sh BUILD-DIR SECONDS

set -eu

build=${1:?usage: run.sh BUILD-DIR SECONDS}-fuzz
seconds=${2:?usage: run.sh BUILD-DIR SECONDS}
cd "$(dirname "$0")/../.."
mkdir -p "$build/gen"
build=$(cd "$build" && pwd)
failed=0

${PROTOC_C:-protoc-c} --proto_path=proto --c_out="$build/gen" treekv.proto
for source in tests/fuzz/fuzz_*.c; do
	name=$(basename "$source" .c)
	clang -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=all -I. -I"$build/gen" -D_GNU_SOURCE= \
		-o "$build/$name" "$source" proto/*.c "$build"/gen/*.c \
		daemon/adopt.c daemon/arena.c daemon/cache.c daemon/compact.c \
		daemon/compact_prompt.c \
		daemon/hole.c daemon/log.c daemon/order.c daemon/policy.c \
		daemon/service.c daemon/spec.c -lprotobuf-c -lm -pthread
	mkdir -p "$build/corpus-$name"
	echo "$name: $seconds s"
	if ! (cd "$build" && "./$name" -max_total_time="$seconds" \
		-print_final_stats=1 "corpus-$name" >"$name.log" 2>&1); then
		failed=1
		tail -n 40 "$build/$name.log"
	fi
	grep -E 'number_of_executed_units|cov:' "$build/$name.log" | tail -n 2
done
exit $failed
