# SPDX-License-Identifier: BSD-2-Clause
#
# What is answered before what, while large caches come and go: large.py SOCKET.
# One "ok" or "not ok" line a case. Whether somebody can get in between is a
# matter of chance on a machine that is busy, so each has a few tries.

import select
import sys

from wire import (connect, fields_of, hello, number, receive, request, spec,
                  text, varint)

path = sys.argv[1]
failed = False
TRIES = 10

# 268 MiB of index and 300 MiB of rows: the pool has room for one.
LARGE = spec(layers=16, kv_heads=8, k_row=1, v_row=1, budget=varint(131056),
             slack=16)


def case(name, good, what="it is not so"):
    global failed
    print(f"ok - {name}" if good else f"not ok - {name}: {what}")
    failed = failed or not good


def greeted():
    s = connect(path)
    s.sendall(hello())
    receive(s)
    return s


def create(name, body=None, ephemeral=False):
    return request(3, text(1, name) + text(2, body or spec()) +
                   number(4, ephemeral))


def detach(reply):
    return request(5, number(1, fields_of(reply[5])[2]))


def drop(name):
    return request(6, text(1, name))


def ask(s, sent):
    s.sendall(sent)
    return receive(s)


def waits(s):
    return not select.select([s], [], [], 0)[0]


def states(s):
    """Of each cache: fields 2 and 5 of what a list repeats as field 1."""
    data, found, at = ask(s, request(7, b"")).get(6, b""), {}, 0
    while at < len(data):
        at += 1
        size = shift = 0
        while True:
            size |= (data[at] & 127) << shift
            shift += 7
            at += 1
            if not data[at - 1] & 128:
                break
        info = fields_of(data[at:at + size])
        found[info[2].decode()] = info[5].decode()
        at += size
    return found


def between(one, other, sent, before):
    """Is the other served after @sent is under way and before its answer?"""
    one.sendall(sent)
    while waits(one):
        if before(other):
            small = ask(other, create("small"))
            served = (small[2] == 0 and ask(other, detach(small))[2] == 0 and
                      ask(other, drop("small"))[2] == 0)
            if served and waits(one):
                return True
    return False


def is_creating(s):
    return states(s).get("large") == "creating"


one, other = greeted(), greeted()
made = dropped = 0
for _ in range(TRIES):
    made += between(one, other, create("large", LARGE), is_creating)
    reply = receive(one)
    if reply[2]:
        case("a large cache is made", False, reply)
        break
    ask(one, detach(reply))
    dropped += between(one, other, drop("large"), lambda s: True)
    receive(one)
    if made and dropped:
        break
case("others are served while a large cache is made", made > 0)
case("and while one is given back", dropped > 0)

# Answered in the order of asking, so that nothing but the room is in doubt.
reply = ask(one, create("large", LARGE, ephemeral=True))
one.sendall(detach(reply) + create("next", LARGE))
detached, following = receive(one), receive(one)
case("who asks for the room of a cache that leaves has it",
     detached[2] == 0 and following[2] == 0, following)
refusal = ask(other, create("large", LARGE))
case("where none leaves he is refused",
     refusal[2] == -28 and b"the pool is used up" in refusal[3], refusal)
late = greeted()
one.sendall(detach(following) + drop("next"))
late.sendall(create("large", LARGE))
late.close()
case("whoever has hung up meanwhile is forgotten",
     receive(one)[2] == 0 and receive(one)[2] == 0 and
     not states(other).get("large") == "writing")

# Its creator gets it all the same, and then it ends with him.
for _ in range(TRIES):
    one.sendall(create("large", LARGE))
    while waits(one) and not is_creating(other):
        pass
    gone = ask(other, drop("large"))
    early = waits(one)
    reply = receive(one)
    ended = ask(one, detach(reply)) if reply[2] == 0 else reply
    if early:
        break
case("one is dropped while it is made", early and gone[2] == 0, gone)
case("its creator has it", reply[2] == 0 and ended[2] == 0, reply)
reply = ask(one, create("large", LARGE))
case("and its name and its room are free", reply[2] == 0, reply)
sys.exit(failed)
