# SPDX-License-Identifier: BSD-2-Clause
#
# Asks for leases as a library would that loses the answers: nonce.py SOCKET,
# of a daemon under a keeper. One "ok" or "not ok" line a case.

import os
import signal
import sys
import time

from wire import (connect, fields_of, hello, number, receive, request, spec,
                  text)

path = sys.argv[1]
failed = False


def case(name, good, what):
    global failed
    print(f"ok - {name}" if good else f"not ok - {name}: {what}")
    failed = failed or not good


def greeted():
    s = connect(path)
    s.sendall(hello())
    greeting = receive(s)
    return s, fields_of(greeting[4])[3]


def create(name, nonce, existing=False, ephemeral=False):
    return request(3, text(1, name) + text(2, spec()) + number(3, existing) +
                   number(4, ephemeral) + number(24, nonce))


def attach(name, nonce):
    return request(4, text(1, name) + number(24, nonce))


def detach(lease=0, nonce=0):
    return request(5, number(1, lease) + number(24, nonce))


def ask(sent):
    """Over a connection of its own: the answer."""
    s = greeted()[0]
    s.sendall(sent)
    reply = receive(s)
    s.close()
    return reply


def granted(reply):
    """(error, lease, created, name)"""
    body = fields_of(reply[5]) if 5 in reply else {}
    return reply[2], body.get(2), body.get(4), body.get(3)


def text_of(reply):
    return reply.get(3, b"").decode()


def in_a_child(sent):
    """The answer that another process gets."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.write(theirs, str(granted(ask(sent))[0]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    error = int(os.read(ours, 64))
    os.close(ours)
    os.close(theirs)
    return error


EBUSY, EEXIST = -16, -17

first = ask(create("a", 7))
lease = granted(first)[1]
again = ask(create("a", 7))
case("created again with the same nonce: the same lease",
     granted(first) == granted(again) and granted(again)[2] == 1,
     f"{granted(first)}, then {granted(again)}")
case("and with it by an attach, too", granted(ask(attach("a", 7)))[1] == lease,
     "another one")
other = ask(attach("a", 8))
case("another request of the same process does not get it",
     other[2] == EBUSY and "being written by process" in text_of(other), other)
case("nor one without a nonce",
     ask(request(4, text(1, "a")))[2] == EBUSY, "it does")
case("another create with EXCLUSIVE finds it there",
     ask(create("a", 9))[2] == EEXIST, "it does not")
case("another process does not get it, though it knows the nonce",
     in_a_child(attach("a", 7)) == EBUSY and
     in_a_child(create("a", 7, True)) == EBUSY, "it does")
case("another process cannot give it back",
     in_a_child(detach(nonce=7)) == 0 and ask(attach("a", 8))[2] == EBUSY,
     "it can")
case("its holder can", ask(detach(lease=lease))[2] == 0, "it cannot")

second = granted(ask(attach("a", 10)))
case("numbers of leases are never given again",
     second[0] == 0 and second[1] not in (0, lease), second)
case("it is not the one that made it", not second[2], second)
ask(detach(nonce=11))
case("another nonce gives nothing back",
     ask(attach("a", 12))[2] == EBUSY, "it does")
case("that of the lease does", ask(detach(nonce=10))[2] == 0 and
     in_a_child(attach("a", 13)) == 0, "it does not")

# A child that ended held it; it is free. Now the daemon ends.
third = granted(ask(attach("a", 14)))
made = granted(ask(create("b", 15, ephemeral=True)))
pid = greeted()[1]
os.kill(pid, signal.SIGKILL)
while True:
    try:
        if greeted()[1] != pid:
            break
    except (ConnectionError, TypeError):
        pass
case("the next daemon knows the nonce", granted(ask(attach("a", 14))) == third,
     "it does not")
case("and does not give its lease to another",
     ask(attach("a", 16))[2] == EBUSY and
     in_a_child(attach("a", 14)) == EBUSY, "it does")
case("who made an ephemeral cache has made it",
     granted(ask(create("b", 15, ephemeral=True))) == made, made)
nameless = [granted(ask(create("", 17))) for i in range(2)]
case("an anonymous cache is made once",
     nameless[0] == nameless[1] and nameless[0][0] == 0, nameless)

# Who has hung up by the time he is read asks again elsewhere, or not at all.
s, pid = greeted()
os.kill(pid, signal.SIGSTOP)
s.sendall(detach(nonce=14))
late = connect(path)
late.sendall(hello() + attach("a", 18))
late.close()
gone = connect(path)
gone.sendall(hello() + create("c", 19))
gone.close()
os.kill(pid, signal.SIGCONT)
receive(s)
until = time.monotonic() + 20
while True:
    # "c" is made and goes again, since nobody is there to have it
    made_c = ask(create("c", 20))
    if made_c[2] == 0 or time.monotonic() > until:
        break
case("a request whose connection is gone gets no lease",
     in_a_child(attach("a", 21)) == 0, "it holds one")
case("and leaves no cache", made_c[2] == 0, text_of(made_c))
sys.exit(failed)
