# SPDX-License-Identifier: BSD-2-Clause
#
# Limits that no program of ours goes beyond. The exit status tells.
#
# limits.py request SOCKET BYTES    a request of one byte more is refused
# limits.py metrics SOCKET AT N     a client behind N others waits

import select
import socket
import struct
import sys

from wire import connect, hello, receive


def request(path, most):
    s = connect(path)
    s.sendall(hello())
    receive(s)
    s.sendall(struct.pack("<I", most + 1))
    reply = receive(s)
    said = reply.get(3, b"").decode() if reply else "nothing"
    words = f"{most + 1} bytes is over the cap of {most} bytes"
    if words not in said:
        sys.exit(f"says '{said}', not '{words}'")


# The daemon answers others meanwhile, by the same thread: it has had its turn.
def metrics(path, at, most):
    others = [connect(at) for _ in range(most)]
    for s in others:
        s.sendall(b"GET /metrics HT")
    last = connect(at)
    last.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    for _ in range(20):
        s = connect(path)
        s.sendall(hello())
        receive(s)
        s.close()
    if select.select([last], [], [], 0)[0]:
        sys.exit(f"{most + 1} clients are served at once")
    others.pop().close()
    last.settimeout(30)
    if not last.recv(20).startswith(b"HTTP/1"):
        sys.exit("whoever waited is not served")


def main():
    if sys.argv[1] == "request":
        request(sys.argv[2], int(sys.argv[3]))
    else:
        metrics(sys.argv[2], sys.argv[3], int(sys.argv[4]))


socket.setdefaulttimeout(30)
main()
