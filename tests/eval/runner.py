# SPDX-License-Identifier: BSD-2-Clause
"""Runs treekv-run against a daemon of its own, and keeps what came of it.

The unit is a *cell*: one figure of one part. Its result is stored as soon as it
is there, under a key made of everything that it depends on: the cell's
parameters, the programs' bytes and the token ids. The next evaluation takes it
from there, so one that is cut short goes on.
"""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, NamedTuple

ROW_COST = 500  # rows held that cost a token as much as all the rest of it


class Cell(NamedTuple):
    """run(evaluation) must return something that JSON can hold."""
    name: str
    parameters: dict
    ids: Any        # bytes-like: what is read
    work: float     # tokens, weighted by work()
    run: Callable


def work(tokens, held):
    return tokens * (1 + held / ROW_COST)


class Progress:
    """A bar where there is a terminal, else a line now and then."""

    def __init__(self, total):
        self.total = max(total, 1e-9)
        self.done = 0.0
        self.reused = 0.0
        self.begun = time.monotonic()
        self.said = self.begun
        self.tty = sys.stderr.isatty()
        utf8 = (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"
        self.full, self.empty = ("█", "░") if utf8 else ("#", ".")

    def left(self):
        """Seconds, by the speed so far; None before there is one."""
        here = self.done - self.reused
        if here <= 0:
            return None
        passed = time.monotonic() - self.begun
        return passed * (self.total - self.done) / here

    def tell(self, what, extra=0.0):
        """@extra: of the running cell's work, not yet added."""
        now = time.monotonic()
        if now - self.said < (0.1 if self.tty else 60):
            return
        self.said = now
        share = min((self.done + extra) / self.total, 1)
        left = self.left()
        text = f"{share * 100:3.0f} %  {duration(left)} left  {what}"
        if not self.tty:
            print(text, file=sys.stderr, flush=True)
            return
        columns = shutil.get_terminal_size((80, 24)).columns - 1
        cells = max(4, min(30, columns - len(text) - 2))
        filled = int(cells * share)
        line = self.full * filled + self.empty * (cells - filled)
        print(f"\r{line} {text}"[:columns + 1] + "\033[K", end="",
              file=sys.stderr, flush=True)

    def end(self):
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def duration(seconds):
    if seconds is None:
        return "?"
    seconds = int(seconds)
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 5400:
        return f"{(seconds + 30) // 60} min"
    return f"{seconds / 3600:.1f} h"


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Daemon:
    """A treekvd of our own, on a private socket."""

    def __init__(self, programs, directory):
        self.socket = os.path.join(directory, "sock")
        self.log = os.path.join(directory, "log")
        config = os.path.join(directory, "empty.conf")
        open(config, "w").close()
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [programs / "treekvd", "--config", config, "--socket",
                 self.socket, "--state-dir",
                 os.path.join(directory, "state")],
                stdin=subprocess.DEVNULL, stderr=log)
        until = time.monotonic() + 30
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit("treekvd did not start:\n" + open(self.log).read())
            time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        if self.process.wait():
            sys.exit("treekvd did not end well:\n" + open(self.log).read())


class Evaluation:
    """What cells run with: programs, daemon, folder for passing files."""

    def __init__(self, build, model):
        self.programs = pathlib.Path(build).resolve() / "bin"
        self.results = pathlib.Path(build) / "eval"
        self.store = self.results / "cells"
        self.model = model
        self.progress = None
        self.cell = None
        self.extra = 0.0
        self.daemon = None
        self.directory = None
        self.identity = digest(b"".join(
            (self.programs / name).read_bytes()
            for name in ("treekvd", "treekv-run"))
            + b"".join(pathlib.Path(p).read_bytes() for p in model
                       if os.path.isfile(p)))

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="treekvd-eval.")
        self.directory = self.folder.name
        self.daemon = Daemon(self.programs, self.directory)
        return self

    def __exit__(self, kind, value, trace):
        self.daemon.stop()
        self.folder.cleanup()

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self, *options):
        """treekv-run, through the daemon."""
        return subprocess.Popen(
            [self.programs / "treekv-run", *self.model, "--socket",
             self.daemon.socket, "--timeout", "600000", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)

    def run(self, *options, json_wanted=True):
        process = self.start(*options, *(["--json"] if json_wanted else []))
        out, err = process.communicate()
        if process.returncode:
            sys.exit("\ntreekv-run " + " ".join(map(str, options)) +
                     " failed:\n" + err.decode(errors="replace"))
        return json.loads(out) if json_wanted else out

    def control(self, *options):
        out = subprocess.run(
            [self.programs / "treekvctl", "--socket", self.daemon.socket,
             *options, "--json"], stdout=subprocess.PIPE, check=True)
        return json.loads(out.stdout)

    def did(self, done):
        """So much of the running cell's work has been done."""
        self.extra += done
        self.progress.tell(self.cell.name, self.extra)

    # ---- the store ----

    def of_texts(self, ids):
        """Texts have stores of their own, so one may follow another."""
        self.store = self.results / "cells" / digest(b"".join(
            bytes(text) for text in ids))[:12]
        self.store.mkdir(parents=True, exist_ok=True)

    def key(self, cell):
        text = json.dumps([cell.name, cell.parameters, self.identity,
                           digest(bytes(cell.ids))], sort_keys=True)
        return digest(text.encode())

    def stored(self, cell):
        """The result of an earlier evaluation, or None."""
        path = self.store / (cell.name.replace("/", ".") + ".json")
        try:
            entry = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        return entry["result"] if entry.get("key") == self.key(cell) else None

    def keep(self, cell, result):
        path = self.store / (cell.name.replace("/", ".") + ".json")
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"key": self.key(cell),
                                   "parameters": cell.parameters,
                                   "result": result}))
        new.replace(path)

    def evaluate(self, cells):
        """All results, by the cells' names."""
        results = {}
        self.progress = Progress(sum(cell.work for cell in cells))
        for cell in cells:
            result = self.stored(cell)
            if result is not None:
                results[cell.name] = result
                self.progress.done += cell.work
                self.progress.reused += cell.work
        for cell in cells:
            if cell.name in results:
                continue
            self.cell, self.extra = cell, 0.0
            self.progress.tell(cell.name)
            result = cell.run(self)
            self.keep(cell, result)
            results[cell.name] = result
            self.progress.done += cell.work
        self.progress.end()
        return results
