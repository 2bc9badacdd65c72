# SPDX-License-Identifier: BSD-2-Clause
"""What topics measure with: a build, servers of their own, kinds of pages."""

import array
import contextlib
import dataclasses
import fnmatch
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import time

NR_HUGE = pathlib.Path("/proc/sys/vm/nr_hugepages")
MEMINFO = pathlib.Path("/proc/meminfo")
IDS = 200000  # tokens of random ids: the first are taken


@dataclasses.dataclass
class Topic:
    """Rows that are measured together.

    @rows: their names, or patterns of these
    @measure: takes a Setting, returns samples by row: {"ours": [...], ...}
    @huge: huge pages that it takes
    @must: it is nothing without them
    @slow: bench-compare leaves it out unless it is named
    @limit: seconds after which it has failed
    """
    rows: tuple
    measure: object
    huge: int = 0
    must: bool = False
    slow: bool = False
    limit: int = 240

    def has(self, row):
        return any(fnmatch.fnmatchcase(row, name) for name in self.rows)


class Unmeasured(Exception):
    """Why a topic cannot be measured here; no failure."""


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- huge pages ----

def huge_page_field(field):
    for line in MEMINFO.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0


@contextlib.contextmanager
def huge_pages(wanted):
    """Yields why there are no huge pages, "" when there are enough.

    What is missing is added, and taken away again; others' stay as they are.
    """
    missing = wanted - huge_page_field("HugePages_Free")
    if missing <= 0:
        yield ""
        return
    if os.geteuid() != 0:
        yield f"fewer than {wanted} huge pages are free, and this is not root"
        return
    before = int(NR_HUGE.read_text())
    try:
        NR_HUGE.write_text(str(before + missing))
        if huge_page_field("HugePages_Free") >= wanted:
            yield ""
        else:
            yield f"the kernel has not found {missing} more huge pages"
    finally:
        NR_HUGE.write_text(str(max(int(NR_HUGE.read_text()) - missing, 0)))


# ---- processes of our own ----

def rounds(most, seconds=100):
    """Numbers of rounds: fewer on a busy machine, but two at least."""
    end = time.monotonic() + seconds
    for i in range(most):
        if i > 1 and time.monotonic() > end:
            return
        yield i


def listens(path):
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect_ex(str(path)) == 0


def wait_for_socket(process, path, log):
    deadline = time.monotonic() + 30
    while not listens(path):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args[0]} does not listen on {path}:\n"
                               + log.read_text())


@contextlib.contextmanager
def server(arguments, path):
    log = path.with_suffix(".log")
    with log.open("wb") as to:
        process = subprocess.Popen(arguments, stdout=to, stderr=to,
                                   stdin=subprocess.DEVNULL)
    try:
        wait_for_socket(process, path, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()  # nothing, if it has ended
            process.wait()


class Daemon:
    def __init__(self, process, socket, state):
        self.pid = process.pid
        self.socket = socket
        self.state = state


class Setting:
    """A build, and a folder that is gone afterwards.

    @disk: a folder on the file system of the build
    @no_huge: why there are no huge pages for this topic; "": there are
    @lacked: the same for any topic so far
    @curves: figures for the plots, by plot
    @absent: peers that were asked for and are not installed
    @took: seconds, by the first row of a topic
    """

    def __init__(self, build, folder, disk, no_huge):
        self.build = build
        self.folder = folder
        self.disk = disk
        self.no_huge = no_huge
        self.lacked = no_huge
        self.curves = {}
        self.absent = set()
        self.took = {}
        self.started = 0
        self.known = None

    @property
    def pages(self):
        return "never" if self.no_huge else "require"

    def path(self, name):
        self.started += 1
        return self.folder / f"{name}{self.started}"

    def options(self):
        """What the daemon of this build can be told."""
        if self.known is None:
            self.known = subprocess.run(
                [self.build / "bin/treekvd", "--help"], check=True, text=True,
                stdout=subprocess.PIPE).stdout
        return self.known

    @contextlib.contextmanager
    def daemon(self, pages="never", *options, state=None):
        path = self.path("d").with_suffix(".sock")
        state = state or path.with_suffix(".state")
        command = [self.build / "bin/treekvd", "--socket", path,
                   "--state-dir", state, "--huge-pages", pages,
                   "--log-level", "warning", *options]
        for name, value in (("--snapshot-on-stop", "no"), ("--ready", "0")):
            if name not in options and name in self.options():
                command += [name, value]
        with server(command, path) as process:
            yield Daemon(process, path, state)

    def peer(self, name):
        """Its program, None where it is missing, which is remembered."""
        program = shutil.which(name)
        if not program:
            self.absent.add(name)
        return program

    @contextlib.contextmanager
    def redis(self):
        """Yields its socket, None where it is missing."""
        program = self.peer("redis-server")
        if not program:
            yield None
            return
        path = self.path("redis").with_suffix(".sock")
        with server([program, "--port", "0", "--unixsocket", path, "--save",
                     "", "--appendonly", "no", "--dir", self.folder], path):
            yield path

    @contextlib.contextmanager
    def memcached(self):
        program = self.peer("memcached")
        if not program:
            yield None
            return
        path = self.path("memcached").with_suffix(".sock")
        user = ["-u", "root"] if os.geteuid() == 0 else []
        with server([program, "-s", path, "-m", "2048", "-t", "1", *user],
                    path):
            yield path

    def program(self, name, *arguments, **more):
        """Runs a bench program; returns its rows by name."""
        done = subprocess.run(
            [self.build / f"tests/bench/bench_{name}", *map(str, arguments)],
            stdout=subprocess.PIPE, check=True, text=True, **more)
        rows = (json.loads(line) for line in done.stdout.splitlines())
        return {row.pop("row"): row for row in rows}

    def ids(self):
        """A file of random token ids."""
        path = self.folder / "ids"
        if not path.exists():
            source = random.Random(1)
            words = (source.randrange(3, 1024) for _ in range(IDS))
            path.write_bytes(array.array("I", words).tobytes())
        return path

    def run(self, *arguments):
        """treekv-run on these ids, a thread, a budget of 256 but where said."""
        done = subprocess.run(
            [self.build / "bin/treekv-run", "--ids", self.ids(), "--budget",
             "256", "--threads", "1", "--json", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        return json.loads(done.stdout)

    def ctl(self, daemon, *arguments):
        done = subprocess.run([self.build / "bin/treekvctl", *arguments,
                               "--socket", daemon.socket, "--json"],
                              check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout)


def both(rows, names):
    """Samples under other names."""
    return {to: rows[of] for to, of in names.items() if of in rows}
