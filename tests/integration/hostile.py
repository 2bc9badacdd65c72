# SPDX-License-Identifier: BSD-2-Clause
#
# A client that means harm and needs no library of ours for it. Each part does
# its worst and prints one line, "PART: ..."; what the daemon owes even to such a
# client (an answer or the end of the connection, with a reason) is checked here,
# what it owes to the others by who starts this.
#
# Usage: hostile.py SOCKET PROTO UID PART, PART one of those below. PROTO is
# treekv.proto: every field of every request is meant, also of those to come.
# It becomes that user first.

import array
import errno
import fcntl
import mmap
import os
import random
import re
import resource
import socket
import struct
import sys

from wire import (connect, create, fields_of, frame, hello, number, read_exactly,
                  request, spec, text, varint)

PATH = sys.argv[1]
LARGE = 1 << 20  # the cap on a request
COMMIT, HEAD, SEEN, NOTE = 128, 256, 384, 512  # struct shm_rows


class Failed(Exception):
    pass


# ---- messages, from the description of the protocol

def read_proto(path):
    """Of each message its fields: number, label, type and name."""
    messages, name = {}, None
    for line in open(path, encoding="utf-8"):
        line = line.split("//")[0]
        start = re.match(r"message (\w+)", line)
        if start:
            name = start[1]
            messages[name] = []
        field = re.match(
            r"\s+(?:(required|optional|repeated)\s+)?(\w+) (\w+) = (\d+)", line)
        if field and name:
            messages[name].append(
                (int(field[4]), field[1], field[2], field[3]))
    return messages


NUMBERS = (0, 1, 2, 8, 127, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32,
           1 << 41, 1 << 63, (1 << 64) - 1)
TEXTS = (b"", b"\0", b"h", b"a" * 127, b"a" * 128, b"a" * 5000, b"a" * 500000,
         b"/", b"..", b"../../../etc/passwd", b"@/x", b"~/x", b"@0/x", b"~0/x",
         b"~4294967295/x", b"@4294967296/x", b"~99999999999999999999/x",
         b"~00/x", b"a/b/c", b"%s%n%d", b"a\nb", b"\xff\xfe", b"\x1b[2J")
LISTS = (b"", varint(0), varint((1 << 64) - 1), varint(8) * 2,
         varint(8) * 513, varint(1) * 400000, b"\xff", b"\x80" * 11)
USUAL = {
    "name": text(1, "h"), "ids": bytes(16), "kind": b"bytes", "parent": b"p",
    "model": b"m" * 32, "program": b"x", "edge": varint(0) + varint(8),
    "live": varint(8), "walk": varint(1), "budget": varint(8),
}


def usual(messages, field):
    """What a sound client would say there."""
    _, _, kind, name = field
    if kind == "Spec":
        return spec()
    if kind in messages:
        return sound(messages, kind)
    if name == "name":
        return b"h"
    if name in USUAL:
        return USUAL[name]
    if kind in ("string", "bytes"):
        return b"x"
    return {"mode": 0o600, "tail": 8, "last": 1}.get(name, 1)


def put(field, value):
    return text(field[0], value) if isinstance(value, bytes) else number(
        field[0], value)


def sound(messages, name, but=None, instead=b""):
    """All required fields, and @but with @instead for it."""
    out = b""
    for field in messages[name]:
        if field == but:
            out += instead
        elif field[1] == "required":
            out += put(field, usual(messages, field))
    return out


def wrong_wire(field):
    """A field of every type that the format knows, and does not."""
    for wire in range(8):
        key = varint(field[0] << 3 | wire)
        for rest in (b"", b"\x01", b"\xff" * 11, b"\x08" + b"x" * 8,
                     b"\xff\xff\xff\xff\x0f"):
            yield key + rest


def bad_values(messages, field):
    """Everything that may stand there and should not, encoded."""
    _, label, kind, _ = field
    yield b""
    yield put(field, usual(messages, field)) * 2
    yield from wrong_wire(field)
    if kind in messages:
        yield put(field, b"")
        yield put(field, random.randbytes(50))
        for inner in messages[kind]:
            for bad in bad_values(messages, inner):
                yield put(field, sound(messages, kind, inner, bad))
        return
    if kind in ("string", "bytes"):
        values = TEXTS
    elif label == "repeated":
        values = NUMBERS + LISTS
    else:
        values = NUMBERS
    for value in values:
        yield put(field, value)


