# SPDX-License-Identifier: BSD-2-Clause
"""Being watched, watching, and what an idle daemon does."""

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import resource
import signal
import struct
import subprocess
import termios
import threading
import time

from setting import Topic, Unmeasured, rounds

IDLE_SECONDS = 10
IDLE_CACHES = 1000
TOP_CACHES = 1000
TOP_SECONDS = 6
TOP_SAMPLES = 5
WATCH_PAIRS = 25
WATCH_TOKENS = 3000
LOOK_SECONDS = 0.2


class Watch:
    """kvwatch on a daemon and writers; looks as often as a screen would."""

    def __init__(self, build, *pids):
        self.process = subprocess.Popen(
            [build / "tests/helpers/kvwatch", *map(str, pids)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seen = json.loads(self.process.stdout.readline())
        self.over = threading.Event()
        self.looker = threading.Thread(target=self.look_on)
        self.looker.start()

    def look_on(self):
        while not self.over.wait(LOOK_SECONDS):
            self.process.stdin.write("look\n")
            self.process.stdin.flush()
            self.process.stdout.readline()

    def why_not(self):
        return "" if self.seen["level"] == "full" else self.seen["why"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.looker.join()
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def check_watching(setting, daemon):
    with Watch(setting.build, daemon.pid) as watch:
        why = watch.why_not()
    if why:
        raise Unmeasured(why)


def watched_pairs(setting, daemon):
    """The two in turn; every other time the watched one is the first."""
    rows = {"watch": {"ours": [], "theirs": []},
            "watch.cpu": {"ours": [], "theirs": []}}

    def run(side):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = setting.run("--tokens", WATCH_TOKENS, "--socket", daemon.socket)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = (after.ru_utime + after.ru_stime - before.ru_utime -
                before.ru_stime)
        if side:
            rows["watch"][side].append(done["tokens_per_s"])
            rows["watch.cpu"][side].append(used * 1e6 / WATCH_TOKENS)

    def watched():
        with Watch(setting.build, daemon.pid):
            run("ours")

    run(None)
    for i in rounds(WATCH_PAIRS):
        if i % 2:
            watched()
        run("theirs")
        if not i % 2:
            watched()
    return rows


def measure_watch(setting):
    with setting.daemon() as daemon:
        check_watching(setting, daemon)
        return watched_pairs(setting, daemon)


def measure_probe(setting):
    return setting.program("probe")


def measure_probe_attached(setting):
    with setting.daemon() as daemon:
        check_watching(setting, daemon)
        probe = subprocess.Popen(
            [setting.build / "tests/bench/bench_probe", "--attached"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        probe.stdout.readline()
        with Watch(setting.build, daemon.pid, probe.pid):
            said, _ = probe.communicate("go\n")
    row = json.loads(said)
    return {row.pop("row"): row}


def processor_ns(pid):
    """What a process has used so far, by the scheduler's own account."""
    return sum(int(task.read_text().split()[0]) for task in
               pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"))


@contextlib.contextmanager
def on_terminal(command, rows, columns):
    """A program on a terminal whose output nobody looks at; yields its pid."""
    pid, terminal = pty.fork()
    if not pid:
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ,
                struct.pack("HHHH", rows, columns, 0, 0))

    def swallow():
        with contextlib.suppress(OSError):  # the end of a terminal is an error
            while os.read(terminal, 65536):
                pass

    reader = threading.Thread(target=swallow)
    reader.start()
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        reader.join()
        os.close(terminal)


def measure_top(setting):
    """All caches are idle, so that all that is used is used for watching."""
    used = []
    with setting.daemon() as watched:
        socket = str(watched.socket)
        setting.program("top", socket, TOP_CACHES)
        command = ["env", "TERM=xterm-256color", "LC_ALL=C.UTF-8",
                   str(setting.build / "bin/treekv-top"), "--socket", socket]
        with on_terminal(command, 40, 120) as pid:
            time.sleep(TOP_SECONDS)  # eBPF is attached meanwhile
            for _ in range(TOP_SAMPLES):
                before = processor_ns(pid) + processor_ns(watched.pid)
                begin = time.monotonic_ns()
                time.sleep(TOP_SECONDS)
                after = processor_ns(pid) + processor_ns(watched.pid)
                used.append(100 * (after - before) /
                            (time.monotonic_ns() - begin))
    return {"top": {"ours": used, "theirs": []}}


def switches(pid):
    total = 0
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def settled(pid):
    """Nothing left over from attaching: it has not woken for half a second."""
    deadline = time.monotonic() + 60
    before = None
    while before != switches(pid) and time.monotonic() < deadline:
        before = switches(pid)
        time.sleep(0.5)


def measure_idle(setting):
    with setting.daemon() as daemon:
        holder = subprocess.Popen(
            [setting.build / "tests/bench/bench_request", daemon.socket,
             "--hold", str(IDLE_CACHES)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if not holder.stdout.readline():
            raise RuntimeError("bench_request --hold has ended")
        settled(daemon.pid)
        before = switches(daemon.pid)
        time.sleep(IDLE_SECONDS)
        woken = switches(daemon.pid) - before
        holder.communicate()
    return {"idle": {"ours": [woken], "theirs": []}}


TOPICS = [
    Topic(("idle",), measure_idle),
    Topic(("probe",), measure_probe),
    Topic(("probe.attached",), measure_probe_attached),
    Topic(("watch", "watch.cpu"), measure_watch, slow=True),
    Topic(("top",), measure_top, slow=True),
]
