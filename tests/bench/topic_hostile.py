# SPDX-License-Identifier: BSD-2-Clause
"""What a user who means harm costs a neighbour's steps."""

import contextlib
import os
import pathlib
import subprocess
import sys

from setting import Topic, Unmeasured, rounds

TREE = pathlib.Path(__file__).resolve().parents[2]
CLIENT = TREE / "tests/integration/hostile.py"
PROTOCOL = TREE / "proto/treekv.proto"
USER = "61003"
HUGE = 180  # as steps take
ROUNDS = 3


@contextlib.contextmanager
def beside(command):
    """A process that says a line when it has begun, and goes on until killed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE,
                               stdin=subprocess.DEVNULL)
    try:
        process.stdout.readline()
        yield
        if process.poll() is not None:
            raise RuntimeError(f"{command} has ended")
    finally:
        process.kill()
        process.wait()


def measure_hostile(setting):
    if os.geteuid() != 0:
        raise Unmeasured("a client of another user: this is not root")
    busy = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    ours, theirs, alone = [], [], []
    with setting.daemon(setting.pages) as daemon:
        os.chmod(setting.folder, 0o711)
        os.chmod(daemon.socket, 0o666)
        hostile = [sys.executable, "-B", CLIENT, daemon.socket, PROTOCOL, USER,
                   "ceaseless"]
        sides = ((ours, lambda: beside(hostile)),
                 (theirs, lambda: beside(busy)),
                 (alone, contextlib.nullcontext))
        for _ in rounds(ROUNDS):
            for samples, company in sides:
                with company():
                    step = setting.program("step", daemon.socket)["step"]
                samples += step["ours"]
    return {"hostile": {"ours": ours, "theirs": theirs},
            "hostile.alone": {"ours": ours, "theirs": alone}}


TOPICS = [
    Topic(("hostile", "hostile.*"), measure_hostile, huge=HUGE, slow=True,
          limit=600),
]
