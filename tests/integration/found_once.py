# SPDX-License-Identifier: BSD-2-Clause
#
# A writer whose prompt waits its turn lies, and rings: the worker finds that
# out at once, and again when it comes to the prompt. Prints the answer to that.
# Usage: found_once.py SOCKET

import mmap
import os
import socket
import struct
import sys

from wire import (connect, fields_of, hello, number, receive, request, spec,
                  text, varint)

COMMIT, SEEN = 128, 384  # struct shm_rows


def greeted():
    s = connect(sys.argv[1])
    s.sendall(hello())
    receive(s)
    return s


class Writer:
    def __init__(self, name, layers, **other):
        self.layers = layers
        self.s = greeted()
        self.s.sendall(request(3, text(1, name) +
                               text(2, spec(layers=layers, **other))))
        data, (rows, _, self.bell), _, _ = socket.recv_fds(self.s, 65536, 3)
        reply = fields_of(data[4:])
        if reply[2]:
            sys.exit(reply[3].decode())
        self.lease = fields_of(reply[5])[2]
        self.rows = mmap.mmap(rows, os.fstat(rows).st_size)
        self.store(SEEN, 1)

    def store(self, at, word):
        self.rows[at:at + 8] = struct.pack("<Q", word)

    def ask(self):
        """For a prompt of one token, which is in slot 0 of every head."""
        ones = b"\x01" * self.layers
        self.s.sendall(request(40, number(1, self.lease) + number(2, 1) +
                               text(3, ones) + text(4, ones)))


# The prompts of a worker are committed one after the other.
long = Writer("long", 16, kv_heads=32, budget=varint(16000))
liar = Writer("liar", 1)
long.ask()
liar.ask()
other = greeted()
other.sendall(request(9, b""))
receive(other)  # both have been heard
liar.store(COMMIT, 1 << 41)
os.write(liar.bell, struct.pack("<Q", 1))
long = receive(long.s)
if long[2]:
    sys.exit(long[3].decode())
print(receive(liar.s)[3].decode())