def bodies(messages):
    """Of each request: its number, and each message that it should not be."""
    for field in messages["Request"]:
        n, _, kind, _ = field
        if kind not in messages:
            continue
        whole = sound(messages, kind)
        for cut in range(len(whole) + 1):
            yield n, whole[:cut]
        yield n, whole + b"\xfa\x7f\x02hi"  # a field to come
        yield n, random.randbytes(300)
        for inner in messages[kind]:
            for bad in bad_values(messages, inner):
                yield n, sound(messages, kind, inner, bad)


# ---- speaking

def receive(s):
    """A reply and its descriptors; None at the end."""
    header, fds = b"", []
    while len(header) < 4:
        more, new, _, _ = socket.recv_fds(s, 4 - len(header), 8)
        fds += new
        if not more:
            return None, fds
        header += more
    body = read_exactly(s, struct.unpack("<I", header)[0])
    return (None if body is None else fields_of(body)), fds


def send(s, data):
    """Who has been cut off need not be told."""
    try:
        s.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def answer(data, what):
    """The answer to it, None if he hangs up; it is one or the other."""
    s = connect(PATH)
    try:
        send(s, hello() + data)
        receive(s)
        reply, fds = receive(s)
    except ConnectionResetError:
        return None
    except TimeoutError:
        raise Failed(f"no answer to {what}") from None
    finally:
        s.close()
    for fd in fds:
        os.close(fd)
    if reply and reply[2] and not reply.get(3):
        raise Failed(f"refused without a word: {what}")
    if reply and not reply[2] and 5 in reply:
        let_go(fields_of(reply[5]))
    return reply


def let_go(attached):
    """Of what it has been given after all."""
    if attached.get(2):
        answer(request(5, number(1, attached[2])), "detach")
    answer(request(6, text(1, "") + number(40, attached[1])), "drop")


def messages_part():
    messages = read_proto(sys.argv[2])
    count = {"served": 0, "refused": 0, "cut off": 0}
    for n, body in bodies(messages):
        reply = answer(request(n, body), f"request {n} {body[:80]}")
        count["cut off" if reply is None else
              "refused" if reply[2] else "served"] += 1
    for n in list(range(66, 80)) + [536870911, 0]:
        answer(frame(number(1, 1) + text(n, b"")), f"unknown body {n}")
    for data in (b"", b"\xff" * 40, text(3, b"x"), number(1, 1) * 3,
                 random.randbytes(LARGE - 1), b"\x0a" * LARGE):
        answer(frame(data), "no request")
    print("messages:", ", ".join(f"{n} {k}" for k, n in count.items()))


def framing_part():
    """Lengths that lie, bytes by the drop, the wrong order, half-closes."""
    n = 0
    for length in (LARGE + 1, 0x7fffffff, 0xffffffff):
        s = connect(PATH)
        send(s, hello() + struct.pack("<I", length) + b"x" * 100)
        receive(s)
        reply, _ = receive(s)
        if not reply or not reply.get(3) or receive(s)[0] is not None:
            raise Failed(f"a length of {length} is taken")
        s.close()
        n += 1
    for length in (0, 1, 4, 100, LARGE):
        for sent in (0, 1, 3, 5, 50):
            for how in (socket.SHUT_WR, socket.SHUT_RD, socket.SHUT_RDWR, None):
                s = connect(PATH)
                send(s, (struct.pack("<I", length) + b"\x08" * sent)[:sent + 3])
                try:
                    if how is not None:
                        s.shutdown(how)
                except OSError as e:
                    if e.errno != errno.ENOTCONN:
                        raise
                s.close()
                n += 1
    s = connect(PATH)
    for byte in hello() + request(9, b""):
        s.send(bytes([byte]))
    if receive(s)[0][2] or receive(s)[0][2]:
        raise Failed("what comes byte by byte is not served")
    s = connect(PATH)
    send(s, request(9, b""))
    reply, _ = receive(s)
    if not reply[2] or receive(s)[0] is not None:
        raise Failed("no Hello is needed")
    s = connect(PATH)
    send(s, hello() * 100 + request(9, b"") * 100)
    s.shutdown(socket.SHUT_WR)
    while receive(s)[0] is not None:
        n += 1
    print(f"framing: {n} connections and answers")


# ---- shared memory

