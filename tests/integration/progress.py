# SPDX-License-Identifier: BSD-2-Clause
#
# Attaches to a cache byte by byte and prints every reply: before the answer
# there may be some that say how far the daemon is with restoring it.
# Usage: progress.py SOCKET NAME

import sys

from wire import connect, fields_of, hello, number, receive, request, text

s = connect(sys.argv[1])
s.sendall(hello() + request(4, text(1, sys.argv[2]) + number(22, 1)))
receive(s)
while True:
    reply = receive(s)
    if reply is None:
        sys.exit("the daemon hung up")
    if reply[2]:
        sys.exit("refused: " + reply[3].decode())
    if 22 in reply:
        progress = fields_of(reply[22])
        print("progress", progress[1], "of", progress[2])
    elif 5 in reply:
        print("attached", fields_of(reply[5])[3].decode())
        break
