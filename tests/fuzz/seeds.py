#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write the seed corpora of the fuzz targets, tests/fuzz/corpus/TARGET/NAME.

usage: seeds.py BUILD-DIR

Files are of real runs where there is a program that writes them: a trace, a
record of treekv-top, a configuration, small models. The others are spelled out
here in the terms of the target's first comment. What begins with "found-" is
left alone: it made a target end badly once, and must not again.
"""
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

RECORD = 6000  # bytes: several samples, and a part of one

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
import wire  # noqa: E402


def put(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def patch(*pairs):
    """fuzz_index and fuzz_snapshot: eight bytes at an offset, and so on."""
    return b"".join(struct.pack("<IQ", at, value & (1 << 64) - 1)
                    for at, value in pairs)


def index_seeds():
    put("fuzz_index", "sound", b"")
    put("fuzz_index", "prompt", b"\0")
    # epoch, generation, armed; commit and head of rows lie behind the index
    for name, at in (("magic", 0), ("rows-size", 24), ("buffer", 56),
                     ("generation", 3456), ("epoch", 3584)):
        put("fuzz_index", name, patch((at, 2)))
    put("fuzz_index", "several", patch((3456, 3), (16384 + 128, 30),
                                       (16384 + 256, 40)))


def snapshot_seeds():
    put("fuzz_snapshot", "sound", b"")
    put("fuzz_snapshot", "bad-hash", b"\0")
    for name, at in (("version", 8), ("file-size", 24), ("spec", 80),
                     ("tail", 320), ("layer", 720), ("used", 732)):
        put("fuzz_snapshot", name, patch((at, 5)))
    put("fuzz_snapshot", "huge", patch((76, 1 << 31 | 1 << 9)))


# Requests of the wire by their number in treekv.proto.
BODIES = {
    "attach": (4, wire.text(1, "a") + wire.number(24, 7)),
    "detach": (5, wire.number(1, 99)),
    "drop": (6, wire.text(1, "a") + wire.number(2, 1)),
    "list": (7, wire.number(40, 1)),
    "inspect": (8, wire.text(1, "a")),
    "stats": (9, b""),
    "break": (10, wire.text(1, "a") + wire.number(40, 3)),
    "snapshot": (20, wire.number(2, 1)),
    "restore": (21, wire.text(1, "a")),
    "events": (30, wire.number(1, 5) + wire.number(2, 1)),
    "workers": (31, b""),
    "kept": (33, wire.number(1, 3) + wire.text(2, b"\x00\x08\x10")),
    "prefill": (40, wire.number(1, 9) + wire.number(2, 40) +
                wire.text(3, b"\x08") + wire.text(4, b"\x01")),
    "freeze": (50, wire.text(1, "a")),
    "fork": (51, wire.text(1, "b") + wire.text(2, "a")),
    "lookup": (52, wire.text(1, wire.spec()) +
               wire.text(2, struct.pack("<4I", 0, 1, 2, 3))),
    "park": (60, wire.text(1, "a")),
    "keep": (61, wire.text(1, "a") + wire.number(2, 1) + wire.number(3, 60)),
}


def message_seeds():
    put("fuzz_message", "hello", wire.hello())
    put("fuzz_message", "create", wire.create("a"))
    put("fuzz_message", "layers", wire.create("a", wire.spec(
        layers=3, budget=wire.varint(8) * 3)))
    for name, (kind, body) in BODIES.items():
        put("fuzz_message", name, wire.request(kind, body))
    put("fuzz_message", "all", wire.hello() + wire.create("a") + b"".join(
        wire.request(kind, body) for kind, body in BODIES.values()))


# ---- fuzz_words: a shape, then acts --------------------------------------

STEP, COMPACT, PROMPT, TOKENS, SCRIBBLE, LIE = 6, 4, 3, 2, 1, 0


def act(what, how=0):
    return bytes([how << 3 | what])


def shape(policy, layers=2, heads=2, sinks=1, recent=2, slack=4, budget=8):
    return bytes([layers - 1, heads - 1, policy - 1, sinks, recent, slack,
                  16]) + bytes([budget, budget - 2, budget + 8, budget])[
                      :layers]


def lie(word, how, value):
    return act(LIE) + bytes([word, how]) + struct.pack("<Q", value)


def words_seeds():
    turn = act(STEP, 4) + act(COMPACT) * 8
    for policy, name in enumerate(("treekv", "left", "skip", "streaming",
                                   "h2o", "tova", "full"), 1):
        put("fuzz_words", name, shape(policy) + act(STEP, 6) + turn * 4)
    begin = shape(1) + act(STEP, 10) + act(STEP, 1) + act(COMPACT)
    for i, name in enumerate(("commit", "head", "seen", "magic", "stalls")):
        put("fuzz_words", name, begin + lie(i, 0, 1 << 41) +
            act(COMPACT) * 6)
        put("fuzz_words", name + "-near", begin + lie(i, 1, 255) +
            act(COMPACT) * 6 + turn)
    put("fuzz_words", "scores", begin + act(SCRIBBLE) +
        struct.pack("<IIB", 40, 0x7fc00000, 255) + turn * 3)
    prompt = act(TOKENS, 1) + act(PROMPT) + struct.pack("<H", 60) + \
        bytes([7, 2, 5, 1]) + act(PROMPT) * 8
    put("fuzz_words", "prompt", shape(1) + prompt + turn * 2)
    put("fuzz_words", "prompt-lies", shape(1) + prompt[:6] +
        lie(0, 0, 60) + prompt[6:])


# ---- fuzz_control: acts of session.c ---------------------------------------

SPEC = bytes([0, 0, 0, 0])
REQUESTS = ("create", "attach", "fork", "lookup", "prefill", "kept", "break",
            "drop", "snapshot", "restore", "keep", "small", "report")
OWNERS = ("chmod", "chown", "quota")
DETACH, FREEZE, PARK, KEEP, INSPECT = (4 * i for i in range(5))
NAMES = {"a": 0, "b": 1, "c": 2, "d": 3, "": 6, "@0/a": 250, "@65534/a": 251,
         "~0/a": 252, "~65534/a": 253}
ROOT, OTHER = b"\0", bytes([150])


def ask(kind, bits=0, rest=b"", peer=0, wait=True):
    kind = (REQUESTS.index(kind) if kind in REQUESTS else
            250 + OWNERS.index(kind))
    return bytes([15 if wait else 11, peer, kind, bits]) + rest


def name(of):
    return bytes([NAMES[of]])


def create(of, bits=0, spec=SPEC, **how):
    return ask("create", bits, name(of) + spec, **how)


def small(what, of, bits=0, rest=b"", **how):
    """Rest: who holds the lease and the cache, where bits say there are."""
    return ask("small", what | bits, name(of) + rest, **how)


def step(held, n, ring=1):
    return bytes([ring << 4 | 8, held, n])


def connect(peer, how):
    return bytes([peer << 4, how])


def hang_up(peer):
    return bytes([peer << 4 | 1])


def restart(*lies):
    return bytes([7 << 4 | 4, len(lies)]) + b"".join(
        bytes([fd]) + struct.pack("<QH", value, at) for fd, value, at in lies)


def deceive(held, word, how, value, ring=1):
    return bytes([ring << 4 | 6, held, word, how]) + struct.pack("<Q", value)


IDS = bytes([0, 0, 32, 64])  # a spec of 40 rows that keeps token ids
SETTLE = b"\x05"
END = [
    small(FREEZE, "a"),
    small(PARK, "a"),
    small(KEEP, "a", 8),
    ask("break", 0, name("a"), peer=1),
    ask("snapshot", 3),
    ask("drop", 0, name("a")),
]


def control_seeds():
    full = create("a", spec=IDS) + b"".join(
        step(0, 9) + SETTLE for _ in range(4))
    put("fuzz_control", "create", create("a") + create("b") + create("a", 1))
    put("fuzz_control", "steps", create("a") + full[8:])
    for i, kind in enumerate(("freeze", "park", "pin", "break", "snapshot",
                              "drop")):
        put("fuzz_control", kind, full + END[i] + ask(
            "attach", 0, name("a"), peer=2) + ask("report", i * 4))
    frozen = full + small(FREEZE, "a", 1, bytes(2))
    detached = full + small(DETACH, "a", 1, bytes(2)) + SETTLE * 3
    put("fuzz_control", "fork", frozen + ask(
        "fork", 0, name("b") + name("a")) + step(1, 9) + SETTLE + ask(
            "fork", 8, name("c") + name("a")) + ask("drop", 0, name("a")) +
        step(2, 9) + ask("lookup", 1, IDS + bytes([40, 0])))
    put("fuzz_control", "by-ids", frozen + ask(
        "fork", 67, name("b") + IDS + bytes([30, 0])) + step(1, 3))
    put("fuzz_control", "parked", detached + small(PARK, "a") + ask(
        "attach", 0, name("a")) + step(1, 5))
    put("fuzz_control", "restored", detached + ask("snapshot", 3) + ask(
        "drop", 2, name("a")) + ask("restore", 3) + ask(
            "attach", 16, name("a")))
    put("fuzz_control", "spoiled", detached + ask("snapshot", 3) + ask(
        "drop", 2, name("a")) + bytes([10 << 4 | 4, 0]) + struct.pack(
            "<QH", 77, 80) + ask("restore", 3))
    put("fuzz_control", "prompt", create("a") + step(0, 0) + ask(
        "prefill", 2, bytes([0, 20, 7, 1])) + ask("kept", 3, bytes(
            [0, 0, 10, 10])))
    put("fuzz_control", "processes", connect(0, 1) + connect(1, 2) + create(
        "a") + create("a", peer=1) + step(0, 20) + connect(0, 0) + ask(
            "attach", 0, name("a")) + hang_up(1))
    put("fuzz_control", "impatient", create("a", wait=False) + create(
        "a", wait=False, peer=1) + hang_up(0) + b"".join(
            end.replace(b"\x0f", b"\x0b", 1) for end in END))
    put("fuzz_control", "events", ask("report", 18) + full + END[5])
    put("fuzz_control", "restart", frozen + ask(
        "fork", 0, name("b") + name("a")) + create("c") + SETTLE + restart() +
        ask("report", 0) + ask("attach", 0, name("b")))
    put("fuzz_control", "restart-lies", full + restart((1, 5, 3456)) +
        ask("report", 0) + create("b"))
    for i, (word, how, value) in enumerate(
            ((0, 0, 1 << 41), (1, 1, 255), (2, 0, 9), (255, 0, 0))):
        put("fuzz_control", "lie-%d" % i, full + deceive(0, word, how, value) +
            SETTLE + ask("snapshot", 3) + ask("break", 0, name("a")))
    put("fuzz_control", "owners", connect(1, 2) + detached + ask(
        "chmod", 3, name("a")) + ask("attach", 16, name("~0/a"), peer=1) + ask(
            "chown", 3, name("a") + OTHER + OTHER) + ask(
                "attach", 0, name("a"), peer=1) + ask("report", 0))
    put("fuzz_control", "owners-saved", detached + ask("snapshot", 3) + ask(
        "chown", 1, name("a") + OTHER) + ask("chmod", 1, name("~65534/a")) +
        small(PARK, "~65534/a") + ask("attach", 0, name("~65534/a")))
    put("fuzz_control", "group", create("@0/a") + create("@65534/a") + ask(
        "chown", 2, name("@0/a") + OTHER) + ask("drop", 0, name("@0/a")))
    put("fuzz_control", "quota", ask("quota", 4, bytes([11, 1])) + create(
        "a") + create("b") + ask("quota", 4, bytes([16])) + create("b") + ask(
            "quota", 9, OTHER + bytes([10, 1, 11, 2])) + connect(1, 2) +
        create("a", peer=1) + ask("quota", 4, bytes([3]), peer=1))
    put("fuzz_control", "anonymous", create("", 66) + create("", 4) + ask(
        "report", 0))
    put("fuzz_control", "raw", bytes([1 << 4 | 2, 0, 5]) + b"hello" +
        create("a", peer=1))


# ---- files of real runs ------------------------------------------------------

def run(build, program, *args, **how):
    return subprocess.run([build / "bin" / program, *args], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          **how).stdout


def config_seeds(build):
    text = run(build, "treekvd", "--print-config").decode()
    lines = [line[1:] for line in text.splitlines()
             if line.startswith("#") and " = " in line]
    put("fuzz_config", "defaults", "\n".join(lines).encode())
    for line in lines:
        option, value = line.split(" = ")
        put("fuzz_config", "option-" + option,
            b"\0--%s=%s" % (option.encode(), value.encode()))
    put("fuzz_config", "both", b"pool = 8G # much\nworkers=4\n"
        b"\0--pool\0" b"50%\0--metrics=127.0.0.1:9971")


def model_seeds(build, folder):
    del build
    for kind, options in (
            ("q8", ("--dim", "32", "--hidden", "32", "--group", "16",
                    "--heads", "2", "--kv-heads", "1")),
            ("fp32", ("--dim", "8", "--hidden", "8", "--heads", "2",
                      "--kv-heads", "1", "--fp32"))):
        path = folder / kind
        subprocess.run([sys.executable, "-B",
                        HERE.parent / "helpers" / "random_model.py",
                        "--layers", "1", "--vocab", "8", *options, path],
                       check=True)
        put("fuzz_model", kind, b"\0" + path.read_bytes())
    # The first tokens of the one that is built in.
    whole = (HERE.parents[1] / "client" / "run" / "tok1024.bin").read_bytes()
    for vocab, text in ((300, b"It was a dark night"), (262, b"<0x41>\xff")):
        at = 4
        for _ in range(vocab):
            at += 8 + struct.unpack_from("<i", whole, at + 4)[0]
        put("fuzz_model", "tokenizer-%d" % vocab, b"\1" + struct.pack(
            "<HB", vocab - 1, len(text)) + text + whole[:at])


def trace_seeds(build, folder):
    model = folder / "model"
    subprocess.run([sys.executable, "-B",
                    HERE.parent / "helpers" / "random_model.py", "--dim",
                    "32", "--hidden", "32", "--layers", "2", "--heads", "2",
                    "--group", "16", model], check=True)
    trace = folder / "trace"
    run(build, "treekv-run", str(model), "--local", "--prompt",
        "It was a dark night.", "--record", str(trace),
        "--policy", "full")
    data = trace.read_bytes()
    for how in range(0, 256, 37):
        put("fuzz_trace", "how-%d" % how, bytes([how, 6, 17]) + data[:6000])


def sample_seeds(path):
    """What a daemon says of itself, as treekv-top puts it together."""
    peer = wire.connect(str(path))
    peer.sendall(wire.hello())
    wire.receive(peer)
    sample = wire.number(1, 1) + wire.number(2, 2) + wire.text(3, "sock") + \
        wire.text(5, "treekvd") + wire.number(6, 7) + wire.number(7, 1)
    put("fuzz_sample", "no-daemon", sample + wire.text(4, "no daemon"))
    # The request's number, the reply's field, the sample's.
    for kind, field, to in ((9, 8, 8), (7, 6, 9), (31, 31, 10),
                            (32, 32, 11)):
        peer.sendall(wire.request(kind, b""))
        sample += wire.text(to, wire.receive(peer)[field])
        put("fuzz_sample", "daemon-%d" % to, sample)
    peer.close()
    watch = wire.number(1, 1) + wire.text(2, "all") + wire.text(
        4, b"".join(wire.number(i, i) for i in range(1, 6))) + \
        wire.number(6, 0)
    put("fuzz_sample", "more", sample + wire.text(
        12, wire.number(1, 7) + wire.text(2, "treekvd")) + wire.text(
            13, wire.number(1, 0) + wire.text(2, "root")) + wire.text(
                15, watch))


def record_seeds(build, folder):
    env = dict(os.environ, TREEKV_SOCKET=str(folder / "sock"))
    daemon = subprocess.Popen(
        [build / "bin" / "treekvd", "--socket", folder / "sock",
         "--state-dir", folder / "state", "--huge-pages", "never"], env=env,
        stderr=subprocess.PIPE)
    try:
        for line in daemon.stderr:
            if b"serving" in line:
                break
        subprocess.run([build / "tests" / "helpers" / "kvwriter", "--cache",
                        "a", "--tokens", "300"], env=env, check=True,
                       stdout=subprocess.DEVNULL)
        sample_seeds(folder / "sock")
        path = folder / "record"
        top = subprocess.Popen(
            [build / "bin" / "treekv-top", "--no-ebpf", "--interval", "0.1",
             "--record", path], env=env, stdout=subprocess.DEVNULL)
        while not path.exists() or path.stat().st_size < RECORD:
            top.poll()
            if top.returncode is not None:
                sys.exit("treekv-top has ended")
        top.terminate()
        top.wait()
        put("fuzz_record", "record", path.read_bytes()[:RECORD])
    finally:
        daemon.terminate()
        daemon.wait()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build = pathlib.Path(sys.argv[1]).resolve()
    index_seeds()
    snapshot_seeds()
    message_seeds()
    words_seeds()
    control_seeds()
    config_seeds(build)
    with tempfile.TemporaryDirectory() as folder:
        model_seeds(build, pathlib.Path(folder))
        trace_seeds(build, pathlib.Path(folder))
        record_seeds(build, pathlib.Path(folder))


if __name__ == "__main__":
    main()
