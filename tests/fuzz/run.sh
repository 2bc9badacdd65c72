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

${PROTOC_C:-protoc-c} --proto_path=proto --proto_path=bpf \
	--c_out="$build/gen" treekv.proto sample.proto
flags="-std=gnu11 -g -O1 -fno-sanitize-recover=all -I. -I$build/gen
-D_GNU_SOURCE="

# All of the daemon and what treekv-top shows samples with, from which the
# linker takes what a target needs.
rm -rf "$build/objects" "$build/all.a"
mkdir "$build/objects"
for source in proto/*.c "$build"/gen/*.c daemon/*.c bpf/canvas.c bpf/columns.c \
	bpf/filter.c bpf/format.c bpf/history.c bpf/layout.c bpf/rates.c \
	bpf/rows.c bpf/sample.c bpf/screen*.c bpf/state.c bpf/top_json.c \
	bpf/view.c client/error.c client/json.c client/map.c client/show*.c; do
	[ "$source" = daemon/main.c ] || echo "$source"
done >"$build/sources"
# shellcheck disable=SC2016 # for the other shell
FLAGS=$flags xargs -P "$(nproc)" -n 1 sh -c 'clang $FLAGS -c \
	-fsanitize=fuzzer-no-link,address,undefined \
	-o "$0/$(echo "${1%.c}" | tr / -).o" "$1"' "$build/objects" \
	<"$build/sources"
ar rc "$build/all.a" "$build"/objects/*.o

for source in tests/fuzz/fuzz_*.c; do
	name=$(basename "$source" .c)
	# shellcheck disable=SC2086
	clang $flags -fsanitize=fuzzer,address,undefined \
		-o "$build/$name" "$source" "$build/all.a" -luring \
		-lprotobuf-c -lxxhash -lm -pthread
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