class Cache:
    def __init__(self, name, **other):
        self.s = connect(PATH)
        self.s.sendall(hello() + create(name, spec(**other)))
        receive(self.s)
        reply, self.fds = receive(self.s)
        if reply[2]:
            raise Failed(reply[3].decode())
        self.attached = fields_of(reply[5])
        self.rows, self.index, self.bell = self.fds[:3]
        self.size = os.fstat(self.rows).st_size
        self.map = mmap.mmap(self.rows, self.size)
        os.set_blocking(self.bell, False)

    def store(self, at, word):
        struct.pack_into("<Q", self.map, at, word & (1 << 64) - 1)

    def ring(self, n=1):
        for _ in range(n):
            try:
                os.write(self.bell, struct.pack("<Q", 1))
            except BlockingIOError:
                return

    def end(self):
        self.map.close()
        for fd in self.fds:
            os.close(fd)
        self.s.close()
        let_go(self.attached)


def refused_with(errors, what, call):
    try:
        call()
    except (OSError, ValueError) as e:
        if getattr(e, "errno", None) in errors:
            return
        raise Failed(f"{what}: {e}") from None
    raise Failed(f"{what} is not refused")


def reopen(fd):
    os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR))


def descriptors_given(cache):
    """He can do nothing with the index but read, nor resize what he has."""
    no = (errno.EPERM, errno.EACCES, errno.EBADF, errno.EINVAL)
    for fd in (cache.rows, cache.index):
        for size in (0, cache.size * 2):
            refused_with(no, f"ftruncate {size}",
                         lambda f=fd, n=size: os.ftruncate(f, n))
    refused_with(no, "a writable index",
                 lambda: mmap.mmap(cache.index, 4096, mmap.MAP_SHARED,
                                   mmap.PROT_READ | mmap.PROT_WRITE))
    refused_with(no, "an index reopened", lambda: reopen(cache.index))
    refused_with(no, "a seal on the index",
                 lambda: fcntl.fcntl(cache.index, fcntl.F_ADD_SEALS,
                                     fcntl.F_SEAL_WRITE))
    refused_with(no, "a write to the index",
                 lambda: os.pwrite(cache.index, b"x" * 4096, 0))


def whole_garbage(cache, rng):
    cache.map[:] = rng.randbytes(cache.size)


def all_ones(cache, _):
    cache.map[:] = b"\xff" * cache.size


def holes(cache, rng):
    for _ in range(20):
        at = rng.randrange(cache.size // 4096) * 4096
        cache.map.madvise(mmap.MADV_REMOVE, at, 4096)


def one_hole(cache, _):
    cache.map.madvise(mmap.MADV_REMOVE, 0, cache.size // 4096 * 4096)


def sealed(cache, _):
    for seal in (fcntl.F_SEAL_WRITE, 0x0010, fcntl.F_SEAL_SEAL):
        try:
            fcntl.fcntl(cache.rows, fcntl.F_ADD_SEALS, seal)
        except OSError:
            pass


def words(at):
    def store(cache, rng):
        for word in (0, 1, 2, 3, 1 << 41, 1 << 63, (1 << 64) - 1,
                     rng.getrandbits(64)):
            cache.store(at, word)
            cache.ring()
    return store


def bells(cache, _):
    cache.ring(100000)
    for word in ((1 << 64) - 2, 1 << 63, 1):
        try:
            os.write(cache.bell, struct.pack("<Q", word))
        except BlockingIOError:
            pass


def racing(cache, rng):
    """Every word another one each time that somebody looks."""
    for i in range(3000):
        for at in (COMMIT, HEAD, SEEN):
            cache.store(at, rng.choice((0, 2, 8, 9, 16, 1 << 40, i)))
        cache.ring()


DEEDS = (whole_garbage, all_ones, holes, one_hole, sealed, bells, racing,
         *(words(at) for at in (COMMIT, HEAD, SEEN, NOTE)))


def memory_part():
    rng = random.Random(6)
    n = 0
    for shape in ({}, {"layers": 3, "kv_heads": 5, "k_row": 4096,
                       "v_row": 4096, "budget": varint(100), "ids": 50}):
        for deed in DEEDS:
            name = f"m{os.getpid()}.{n}"
            cache = Cache(name, **shape)
            descriptors_given(cache)
            deed(cache, rng)
            cache.ring()
            for kind, body in ((8, text(1, name)), (7, b""),
                               (20, text(1, name)), (60, text(1, name)),
                               (33, number(1, cache.attached[1]) +
                                text(2, varint(0) + varint(8))),
                               (40, number(1, cache.attached[2]) +
                                number(2, 8) + text(3, varint(8)) +
                                text(4, varint(1))),
                               (50, text(1, name) +
                                number(2, cache.attached[2]))):
                answer(request(kind, body), f"request {kind} on garbage")
            cache.end()
            n += 1
    print(f"memory: {n} caches")


# ---- floods, crowds, descriptors

def floods_part():
    """Requests without end, whose answers nobody reads."""
    flood = request(7, b"") + request(9, b"") + request(32, b"") + \
        create("flood" * 20) + request(52, text(1, spec()) + text(2, bytes(4000)))
    held, sent = [], 0
    for _ in range(40):
        s = connect(PATH)
        s.setblocking(False)
        held.append(s)
        data = hello() + flood * 200
        try:
            for _ in range(50):
                sent += s.send(data)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
    for s in held[::2]:
        s.shutdown(socket.SHUT_WR)
    for s in held[::3]:
        s.shutdown(socket.SHUT_RD)
    answer(request(9, b""), "a request beside the flood")
    for s in held:
        s.close()
    answer(request(6, text(1, "flood" * 20)), "drop")
    print(f"floods: {sent} bytes on {len(held)} connections")


def descriptors_part():
    """Descriptors that nobody has asked for, the connection's own included."""
    n = 0
    for batch in range(30):
        s = connect(PATH)
        a, b = socket.socketpair(socket.AF_UNIX)
        memfd = os.memfd_create("x")
        fds = [s.fileno(), a.fileno(), b.fileno(), memfd, 0,
               os.open("/dev/zero", os.O_RDWR)] * (1 if batch % 2 else 40)
        fds = fds[:250]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                   array.array("i", fds))]
        a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                            array.array("i", [b.fileno()]))])
        data = hello() + create("f") if batch % 3 else request(6, text(1, "f"))
        for part in (data[:2], data[2:9], data[9:]):
            try:
                s.sendmsg([part], rights)
                n += len(fds)
            except OSError as e:
                if e.errno not in (errno.EPIPE, errno.ECONNRESET,
                                   errno.ETOOMANYREFS):
                    raise
        try:
            while receive(s)[0] and batch % 2:
                break
        except ConnectionResetError:
            pass
        for fd in {memfd, fds[5]}:
            os.close(fd)
        for end in (s, a, b):
            end.close()
    answer(request(6, text(1, "f")), "drop")
    print(f"descriptors: {n} sent")


