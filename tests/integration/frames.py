# SPDX-License-Identifier: BSD-2-Clause
#
# Speaks to a daemon byte by byte: frames that no library of ours would send.
# Usage: frames.py SOCKET. One "ok" or "not ok" line a case; the daemon must
# serve a sound client after each.

import random
import socket
import struct
import sys

path = sys.argv[1]
failed = False


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n)


def text(field, data):
    data = data if isinstance(data, bytes) else data.encode()
    return varint(field << 3 | 2) + varint(len(data)) + data


def frame(body):
    return struct.pack("<I", len(body)) + body


def request(kind, body, ident=1):
    return frame(number(1, ident) + text(kind, body))


def hello(low=1, high=1):
    return request(2, number(1, low) + number(2, high))


def spec(**other):
    fields = {
        "model": b"m" * 32, "layers": 1, "kv_heads": 1, "k_row": 8,
        "v_row": 8, "dtype": 1, "policy": 1, "positions": 1,
        "budget": varint(8), "sinks": 1, "recent": 1, "slack": 4, "ids": 0,
    }
    fields.update(other)
    return b"".join(
        text(i, v) if isinstance(v, bytes) else number(i, v)
        for i, v in enumerate(fields.values(), 1))


def create(name, body=None):
    return request(3, text(1, name) + text(2, body or spec()))


def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(20)
    s.connect(path)
    return s


def read_exactly(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            return None
        data += more
    return data


def read_varint(data, at):
    n = shift = 0
    while True:
        n |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 128:
            return n, at


def receive(s):
    """A reply's fields by number, None at the end of the stream."""
    header = read_exactly(s, 4)
    if header is None:
        return None
    data = read_exactly(s, struct.unpack("<I", header)[0])
    fields, at = {}, 0
    while at < len(data):
        key, at = read_varint(data, at)
        n, at = read_varint(data, at)
        if key & 7 == 2:
            fields[key >> 3] = data[at:at + n]
            at += n
        else:
            fields[key >> 3] = n - (1 << 64) if n >> 63 else n
    return fields


def is_serving():
    s = connect()
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
    s = connect()
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
    s = connect()
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

s = connect()
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
    s = connect()
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
