# SPDX-License-Identifier: BSD-2-Clause
"""Prefixes, forks and readers for torture.py.

A prefix is written, frozen and, in the end, dropped, be there forks of it or
not. Forks are written beside all else, their writers killed at times, and what
they leave is attached to again. Readers look at prefixes and at caches that are
being written. All of them check every row they see.
"""
import os
import re
import signal
import subprocess
import tempfile
import time

SHAPES = [[], ["--policy", "h2o", "--slack", "64"], ["--layers", "5"],
          ["--policy", "streaming"]]
PREFIXES = 3
GUESTS = 4
NO_ROOM = re.compile("the pool is used up")
# What a reader of somebody's cache may meet.
GONE = re.compile("there is no cache|is another one by now|is being created|"
                  "is quarantined|left a tail that no order|"
                  "are being changed; try again")


class Prefix:
    def __init__(self, number, shape, tokens):
        self.name = f"p{number}"
        self.shape = shape
        self.tokens = tokens
        self.dropped = False    # or about to be


class Guest:
    """A process, and what it does: "fork" or "read"."""

    def __init__(self, kind, name, prefix, floor, command):
        self.kind = kind
        self.name = name
        self.prefix = prefix
        self.floor = floor  # tokens that were committed before it
        self.begun = time.time()
        # Not a pipe, which nobody would read until the end.
        self.out = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=self.out,
                                        stderr=subprocess.PIPE, text=True)

    def is_late(self, errors):
        """Was its prefix dropped while it was on its way?"""
        name = self.prefix.name if self.prefix else ""
        return (self.kind == "fork" and self.prefix.dropped and
                (f"there is no cache {name};" in errors or
                 f"/{name}.tkv: No such file" in errors))

    def output(self):
        """What it has said, once it has ended."""
        self.out.seek(0)
        return self.out.read()


class Sharing:
    def __init__(self, torture):
        self.torture = torture
        self.random = torture.random
        self.totals = torture.totals
        self.prefixes = []
        self.guests = []
        self.number = 0

    def writer(self, *options):
        return [os.path.join(self.torture.helpers, "kvwriter"), *options]

    def start(self, kind, name, prefix, floor, *options):
        self.guests.append(Guest(kind, name, prefix, floor,
                                 self.writer("--cache", name, *options)))

    def freeze(self):
        if len(self.prefixes) >= PREFIXES:
            return
        self.number += 1
        prefix = Prefix(self.number, self.random.choice(SHAPES),
                        self.random.randint(1, 40))
        done = subprocess.run(
            self.writer("--cache", prefix.name, "--exclusive", "--steps",
                        str(prefix.tokens), "--freeze", "--per-step-max", "1",
                        *prefix.shape), capture_output=True, text=True)
        if done.returncode == 3 and NO_ROOM.search(done.stderr):
            self.torture.ctl("drop", prefix.name)
            self.totals["prefixes without room"] += 1
            return
        if done.returncode:
            self.torture.fault(f"{prefix.name}: {done.stderr.strip()}")
            return
        self.prefixes.append(prefix)
        self.totals["prefixes frozen"] += 1

    def fork(self):
        if not self.prefixes or len(self.guests) >= GUESTS:
            return
        prefix = self.random.choice(self.prefixes)
        self.number += 1
        self.start("fork", f"f{self.number}", prefix, 0, "--progress",
                   "--fork", prefix.name, "--pinned", str(prefix.tokens),
                   "--steps", self.random.choice(["10", "3000", "100000"]),
                   *prefix.shape)
        self.totals["forks"] += 1

    def read(self):
        if len(self.guests) >= GUESTS:
            return
        there = [(c.called(), c.shape, min(c.floor, 1)) for c in
                 self.torture.writing() if c.hole is None and not c.fresh]
        there += [(p.name, p.shape, p.tokens) for p in self.prefixes]
        if not there:
            return
        name, shape, tail = self.random.choice(there)
        self.start("read", name, None, 0, "--read", "--steps", str(tail),
                   *shape)
        self.totals["readers"] += 1

    def kill(self):
        """A fork's writer; what he leaves is whole and goes on."""
        writing = [g for g in self.guests if g.kind == "fork"]
        if not writing:
            return
        guest = self.random.choice(writing)
        guest.process.kill()
        guest.process.communicate()
        self.guests.remove(guest)
        self.totals["fork writers killed"] += 1
        # One of which he had not heard yet goes with him.
        said = re.findall(r"committed (\d+)", guest.output())
        if said or guest.floor:
            self.start("fork", guest.name, guest.prefix,
                       int(said[-1]) if said else guest.floor, "--attach",
                       "--progress", "--pinned", str(guest.prefix.tokens),
                       "--steps", "50", *guest.prefix.shape)
        else:
            self.torture.ctl("drop", guest.name)

    def drop_prefix(self):
        if not self.prefixes:
            return
        prefix = self.random.choice(self.prefixes)
        prefix.dropped = True
        done, why = self.torture.ctl("drop", prefix.name)
        if done or prefix.name not in self.torture.listed():
            self.prefixes.remove(prefix)
            self.totals["prefixes dropped"] += 1

    def ended(self, guest):
        _, errors = guest.process.communicate()
        out = guest.output()
        code = guest.process.returncode
        rows = re.search(r"rows (\d+)", out)
        self.totals["rows checked"] += int(rows[1]) if rows else 0
        if code == 3 and guest.kind == "read" and GONE.search(errors):
            self.totals["readers refused"] += 1
        elif code == 3 and NO_ROOM.search(errors):
            self.totals["guests without room"] += 1
        elif (code == 1 and guest.kind == "read" and
              self.torture.was_spoilt_since(guest.name, guest.begun)):
            self.totals["readers of holes"] += 1
        elif code == 3 and guest.is_late(errors):
            self.totals["forks of dropped prefixes"] += 1
        elif code:
            self.torture.fault(f"{guest.kind} {guest.name}: {code}: "
                               f"{errors.strip()}")
        tail = re.search(r"^tail (\d+)", out, re.MULTILINE)
        if tail and int(tail[1]) < guest.floor:
            self.torture.fault(f"fork {guest.name}: ends at {tail[1]}, "
                               f"{guest.floor} were committed")
        if guest.kind == "fork":
            self.torture.ctl("drop", guest.name)

    def reap(self):
        for guest in [g for g in self.guests if g.process.poll() is not None]:
            self.guests.remove(guest)
            self.ended(guest)

    def stop(self):
        """Before the service is: forks are in memory only."""
        for guest in self.guests:
            guest.process.send_signal(signal.SIGKILL)
            guest.process.communicate()
            if guest.kind == "fork":
                self.torture.ctl("drop", guest.name)
        self.guests = []

    def check(self):
        """After a stop and a start: prefixes are what they were."""
        for prefix in self.prefixes:
            done = subprocess.run(
                self.writer("--cache", prefix.name, "--read", "--steps",
                            str(prefix.tokens), *prefix.shape),
                capture_output=True, text=True)
            if done.returncode:
                self.torture.fault(f"{prefix.name}: {done.stderr.strip()}")
