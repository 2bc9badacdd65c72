#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# treekv-run and what it is given: files of models, tokenizers, ids and text,
# good and bad; where its trace and its results go; what a cache that exists
# decides, and what a further turn needs.
#
# Usage: test_run_files.sh BUILD-DIR

# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"

run=$O/bin/treekv-run
files=$(dirname "$0")/../../client/run
model=$files/novels-q8.bin
tokenizer=$files/tok1024.bin
out=$dir/out
err=$dir/err
status=0
need python3 "treekv-run's files"

# go OPTION...: its exit status in $status
go()
{
	"$run" "$@" >"$out" 2>"$err"
	status=$?
}

# is NAME STATUS: of the last run
is()
{
	if [ "$status" = "$2" ]; then
		ok "$1"
	else
		not_ok "$1" "$out" "$err"
		echo "# exit status $status, not $2"
	fi
}

# refuses NAME WORDS OPTION...: with exit status 1 and these words
refuses()
{
	name=$1
	words=$2
	shift 2
	go "$@"
	if [ $status -eq 1 ] && grep -qF -- "$words" "$err"; then
		ok "$name is refused"
	else
		not_ok "$name is refused" "$err"
		echo "# exit status $status; lacks: $words"
	fi
}

# get FILE KEY: a value of a JSON object
get()
{
	python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"
}

