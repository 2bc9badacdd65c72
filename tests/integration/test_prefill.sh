#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# treekv-run --prefill, real models: where nothing has to leave, a prompt that is
# taken as a whole gives the bits that its tokens give one by one; where it has,
# daemon and no daemon keep the same; killed at any time, it has been taken in or
# it has not; and 16,384 tokens pass in the memory of one layer.
#
# Usage: test_prefill.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

run=$O/bin/treekv-run
random_model="python3 -B $(dirname "$0")/../helpers/random_model.py"
tokens=600
long=16384
need python3 "treekv-run --prefill"
if is_sanitized; then
	tokens=150
	long=2048
fi

# get FILE KEY: a value of a JSON object
get()
{
	python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"
}

# same NAME FILE FILE KEY
same()
{
	one=$(get "$2" "$4")
	two=$(get "$3" "$4")
	if [ -n "$one" ] && [ "$one" != None ] && [ "$one" = "$two" ]; then
		ok "$1"
	else
		not_ok "$1" "$2" "$3"
		echo "# $4: $one != $two"
	fi
}

# read_in TO OPTION...: the text's first tokens
read_in()
{
	to=$1
	shift
	"$run" --text "$dir/text" --tokens $tokens --json "$@" >"$to" \
		2>"$dir/err" || not_ok "treekv-run $*" "$dir/err" "$log"
}

make_text()
{
	if ! "$run" --local --prompt "It was" --generate $((tokens + 200)) \
		--seed 11 >"$dir/text" 2>"$dir/err"; then
		not_ok "the model writes a text" "$dir/err"
		exit 1
	fi
	python3 - "$dir" "$long" <<'PYTHON'
import array, random, sys
rng = random.Random(5)
ids = array.array("I", (rng.randrange(512) for _ in range(int(sys.argv[2]))))
ids.tofile(open(sys.argv[1] + "/ids", "wb"))
PYTHON
}

test_a_whole_prompt_is_its_tokens_to_the_bit()
{
	for dtype in f32 f16 bf16; do
		read_in "$dir/one" --local --policy full --dtype $dtype
		for threads in 1 2; do
			read_in "$dir/whole" --local --policy full \
				--dtype $dtype --threads $threads --prefill
			same "$dtype, threads $threads: as token by token" \
				"$dir/one" "$dir/whole" logits
		done
	done
	check "it says how many and how fast" \
		[ "$(get "$dir/whole" prefill_tokens)" = $tokens ]
	read_in "$dir/whole" --local --policy full --prefill \
		--prefill-tokens $((tokens / 3)) --dtype bf16
	same "a third as a whole, the rest token by token" "$dir/one" \
		"$dir/whole" logits
}

# Heads of 20 are no multiple of any vector, 5 query heads share one, ...
test_odd_shapes_to_the_bit()
{
	for shape in "--fp32 --dim 40 --hidden 70 --heads 2 --kv-heads 1" \
		"--fp32 --dim 80 --hidden 96 --heads 5 --kv-heads 1" \
		"--dim 96 --hidden 192 --heads 6 --kv-heads 3" \
		"--dim 128 --hidden 64 --heads 1 --kv-heads 1 --group 64"; do
		# shellcheck disable=SC2086 # lists of words
		$random_model $shape --layers 3 --vocab 512 "$dir/model"
		"$run" "$dir/model" --local --ids "$dir/ids" --tokens 150 \
			--policy full --json >"$dir/one" 2>"$dir/err"
		"$run" "$dir/model" --local --ids "$dir/ids" --tokens 150 \
			--policy full --json --threads 2 --prefill \
			>"$dir/whole" 2>"$dir/err"
		same "$shape" "$dir/one" "$dir/whole" logits
	done
}

# Scores too: who counts every query, or none, or the last one's.
test_decoding_goes_on_as_if_it_had_been_one_by_one()
{
	for policy in h2o tova streaming treekv-left; do
		read_in "$dir/one" --local --policy $policy \
			--budget $((tokens + 20)) --generate 120
		read_in "$dir/whole" --local --policy $policy \
			--budget $((tokens + 20)) --generate 120 --prefill
		same "$policy: evicts afterwards as ever" "$dir/one" \
			"$dir/whole" logits
	done
}

test_the_daemon_keeps_what_no_daemon_keeps()
{
	for policy in treekv treekv-left treekv-skip streaming h2o tova; do
		read_in "$dir/local" --local --policy $policy --budget 128 \
			--prefill --generate 100
		read_in "$dir/daemon" --lockstep --policy $policy --budget 128 \
			--prefill --generate 100 --threads 2
		same "$policy: as without a daemon" "$dir/local" \
			"$dir/daemon" logits
	done
	for dtype in f16 bf16; do
		read_in "$dir/local" --local --dtype $dtype --budget 64 \
			--prefill --block 5 --window 9 --generate 100
		read_in "$dir/daemon" --lockstep --dtype $dtype --budget 64 \
			--prefill --block 5 --window 9 --generate 100
		same "$dtype: as without a daemon" "$dir/local" \
			"$dir/daemon" logits
	done
	for pooling in highest mean; do
		read_in "$dir/local" --local --policy full --prefill \
			--prefill-method snapkv --prefill-budget 64 \
			--pooling $pooling --kernel 5 --generate 50
		read_in "$dir/daemon" --lockstep --policy full --prefill \
			--prefill-method snapkv --prefill-budget 64 \
			--pooling $pooling --kernel 5 --generate 50
		same "snapkv, $pooling: as without a daemon" "$dir/local" \
			"$dir/daemon" logits
	done
	check "snapkv keeps its budget, full all after it" \
		[ "$(get "$dir/daemon" held)" = 113 ]
}

