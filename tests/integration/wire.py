# SPDX-License-Identifier: BSD-2-Clause
#
# What the tests that speak to a daemon byte by byte share: frames out, the
# fields of replies in.

import socket
import struct


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


def connect(path):
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


def pairs_of(data):
    """A message's fields in order: numbers and values."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        n, at = read_varint(data, at)
        if key & 7 == 2:
            yield key >> 3, data[at:at + n]
            at += n
        else:
            yield key >> 3, n - (1 << 64) if n >> 63 else n


def fields_of(data):
    """A message's fields by number, the last one of each."""
    return dict(pairs_of(data))


def receive(s):
    """A reply's fields by number, None at the end of the stream."""
    header = read_exactly(s, 4)
    if header is None:
        return None
    return fields_of(read_exactly(s, struct.unpack("<I", header)[0]))