# has NAME KEY VALUE: in the last run's JSON
has()
{
	value=$(get "$out" "$2" 2>&1)
	if [ "$value" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1" "$out" "$err"
		echo "# $2 is $value, not $3"
	fi
}

# score FILE OPTION...: nll of the text's first tokens, without a daemon
score()
{
	to=$1
	shift
	"$run" --local --perplexity --json "$@" >"$to" 2>"$err" ||
		not_ok "treekv-run $*" "$err"
}

make_files()
{
	python3 - "$dir" "$model" "$tokenizer" <<'PYTHON'
import array, struct, sys

d, model, tokenizer = sys.argv[1:]
data = open(model, "rb").read()
_, _, dim, hidden, layers, heads, kv, vocab, seq, shared, group = \
    struct.unpack_from("<Ii7iBi", data)
assert shared
at = 256

def floats(n):
    global at
    at += 4 * n
    return array.array("f", data[at - 4 * n:at])

def tensor(n):
    global at
    q = array.array("b", data[at:at + n])
    at += n
    scale = floats(n // group)
    return array.array("f", (v * scale[i // group] for i, v in enumerate(q)))

def tensors(n):
    return b"".join(tensor(n).tobytes() for _ in range(layers))

kv_dim = dim // heads * kv
attention, ffn = floats(layers * dim), floats(layers * dim)
final = floats(dim)
embedding = tensor(vocab * dim)
qkvo = [tensors(n * dim) for n in (dim, kv_dim, kv_dim, dim)]
mlp = [tensors(hidden * dim) for _ in range(3)]
with open(d + "/v0.bin", "wb") as f:
    f.write(struct.pack("<7i", dim, hidden, layers, heads, kv, vocab, seq))
    f.write(embedding.tobytes() + attention.tobytes() + b"".join(qkvo))
    f.write(ffn.tobytes() + b"".join(mlp) + final.tobytes())
    f.write(bytes(4 * seq * (dim // heads)))

def put(name, content):
    open(d + "/" + name, "wb").write(content)

put("torn-header.bin", data[:20])
put("torn.bin", data[:-1])
put("long.bin", data + b"\0")
put("heads.bin", data[:8] + struct.pack("<7i", dim, hidden, layers, 3, kv,
                                        vocab, seq) + data[36:])
put("empty", b"")

# The tokenizer, and what llama2.c's loop makes of a text.
raw = open(tokenizer, "rb").read()
tokens, at = [], 4
while at < len(raw):
    score, size = struct.unpack_from("<fi", raw, at)
    tokens.append((raw[at + 8:at + 8 + size], score))
    at += 8 + size
put("torn-tokens", raw[:-1])
put("long-tokens", raw + struct.pack("<fi", 0, 1) + b"x")
put("size-tokens", raw[:8] + struct.pack("<i", -5) + raw[12:])
put("sign-tokens", raw[:4] + len(tokens) *
    (struct.pack("<fi", 0, 6) + b"<0x-1>"))

text = open(d + "/text", "rb").read()[:400].decode("ascii", "ignore").encode()
put("short", text)
number = {}
for i, (t, _) in enumerate(tokens):
    number.setdefault(t, i)

def ids_of(c):
    return [number[c]] if c in number else [c[0] + 3]

ids = [i for c in b" " + text for i in ids_of(bytes([c]))]
while True:
    best = max((( tokens[number[tokens[a][0] + tokens[b][0]]][1], -i)
                for i, (a, b) in enumerate(zip(ids, ids[1:]))
                if tokens[a][0] + tokens[b][0] in number), default=None)
    if not best:
        break
    i = -best[1]
    ids[i:i + 2] = [number[tokens[ids[i]][0] + tokens[ids[i + 1]][0]]]
ids.insert(0, 1)
put("ids", struct.pack("<%dI" % len(ids), *ids))
put("bad-ids", struct.pack("<2I", 1, len(tokens)))
put("torn-ids", b"\1\0\0\0\1")
PYTHON
}

test_ids_are_the_text()
{
	score "$dir/one" --text "$dir/short"
	score "$dir/two" --ids "$dir/ids"
	check "--ids computes what --text does, to the bit" \
		[ "$(get "$dir/one" nll)" = "$(get "$dir/two" nll)" ]
	check "and reads as many tokens" \
		[ "$(get "$dir/one" tokens)" = "$(get "$dir/two" tokens)" ]
	refuses "an id beyond the vocabulary" "id 1024 at position 1" \
		--local --ids "$dir/bad-ids"
	refuses "a torn file of ids" "no multiple of 4" \
		--local --ids "$dir/torn-ids"
	refuses "an empty text" "is empty" --local --text "$dir/empty"
}

test_model_files()
{
	score "$dir/one" --text "$dir/short"
	score "$dir/two" "$model" -z "$tokenizer" --text "$dir/short"
	check "a Q8_0 file computes what the embedded one does, to the bit" \
		[ "$(get "$dir/one" nll)" = "$(get "$dir/two" nll)" ]
	score "$dir/two" "$dir/v0.bin" --text "$dir/short"
	check "a v0 file of the same weights does, nearly" python3 -c '
import json, sys
a, b = (json.load(open(f))["nll"] for f in sys.argv[1:])
sys.exit(abs(a - b) > 1e-3)' "$dir/one" "$dir/two"
	refuses "a model with half a header" "must be" \
		"$dir/torn-header.bin" --local --prompt x
	refuses "a torn model" "the size in bytes" \
		"$dir/torn.bin" --local --prompt x
	refuses "a model that is too long" "the size in bytes" \
		"$dir/long.bin" --local --prompt x
	refuses "a model of impossible shape" "must be" \
		"$dir/heads.bin" --local --prompt x
	refuses "an empty model" "is empty" "$dir/empty" --local --prompt x
	refuses "a directory" "no regular file" "$dir" --local --prompt x
	refuses "a model that is not there" "No such file" \
		"$dir/absent" --local --prompt x
}

test_tokenizer_files()
{
	refuses "a torn tokenizer" "ends within token 1023" \
		-z "$dir/torn-tokens" --local --prompt x
	refuses "a tokenizer of another model" "more than the 1024 tokens" \
		-z "$dir/long-tokens" --local --prompt x
	refuses "a token of negative length" "length of token 0 is -5" \
		-z "$dir/size-tokens" --local --prompt x
	go -z "$dir/sign-tokens" --local --ids "$dir/ids" --generate 3
	check "a byte with a sign is text" \
		[ "$(cat "$out")" = "<0x-1><0x-1><0x-1>" ]
}

# 20 + 2LHT(T + 1) bytes: 5 layers, 2 heads, 50 tokens
test_record()
{
	(umask 027 && "$run" --local --text "$dir/short" --tokens 50 \
		--record "$dir/trace" >"$out" 2>"$err")
	status=$?
	is "--record" 0
	check "a trace has the size it promises" \
		[ "$(wc -c <"$dir/trace")" -eq $((20 + 2 * 5 * 2 * 50 * 51)) ]
	check "and the mode that the umask leaves" \
		[ "$(stat -c %a "$dir/trace")" = 640 ]
	check "and replays" "$treekvctl" replay --policy h2o --budget 16 \
		"$dir/trace"
	go --local --text "$dir/short" --tokens 20 --record "$dir/trace"
	check "a trace replaces one" \
		[ "$(wc -c <"$dir/trace")" -eq $((20 + 2 * 5 * 2 * 20 * 21)) ]
	check "nothing else is left behind" \
		[ "$(find "$dir" -name 'trace*' | wc -l)" -eq 1 ]
}

test_record_replaces_regular_files_only()
{
	echo precious >"$dir/target"
	ln -s target "$dir/link"
	mkfifo "$dir/fifo"
	mkdir "$dir/directory"
	for what in link fifo directory; do
		refuses "--record on a $what" "only a regular file" \
			--local --text "$dir/short" --record "$dir/$what"
	done
	refuses "--record without a name" "--record" \
		--local --text "$dir/short" --record ""
	check "the link is as it was" [ "$(readlink "$dir/link")" = target ]
	check "so is its target" [ "$(cat "$dir/target")" = precious ]
	check "so is the FIFO" [ -p "$dir/fifo" ]
}

test_closed_descriptors()
{
	"$run" --prompt It --cache closed --generate 5 2>"$err" >&-
	status=$?
	is "text without a stdout is no success" 1
	says "and is named" "$err" "cannot write"
	"$run" --local --prompt "It was" --perplexity 2>"$err" >&-
	status=$?
	is "nor is a perplexity" 1
	"$run" --prompt It --cache closed <&- >&- 2>&-
	status=$?
	is "what has no result needs no descriptor" 0
	go --cache closed --generate 5 --json
	has "the cache goes on" resumed True
	check "the daemon has seen nothing odd" "$treekvctl" status
}

test_a_result_that_is_lost_is_no_success()
{
	if [ ! -c /dev/full ]; then
		skip "lost results: there is no /dev/full"
		return
	fi
	for what in --json --perplexity --help --version; do
		"$run" --local --prompt "It was" $what 2>"$err" >/dev/full
		status=$?
		is "$what on a full disk fails" 1
		says "and says so" "$err" "No space left"
	done
}

test_append_begins_another_turn()
{
	go --prompt "It was" --cache turns --generate 12 --json
	tail=$(get "$out" tail)
	go --prompt " She said" --append --cache turns --generate 12 --json
	is "--append" 0
	has "a second turn counts from 0" text_at 0
	has "and generates as much" generated 12
	check "behind the first one" [ "$(get "$out" tail)" -gt $((tail + 12)) ]
	go --cache turns --generate 20 --json
	has "and goes on" generated 20
}

test_append_waits_for_the_first_turn()
{
	go --text "$dir/short" --tokens 40 --cache half --policy full \
		--budget 20
	is "reading is cut short" 1
	refuses "--append to a turn half read" \
		"has read 20 of 40 tokens of its input" \
		--prompt "She said" --append --cache half --generate 3
}

test_a_cache_decides_what_is_not_given()
{
	go --text "$dir/short" --cache made --policy streaming --budget 64 \
		--sinks 2 --recent 20 --dtype f16 --generate 5
	is "a cache is made" 0
	go --cache made --generate 9 --json
	is "it goes on without its options" 0
	has "with its policy" policy streaming
	has "and its budget" budget 64
	has "from where it stood" generated 9
	go --cache made --generate 10 --policy streaming --recent 20
	is "and with some of them" 0
	refuses "another budget" "budget 64, asked for 128" \
		--cache made --generate 11 --budget 128
	refuses "another policy" "policy streaming, asked for h2o" \
		--cache made --generate 11 --policy h2o
	refuses "another type" "dtype f16, asked for f32" \
		--cache made --generate 11 --dtype f32
	refuses "another number of recent tokens" "recent 20, asked for 21" \
		--cache made --generate 11 --recent 21
	refuses "another model" "cache made: model " \
		"$dir/v0.bin" --cache made --generate 11
	go --cache made --generate 11 --json
	has "a refusal changes nothing" generated 11
	refuses "a budget too small" "give --sinks 0 or a larger --budget" \
		--prompt x --budget 4
	check "without a made-up name" sh -c "! grep anonymous '$err'"
}

test_perplexity_says_what_it_lacks()
{
	go --text "$dir/text" --tokens 200 --cache scored --perplexity
	check "a whole text says nothing" sh -c "! grep scored, '$err'"
	go --text "$dir/text" --tokens 300 --cache scored --perplexity --json
	has "the token between two runs is not scored" scored 298
	says "which is said" "$err" "298 tokens scored, the input has 300"
}

# Ten minutes, if the wait were not cut into slices.
test_a_signal_ends_a_wait()
{
	: >"$out"
	"$run" --prompt It --cache hung --budget 32 --slack 8 \
		--timeout 600000 --generate 1000000 >"$out" 2>"$err" &
	children=$!
	wait_for test -s "$out"
	kill -STOP "$daemon"
	wait_for grep -q ') S ' "/proc/$children/stat"
	kill -INT $children
	wait $children
	status=$?
	children=
	kill -CONT "$daemon"
	is "a signal ends a wait for a daemon that hangs" 130
	go --cache hung --generate 5 --json
	has "and the cache goes on" resumed True
}

test_the_bar_fits_the_terminal()
{
	if python3 - "$run" "$dir/text" <<'PYTHON' >"$dir/check" 2>&1
import fcntl, os, pty, re, struct, sys, termios

for columns in (120, 80, 50, 20):
    ready, go = os.pipe()
    pid, fd = pty.fork()
    if not pid:
        os.close(go)
        os.read(ready, 1)
        os.environ["LC_ALL"] = "C"
        os.execv(sys.argv[1], [sys.argv[1], "--local", "--text", sys.argv[2],
                               "--tokens", "2000", "--perplexity"])
    fcntl.ioctl(fd, termios.TIOCSWINSZ,
                struct.pack("4H", 24, columns, 0, 0))
    os.close(ready)
    os.close(go)
    text = b""
    try:
        while True:
            some = os.read(fd, 65536)
            if not some:
                break
            text += some
    except OSError:
        pass
    if os.waitpid(pid, 0)[1]:
        sys.exit("it failed: %r" % text)
    bars = re.findall(rb"\r([^\r\n\x1b]+)\x1b\[K", text)
    print(columns, bars[-1:])
    if not bars or max(map(len, bars)) >= columns:
        sys.exit("too wide for %d: %r" % (columns, bars))
PYTHON
	then
		ok "the bar fits the terminal"
	else
		not_ok "the bar fits the terminal" "$dir/check"
	fi
}

# shellcheck disable=SC2119 # no options
start_daemon
if ! "$run" --local --prompt "It was" --generate 2200 --seed 11 \
	>"$dir/text" 2>"$err" || ! make_files >"$out" 2>&1; then
	not_ok "there are files to test with" "$err" "$out"
	exit 1
fi
test_ids_are_the_text
test_model_files
test_tokenizer_files
test_record
test_record_replaces_regular_files_only
test_closed_descriptors
test_a_result_that_is_lost_is_no_success
test_append_begins_another_turn
test_append_waits_for_the_first_turn
test_a_cache_decides_what_is_not_given
test_perplexity_says_what_it_lacks
test_a_signal_ends_a_wait
test_the_bar_fits_the_terminal
exit $failed
