# SPDX-License-Identifier: BSD-2-Clause
#
# Maps of kept tokens that no client of ours would ask for.
# Usage: top_frames.py SOCKET [ID UID]: as that user, who may not see the cache.

import os
import sys

from wire import (connect, fields_of, frame, hello, number, receive, request,
                  text, varint)

KEPT = 33
path = sys.argv[1]
failed = False


def case(name, wrong):
    global failed
    print(f"not ok - {name}: {wrong}" if wrong else f"ok - {name}")
    failed = failed or bool(wrong)


def kept(cache, edges, groups=None):
    return request(KEPT, number(1, cache)
                   + text(2, b"".join(varint(e) for e in edges))
                   + (number(3, groups) if groups is not None else b""))


def ask(sent):
    s = connect(path)
    s.sendall(hello())
    receive(s)
    s.sendall(sent)
    reply = receive(s)
    s.sendall(request(9, b""))  # it serves on, over this very connection
    if reply is not None and receive(s)[2]:
        reply = None
    s.close()
    return reply


def refused(name, sent, words):
    reply = ask(sent)
    text_of = reply.get(3, b"").decode() if reply else "nothing"
    case(name, None if reply and reply[2] and words in text_of else text_of)


def answered(name, sent):
    reply = ask(sent)
    good = reply and not reply[2] and KEPT in reply
    case(name, None if good else reply)


if len(sys.argv) > 2:
    os.setgroups([])
    os.setuid(int(sys.argv[3]))
    refused("another user's map is refused", kept(int(sys.argv[2]), [0, 9]),
            "there is no cache")
    sys.exit(failed)

s = connect(path)
s.sendall(hello() + request(7, b""))
receive(s)
one = fields_of(fields_of(receive(s)[6])[1])[1]  # the last cache's id
s.close()
EDGES = "a map takes 2 to 513 rising edges and 1 to 64 groups"
refused("a map of no cache", kept(1 << 60, [0, 10]), "there is no cache")
refused("no edges", kept(one, []), EDGES)
refused("one edge", kept(one, [5]), EDGES)
refused("too many edges", kept(one, range(514)), EDGES)
refused("edges that fall", kept(one, [0, 9, 8]), EDGES)
refused("edges that stand still", kept(one, [0, 9, 9]), EDGES)
refused("no groups", kept(one, [0, 9], 0), EDGES)
refused("too many groups", kept(one, [0, 9], 65), EDGES)
answered("edges beyond the sequence", kept(one, [1 << 62, (1 << 64) - 1]))
answered("as many edges as there may be", kept(one, range(513), 64))

# Whoever hangs up before he is answered does no harm.
for _ in range(50):
    s = connect(path)
    s.sendall(hello() + kept(one, range(513), 64))
    s.close()
answered("many who do not wait for theirs", kept(one, [0, 10]))
sys.exit(failed)