def crowd_part():
    """A thousand connections, each with half a request."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
    held, turned_away = [], 0
    for i in range(1000):
        s = connect(PATH)
        send(s, hello())
        held.append(s)
        try:
            reply, _ = receive(s)
        except ConnectionResetError:
            reply = None
        if reply and not reply[2]:
            send(s, struct.pack("<I", 4000) + b"x" * (i % 4000))
        elif reply and b"is at the limit" not in reply.get(3, b""):
            raise Failed(f"turned away with {reply}")
        else:
            turned_away += 1
    print(f"crowd: {len(held) - turned_away} let in, {turned_away} turned away")
    for s in held:
        s.close()


def hoard_part():
    """Large requests that lack their last byte."""
    held, refused = [], 0
    for _ in range(200):
        s = connect(PATH)
        send(s, hello())
        receive(s)
        send(s, struct.pack("<I", LARGE) + bytes(LARGE - 1))
        held.append(s)
    for s in held:
        s.setblocking(False)
        try:
            reply, _ = receive(s)
        except BlockingIOError:
            continue
        except ConnectionResetError:  # before he has read why
            reply = {3: b"MiB of requests at once"}
        if not reply or b"MiB of requests at once" not in reply.get(3, b""):
            raise Failed(f"a large request is answered {reply}")
        refused += 1
    if not 100 < refused < 200:
        raise Failed(f"{refused} of {len(held)} are refused")
    print(f"hoard: {len(held)} connections, {refused} of them refused")
    for s in held:
        s.close()


def ceaseless_part():
    """All of it, until somebody ends it; for who measures what that costs."""
    print("ceaseless", flush=True)
    with open(os.devnull, "w", encoding="utf-8") as sys.stdout:
        while True:
            for part in (framing_part, floods_part, messages_part, memory_part,
                         descriptors_part):
                part()


PARTS = {
    "messages": messages_part,
    "framing": framing_part,
    "memory": memory_part,
    "floods": floods_part,
    "descriptors": descriptors_part,
    "crowd": crowd_part,
    "hoard": hoard_part,
    "ceaseless": ceaseless_part,
}

if __name__ == "__main__":
    random.seed(8)
    os.setgroups([])
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))
    try:
        PARTS[sys.argv[4]]()
    except Failed as failure:
        sys.exit(f"{sys.argv[4]}: {failure}")