test_scoring_what_follows_a_prompt()
{
	read_in "$dir/local" --local --budget 64 --perplexity --prefill \
		--prefill-tokens $((tokens - 50))
	read_in "$dir/daemon" --lockstep --budget 64 --perplexity --prefill \
		--prefill-tokens $((tokens - 50))
	same "it is scored alike" "$dir/local" "$dir/daemon" nll
	check "the first token behind the prompt is scored" \
		[ "$(get "$dir/daemon" scored)" = 50 ]
	"$run" --local --text "$dir/text" --prefill --perplexity \
		2>"$dir/err" && not_ok "all as a whole, to be scored"
	says "what is read as a whole is not scored" "$dir/err" \
		"--prefill-tokens"
}

test_refusals()
{
	"$run" --local --text "$dir/text" --prefill --budget 20 --window 30 \
		2>"$dir/err" && not_ok "a window beyond the budget is refused"
	says "a window beyond the budget is refused" "$dir/err" \
		"sinks 4 + window 30 do not fit"
	"$run" --local --text "$dir/text" --window 30 2>"$dir/err" &&
		not_ok "--window alone is refused"
	says "--window alone is refused" "$dir/err" "need --prefill"
	"$run" --local --text "$dir/text" --prefill --policy full --budget 30 \
		2>"$dir/err" && not_ok "a prompt that does not fit is refused"
	says "full has to have room" "$dir/err" "full evicts nothing"
}

# A cache that has something goes on token by token.
test_a_prompt_goes_on()
{
	read_in "$dir/whole" --lockstep --cache whole --budget 128 --prefill \
		--generate 80 --seed 3
	read_in "$dir/first" --lockstep --cache parts --budget 128 --prefill \
		--seed 3
	read_in "$dir/second" --lockstep --cache parts --budget 128 --prefill \
		--generate 80 --seed 3
	same "the same command again goes on" "$dir/whole" "$dir/second" text
	check "and takes nothing in again" \
		[ "$(get "$dir/second" prefill_tokens)" = None ]
	"$treekvctl" snapshot parts >/dev/null 2>"$dir/err"
	"$treekvctl" drop parts --keep-snapshot >/dev/null 2>>"$dir/err"
	read_in "$dir/more" --lockstep --cache parts --budget 128 --generate 120
	read_in "$dir/whole" --lockstep --cache whole --budget 128 \
		--generate 120
	same "so does one that comes from a snapshot" "$dir/whole" \
		"$dir/more" text
}

# shellcheck disable=SC2317 # called by wait_for, as the next one
is_there()
{
	[ -n "$(field "$1" tail)" ]
}

daemon_pid()
{
	"$treekvctl" status --json | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["pid"])'
}

# begin_long: 'long' is being read, as a whole
begin_long()
{
	"$run" --ids "$dir/ids" --tokens $((long / 2)) --cache long \
		--budget 128 --lockstep --prefill --generate 40 --seed 9 \
		--json >"$dir/long" 2>"$dir/err" &
	children=$!
	wait_for is_there long
}

test_deaths()
{
	"$run" --ids "$dir/ids" --tokens $((long / 2)) --local --budget 128 \
		--prefill --generate 40 --seed 9 --json >"$dir/local" \
		2>"$dir/err"
	begin_long
	kill -KILL $children
	wait $children 2>/dev/null
	children=
	check "a writer killed over a prompt leaves an empty cache" \
		[ "$(field long tail)" = 0 ]
	stop_daemon
	start_daemon --keeper
	begin_long
	for _ in 1 2; do
		kill -KILL "$(daemon_pid)"
		wait_for "$treekvctl" status
	done
	check "a daemon killed over a prompt holds nobody up" wait $children
	children=
	same "it is all there" "$dir/local" "$dir/long" logits
	same "and goes on as if nothing had been" "$dir/local" "$dir/long" text
	check "nothing was quarantined" \
		[ "$("$treekvctl" list --json | grep -c quarantined)" = 0 ]
}

# What the whole prompt takes at once: activations and position table, one
# layer's rows of K and V and its rotated keys, sums and what a head is thought
# over in. All layers' rows would be 16 times one's.
test_memory_is_one_layers()
{
	if is_sanitized; then
		skip "peak memory: sanitizers have their own"
		return
	fi
	$random_model --dim 32 --hidden 64 --heads 1 --kv-heads 1 --layers 16 \
		"$dir/model"
	for n in 16 $long; do
		"$run" "$dir/model" --ids "$dir/ids" --tokens $n --budget 256 \
			--prefill --threads 1 --json >"$dir/rss.$n" \
			2>"$dir/err"
	done
	check "$long tokens need one layer's memory" python3 - "$dir" "$long" \
		<<'PYTHON'
import json, sys
d, n = sys.argv[1], int(sys.argv[2])
small, big = (json.load(open(f"{d}/rss.{m}"))["peak_rss"] for m in (16, n))
dim, kv_dim, layers, heads, tile = 32, 32, 16, 1, 8
once = 4 * (dim + 32 + 3 * kv_dim + heads + tile) + 29 + 8
whole = n * layers * 2 * kv_dim * 4
print("grew by", big - small, "of", n * once, "allowed; all layers' rows take",
      whole)
assert big - small < n * once * 1.1 + (1 << 20) < whole / 4
PYTHON
	sed 's/^/# /' "$dir/check"
}

start_daemon
make_text
test_a_whole_prompt_is_its_tokens_to_the_bit
test_odd_shapes_to_the_bit
test_decoding_goes_on_as_if_it_had_been_one_by_one
test_the_daemon_keeps_what_no_daemon_keeps
test_scoring_what_follows_a_prompt
test_refusals
test_a_prompt_goes_on
test_memory_is_one_layers
test_deaths
exit $failed
