# SPDX-License-Identifier: BSD-2-Clause
#
# Speaks to a daemon byte by byte: frames that no library of ours would send.
# Usage: frames.py SOCKET. One "ok" or "not ok" line a case; the daemon must
# serve a sound client after each.

import random
import socket
import struct
import sys

from wire import (connect, create, frame, hello, number, receive, request,
                  spec, text, varint)

path = sys.argv[1]
failed = False


def is_serving():
    s = connect(path)
    s.sendall(hello() + request(9, b""))
    sound = receive(s)[2] == 0 and receive(s)[2] == 0
    s.close()
    return sound


def case(name, wrong):
    global failed
    if not wrong and not is_serving():
        wrong = "the daemon does not serve any more"
    print(f"not ok - {name}: {wrong}" if wrong else f"ok - {name}")
    failed = failed or bool(wrong)


def refused(name, sent, words, closes=False, greet=True):
    """What is sent is answered with an error that has these words."""
    s = connect(path)
    if greet:
        s.sendall(hello())
        receive(s)
    s.sendall(sent)
    reply = receive(s)
    wrong = None
    if reply is None:
        wrong = "closed without a word"
    elif not reply[2] or words not in reply.get(3, b"").decode():
        wrong = f"answers {reply}, not '{words}'"
    elif closes and receive(s) is not None:
        wrong = "the connection stays"
    s.close()
    case(name, wrong)


def vanish(name, sent):
    s = connect(path)
    s.sendall(sent)
    s.close()
    case(name, None)


refused("a length over the cap", struct.pack("<I", 1 << 20 | 1),
        "a request of 1048577 bytes is over the cap of 1048576 bytes",
        closes=True)
refused("a length of 4 GiB", b"\xff\xff\xff\xff",
        "a request of 4294967295 bytes is over the cap", closes=True)
refused("a body that is no message", frame(b"\xff" * 40),
        "a request of 40 bytes is malformed: it is not a treekv.Request",
        closes=True)
refused("an empty body", frame(b""), "a request of 0 bytes is malformed",
        closes=True)
refused("a message cut short", frame(create("x")[4:-3]), "is malformed",
        closes=True)
refused("a message that unpacks to very much",
        frame(number(1, 1) + number(50, 0) * 300000), "unpacks to more than",
        closes=True)
refused("a request before hello", request(7, b""),
        "the first request of a connection must be Hello", closes=True,
        greet=False)
refused("a newer version only", hello(2, 9),
        "the client speaks protocol 2 to 9, this treekvd (0.1.0) 1 to 1: "
        "upgrade the older one", closes=True, greet=False)
refused("an older version only", hello(0, 0),
        "the client speaks protocol 0 to 0", closes=True, greet=False)
refused("a request of the future", frame(number(1, 1) + text(77, b"?")),
        "does not know this request")
for name in "", "a/b", "a b", "a\nb", "a\x7f", "ä", "x" * 128:
    if name:
        refused(f"the name {name!a:.20}", create(name),
                "a cache's name is 1 to 127 bytes of printable ASCII")
refused("0 layers", create("x", spec(layers=0)), "layers")
refused("513 layers", create("x", spec(layers=513)), "layers")
refused("0 kv heads", create("x", spec(kv_heads=0)),
        "kv_heads is 0, but must be 1 to 512")
refused("4 Gi kv heads", create("x", spec(kv_heads=0xffffffff)),
        "kv_heads is 4294967295")
refused("a row of 65537 bytes", create("x", spec(k_row=65537)),
        "k_row (bytes) is 65537, but must be 1 to 65536")
refused("policy 99", create("x", spec(policy=99)), "policy")
refused("dtype 0", create("x", spec(dtype=0)), "dtype")
refused("positions 3", create("x", spec(positions=3)), "positions")
refused("no slack", create("x", spec(slack=0)), "slack is 0")
refused("a model hash of 31 bytes", create("x", spec(model=b"m" * 31)),
        "model")
refused("two budgets for three layers",
        create("x", spec(layers=3, budget=varint(8) + varint(9))), "budget")
refused("a budget without room to select",
        create("x", spec(sinks=4, recent=4)), "do not fit into it")
refused("sinks + recent beyond 2^32",
        create("x", spec(sinks=0xffffff, recent=0xffffff)),
        "do not fit into it")
refused("rows beyond any memory", create("x", spec(
    layers=512, kv_heads=512, k_row=65536, v_row=65536,
    budget=varint(1 << 23), sinks=0, recent=0)), "the pool is used up")
refused("no such cache", request(4, text(1, "nothing")),
        "there is no cache nothing")
refused("somebody else's lease", request(5, number(1, 999)),
        "you hold no lease 999")
vanish("half a length and gone", b"\x10\x00")
vanish("half a body and gone", hello() + create("x")[:-5])
vanish("gone before the reply", hello() + request(7, b""))
vanish("gone amid many replies", hello() + request(9, b"") * 2000)

s = connect(path)
for byte in hello() + request(9, b"", 7):
    s.sendall(bytes([byte]))
receive(s)
reply = receive(s)
case("a frame that comes byte by byte",
     None if reply[1] == 7 and reply[2] == 0 else f"answers {reply}")
s.sendall(b"".join(request(9, b"", i) for i in range(200)))
order = [receive(s)[1] for i in range(200)]
case("replies keep the order of requests",
     None if order == list(range(200)) else f"{order}")
s.close()

rng = random.Random(1)
for _ in range(300):
    s = connect(path)
    sound = hello() + create("fuzz") + request(7, b"")
    bad = bytearray(sound)
    for _ in range(rng.randrange(1, 6)):
        bad[rng.randrange(4, len(bad))] = rng.randrange(256)
    try:
        s.sendall(bytes(bad))
        s.shutdown(socket.SHUT_WR)
        while s.recv(65536):
            pass
    except (BrokenPipeError, ConnectionResetError):
        pass
    s.close()
case("300 requests with changed bytes", None)
sys.exit(failed)
