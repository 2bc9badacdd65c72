# SPDX-License-Identifier: BSD-2-Clause
#
# A daemon of an older version: what goes through to the one that runs is made
# unknown to it where an older one would not know it, so that it is that one's
# own refusal that comes back. Usage: top_relay.py DAEMON-SOCKET SOCKET

import socket
import struct
import sys
import threading

from wire import frame, number, read_exactly, read_varint, text

NEW = {31, 32, 33}  # workers, clients, kept
UNKNOWN = 400


def take_frame(s):
    header = read_exactly(s, 4)
    return header and read_exactly(s, struct.unpack("<I", header)[0])


def older(body):
    """A request, of which an older daemon knows no more than its id."""
    key, at = read_varint(body, 0)
    ident, at = read_varint(body, at)
    if key >> 3 != 1 or read_varint(body, at)[0] >> 3 not in NEW:
        return frame(body)
    return frame(number(1, ident) + text(UNKNOWN, b""))


def serve(client):
    daemon = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    daemon.connect(sys.argv[1])
    while True:
        body = take_frame(client)
        if body is None:
            return
        daemon.sendall(older(body))
        reply = take_frame(daemon)
        if reply is None:
            return
        client.sendall(frame(reply))


listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(sys.argv[2])
listener.listen(8)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],),
                     daemon=True).start()
