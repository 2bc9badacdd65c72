# SPDX-License-Identifier: BSD-2-Clause
#
# Drops a cache whose snapshot is being written, and at once makes another of
# that name and has it written as well: without waiting for an answer between.
# Prints how that went. Usage: namesake.py SOCKET NAME

import sys

from wire import (connect, fields_of, hello, receive, request, spec, text,
                  varint)

name = sys.argv[2]
# Its order takes two chunks, whatever is held: so it is written at a rate.
wide = spec(budget=varint(1 << 18))
s = connect(sys.argv[1])
s.sendall(hello() + request(6, text(1, name)) +
          request(3, text(1, name) + text(2, wide)) +
          request(20, text(1, name)))
for what in "greeted", "dropped", "created":
    reply = receive(s)
    if reply[2]:
        sys.exit(f"not {what}: {reply[3].decode()}")
reply = receive(s)
if reply[2]:
    sys.exit(reply[3].decode())
print("saved", fields_of(fields_of(reply[20])[1])[6], "bytes")
