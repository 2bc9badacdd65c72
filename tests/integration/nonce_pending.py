# SPDX-License-Identifier: BSD-2-Clause
#
# A manager that is slow to keep what a daemon gives it: nonce_pending.py
# TREEKVD DIRECTORY. Meanwhile the creator's connection is lost, and he asks
# again. One "ok" or "not ok" line a case.

import os
import signal
import socket
import sys

from wire import connect, fields_of, hello, number, receive, request, spec, text

treekvd, directory = sys.argv[1:]
path = os.path.join(directory, "pending.sock")
notify = os.path.join(directory, "pending.notify")
failed = False


def case(name, good, what):
    global failed
    print(f"ok - {name}" if good else f"not ok - {name}: {what}")
    failed = failed or not good


manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(notify)
manager.settimeout(30)
os.environ.update(NOTIFY_SOCKET=notify, FDSTORE="100")
pid = os.spawnv(os.P_NOWAIT, treekvd, [
    treekvd, "--config", "/dev/null", "--socket", path, "--state-dir",
    os.path.join(directory, "pending"), "--huge-pages", "never",
    "--restore", "never", "--snapshot-on-stop", "no"])


def await_barrier():
    """Until the daemon waits: what it waits for is returned."""
    while True:
        message, fds, _, _ = socket.recv_fds(manager, 4096, 2)
        if message == b"BARRIER=1":
            return fds[0]
        for fd in fds:
            os.close(fd)


def greeted():
    s = connect(path)
    s.sendall(hello())
    receive(s)
    return s


def create(name, nonce):
    return request(3, text(1, name) + text(2, spec()) + number(24, nonce))


def is_sound(reply):
    return reply[2] == 0 and fields_of(reply[5])[4] == 1


# READY=1 comes when it listens.
while b"READY=1" not in manager.recv(4096):
    pass
for name, close in ("lost", True), ("left open", False):
    first = greeted()
    first.sendall(create(name.replace(" ", "-"), 1))
    barrier = await_barrier()
    if close:
        first.close()
    second = greeted()
    second.sendall(create(name.replace(" ", "-"), 1))
    third = greeted()
    third.sendall(create(name.replace(" ", "-"), 2))
    refusal = receive(third)
    os.close(barrier)
    reply = receive(second)
    case(f"asked again while it is made, the first connection {name}",
         is_sound(reply), reply)
    case("whoever else asks for it is refused", refusal[2] != 0, refusal)
    second.sendall(request(9, b""))
    case("and the connection goes on", receive(second)[2] == 0, "it does not")
os.kill(pid, signal.SIGTERM)
status = os.waitpid(pid, 0)[1]
case("the daemon stops", status == 0, status)
sys.exit(failed)
