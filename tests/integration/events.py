# SPDX-License-Identifier: BSD-2-Clause
#
# Follows events byte by byte, as no library of ours would: not reading, asking
# other things meanwhile, hanging up. Usage: events.py SOCKET.

import sys

import wire
from wire import fields_of, hello, number, pairs_of, receive, request, text

path = sys.argv[1]
failed = False

STATS, DROP, SNAPSHOT, EVENTS = 9, 6, 20, 30
EBUSY = 16


def case(name, wrong=None):
    global failed
    print(f"not ok - {name}: {wrong}" if wrong else f"ok - {name}")
    failed = failed or bool(wrong)


def connect():
    s = wire.connect(path)
    s.sendall(hello())
    receive(s)
    return s


def follow(s, ident=1, last=0):
    s.sendall(request(EVENTS, number(1, last) + number(2, 1), ident))


def refusals(n):
    """Makes so many events."""
    s = connect()
    for i in range(0, n, 10):
        some = range(i, min(i + 10, n))
        s.sendall(b"".join(request(DROP, text(1, "nothing"), j + 1)
                           for j in some))
        for _ in some:
            receive(s)
    s.close()


def events(reply):
    """Of a reply: events as dictionaries, and how many were lost."""
    pairs = list(pairs_of(reply[30]))
    return ([fields_of(v) for n, v in pairs if n == 1],
            sum(v for n, v in pairs if n == 2))


def is_serving():
    s = connect()
    s.sendall(request(STATS, b""))
    sound = receive(s)[2] == 0
    s.close()
    return sound


# ---- one who reads

s = connect()
follow(s, 7)
first = receive(s)
refusals(50)
got = [receive(s) for _ in range(50)]
wrong = [r for r in got if r[1] != 7 or r[2] or len(events(r)[0]) != 1]
numbers = [events(r)[0][0][3] for r in got]
case("each event is a reply with the id of the request",
     wrong or (events(first)[0] and f"begins with {first}"))
case("events are numbered without a gap",
     None if numbers == list(range(numbers[0], numbers[0] + 50)) else numbers)
e = events(got[0])[0][0]
case("an event says what, when and whose",
     None if e[1] == b"refusal" and e[2] > 10 ** 18 and 4 in e and
     e[8] == -2 and b"there is no cache nothing" in e[9] else e)

# ---- what is kept

t = connect()
t.sendall(request(EVENTS, number(1, 3)) + request(EVENTS, b""))
last, everything = events(receive(t))[0], events(receive(t))[0]
case("the latest ones are the last of all",
     None if last == everything[-3:] and len(everything) > 50 else last)
refusals(1100)
t.sendall(request(EVENTS, b""))
kept = events(receive(t))[0]
case("1,024 are kept",
     None if len(kept) == 1024 and
     [k[3] for k in kept] == list(range(kept[0][3], kept[0][3] + 1024))
     else f"{len(kept)}, {kept[0]} to {kept[-1]}")
t.close()
for _ in range(1100):
    receive(s)

# ---- one who asks other things meanwhile

# The snapshot is slow; what the others ask for waits for its answer.
s.sendall(request(SNAPSHOT, text(1, "followed"), 8) +
          request(STATS, b"", 9) + request(STATS, b"", 10))
refusals(3)
order = [receive(s)[1] for _ in range(7)]
case("other requests are answered in order meanwhile",
     None if [i for i in order if i != 7] == [8, 9, 10] and
     order[:4] == [7] * 4 else order)
follow(s, 11)
answer = receive(s)
refusals(1)
after = receive(s)
case("who asks to follow again goes on under the new id",
     None if (answer[1], after[1]) == (11, 11) else (answer, after))

# ---- one who does not read

TOTAL = 8000
refusals(TOTAL)
case("a reader who does not read keeps nobody waiting",
     None if is_serving() else "the daemon does not answer")
seen = lost = 0
at = None
wrong = None
while seen + lost < TOTAL and not wrong:
    some, n = events(receive(s))
    lost += n
    for e in some:
        if at is not None and e[3] != at + 1 + n:
            wrong = f"{e[3]} after {at}, and {n} lost"
        at, seen = e[3], seen + 1
case(f"he is told how many he has lost ({lost} of {TOTAL})",
     wrong or (seen + lost != TOTAL and f"{seen} seen, {lost} lost") or
     (not lost and "none was lost"))
refusals(1)
some, n = events(receive(s))
case("and then has everything again",
     None if (len(some), n, some[0][3]) == (1, 0, at + 1) else (some, n))
s.close()

# ---- many

crowd = [connect() for _ in range(17)]
answers = []
for s in crowd:
    follow(s)
    answers.append(receive(s))
case("sixteen connections of a user may follow, one more is refused",
     None if [a[2] for a in answers] == [0] * 16 + [-EBUSY] else answers[-1])
refusals(20)
for s in crowd[:8]:
    s.close()
refusals(20)
counts = []
for s in crowd[8:16]:
    counts.append(len([receive(s) for _ in range(41)]))
case("each of those who stay hears of everything",
     None if counts == [41] * 8 else counts)
follow(crowd[16], 2)
case("and one who was refused may follow then",
     None if receive(crowd[16])[2] == 0 else "is refused again")
for s in crowd[8:]:
    s.close()
case("the daemon serves on", None if is_serving() else "it does not answer")
sys.exit(failed)
