# SPDX-License-Identifier: BSD-2-Clause
"""Who comes first to a daemon whose predecessor was killed, and nobody after.

usage: first_peers.py SOCKET DEATHS. Each successor is asked three times, once
at a time: a peer whom it does not notice waits for another one who never comes.
"""
import os
import signal
import socket
import sys

from wire import connect, fields_of, hello, receive


def greeted(path):
    """The process that serves; None: it died before it answered."""
    with connect(path) as s:
        s.settimeout(20)
        try:
            s.sendall(hello())
            return fields_of(receive(s)[4])[3]
        except (ConnectionError, TypeError):
            return None


def main():
    path, deaths = sys.argv[1], int(sys.argv[2])
    pid = greeted(path)
    for death in range(deaths):
        os.kill(pid, signal.SIGKILL)
        dead, peers = pid, 0
        while peers < 3:
            try:
                pid = greeted(path)
            except (TimeoutError, socket.timeout):
                sys.exit(f"death {death}: peer {peers} of the next daemon "
                         "was not answered")
            peers += pid not in (None, dead)


main()
