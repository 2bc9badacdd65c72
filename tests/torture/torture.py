#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Kills everything, at random, for a while: torture.py BUILD-DIRECTORY SECONDS.

Self-checking writers (tests/helpers/kvwriter.c) fill a few caches of a daemon
under a keeper. Meanwhile, by a fixed seed (SEED=N in the environment), writers
and the daemon are killed, leases broken, caches snapshotted, dropped, restored,
attached to again, the service stopped and started with other options, and a
hostile client lies in its own cache. Every row that a writer sees is checked,
and no cache may ever be behind what a writer has said is committed.

Some writers punch holes into the rows of their own cache. Whoever attaches to
it afterwards is told where: all that is not in the hole must still be right, or
the cache be quarantined, until it is dropped; and no other cache may be either.

Often the pool has no room for all of them, so that idle ones are parked and come
back; some are parked by request, pinned, or given a second to live.

Others try to attach where somebody writes: they must be refused, unless he has
let go by then.

Beside them caches are frozen and forked, and readers look on (sharing.py); and
change hands, modes and limits (owners.py).

Exit status 1 when anything was not as it ought to be.
"""
import calendar
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter

import owners
from sharing import Sharing

CACHES = 6
SHAPES = [[], ["--policy", "h2o", "--slack", "64"], ["--layers", "5"],
          ["--policy", "tova", "--lockstep"], ["--policy", "streaming"],
          ["--budget", "300", "--per-step-max", "8", "--slack", "32"]]
# What a writer may be refused with, and what it is counted as.
REFUSALS = {
    "leases lost": re.compile("the lease of cache \\S+ (was broken|is lost)"),
    "breaks met": re.compile("lease of cache \\S+ is being broken.*; try again"),
    "finding no room": re.compile("the pool is used up: .* no idle cache"),
    "creations met": re.compile("cache \\S+ is being created"),
    **owners.REFUSALS,
}
# Its writer may have ended by now, who need not have been of the same user.
INTRUDER = re.compile("|".join(
    ["is being written by process|is being broken|is being created|"
     "there is no cache",
     *(text.pattern for text in owners.REFUSALS.values())]))
# Of a cache with a hole in it.
SPOILT = re.compile("is quarantined|has not made room|"
                    "left a tail that no order")


class Cache:
    """One name, what is known of it, and its writer, if there is one."""

    def __init__(self, number):
        self.name = f"t{number}"
        self.home = ""      # "~UID/" while it is another user's
        self.shape = SHAPES[number % len(SHAPES)]
        self.floor = 0      # tokens that a writer has said are committed
        self.saved = None   # of these, the ones that are on disk, too
        self.hole = None    # that was punched into it, "" until it is known
        self.spoilt = []    # from when to when, in seconds since 1970
        self.fresh = False  # the next writer must come behind the floor
        self.deaf = False   # its writer's lease is being broken
        self.writer = None
        self.reader = None

    def called(self):
        return self.home + self.name


class Torture:
    def __init__(self, build, directory, seconds, seed):
        self.bin = os.path.join(os.path.abspath(build), "bin")
        self.helpers = os.path.join(os.path.abspath(build), "tests/helpers")
        self.directory = directory
        self.random = random.Random(seed)
        self.until = time.monotonic() + seconds
        self.begun = time.monotonic()
        self.caches = [Cache(i) for i in range(CACHES)]
        self.totals = Counter()
        self.faults = []
        self.keeper = None
        self.sharing = Sharing(self)
        self.owners = owners.Owners(self)
        os.environ["TREEKV_SOCKET"] = os.path.join(directory, "sock")

    def program(self, name):
        return os.path.join(self.bin, name)

    def fault(self, text):
        self.faults.append(text)
        print(f"not ok - {text}", flush=True)

    # ---- the service ----

    def options(self):
        pages = self.random.choice(["never", "prefer"])
        small = "300K" if pages == "never" else "8M"
        return ["--workers", str(self.random.randint(1, 3)),
                "--huge-pages", pages,
                "--pool", self.random.choice([small, small, "1G"]),
                "--high-water", self.random.choice(["50", "90", "100"]),
                "--snapshot-every", self.random.choice(["0", "1"]),
                "--restore", self.random.choice(["lazy", "eager"])]

    def start(self):
        self.keeper = subprocess.Popen(
            [self.program("treekvd"), "--keeper", "--socket",
             os.environ["TREEKV_SOCKET"], "--state-dir",
             os.path.join(self.directory, "state"), *self.options()],
            stderr=open(os.path.join(self.directory, "log"), "a"))
        self.wait_until_up()
        self.owners.prepare()

    def status(self):
        out = subprocess.run([self.program("treekvctl"), "status", "--json"],
                             capture_output=True, text=True)
        return json.loads(out.stdout) if out.returncode == 0 else None

    def wait_until_up(self):
        until = time.monotonic() + 60
        while not (status := self.status()):
            if time.monotonic() > until:
                self.fault("the daemon does not serve again within 60 s")
                raise SystemExit(1)
            time.sleep(0.01)
        return status

    def ctl(self, *args):
        out = subprocess.run([self.program("treekvctl"), *args],
                             capture_output=True, text=True)
        return out.returncode == 0, out.stderr

    # ---- writers ----

    def write(self, cache, *options):
        steps = self.random.choice([10, 300, 5000, 100000])
        cache.fresh = True
        cache.deaf = False
        if cache.hole:
            options = ("--hole", cache.hole, "--timeout", "2000")
        cache.writer = subprocess.Popen(
            [*self.owners.writer(cache), "--cache", cache.called(),
             "--steps", str(steps), "--progress", *cache.shape, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        cache.reader = threading.Thread(target=self.follow, args=(cache,))
        cache.reader.start()
        self.totals["attaches"] += 1

    def punch(self):
        whole = [c for c in self.caches if not c.writer and c.hole is None]
        if not whole:
            return
        cache = self.random.choice(whole)
        cache.hole = ""
        cache.spoilt.append([time.time(), None])
        # That much is right before, and judged by the hole afterwards.
        self.write(cache, "--punch")

    def follow(self, cache):
        """Takes the floor up with each commit that the writer tells of."""
        for line in cache.writer.stdout:
            word, *rest = line.split()
            if word == "hole":
                cache.hole = rest[0]
                self.totals["holes punched"] += 1
            elif word == "committed":
                tail = int(rest[0])
                if cache.deaf:
                    continue
                if cache.fresh and tail < cache.floor and not cache.hole:
                    self.fault(f"{cache.name}: {tail} tokens, but "
                               f"{cache.floor} were committed")
                cache.fresh = False
                cache.floor = tail
                self.totals["commits"] += 1
            elif word == "tail" and not cache.deaf:
                self.totals["rows checked"] += int(rest[4])
                self.totals["rows in holes"] += int(rest[-1])
                if int(rest[0]) < cache.floor:
                    self.fault(f"{cache.name}: ends at {rest[0]} tokens, but "
                               f"{cache.floor} were committed")

    def refused(self, cache, errors):
        if cache.hole and SPOILT.search(errors):
            self.totals["spoilt caches refused"] += 1
            return
        for name, text in REFUSALS.items():
            if text.search(errors):
                self.totals[name] += 1
                return
        self.fault(f"{cache.name}: {errors.strip()}")

    def join(self, cache):
        code = cache.writer.wait()
        cache.reader.join()
        errors = cache.writer.stderr.read()
        cache.writer = None
        if cache.hole == "":  # he did not come to it
            cache.hole = None
            cache.spoilt[-1][1] = time.time()
        if code == 1:
            self.fault(f"{cache.name}: {errors.strip()}")
        elif code == 3:
            self.refused(cache, errors)
        elif code not in (0, -signal.SIGKILL):
            self.fault(f"{cache.name}: the writer ended with {code}: {errors}")

    def reap(self):
        for cache in self.caches:
            if cache.writer and cache.writer.poll() is not None:
                self.join(cache)

    def writing(self):
        return [c for c in self.caches if c.writer]

    # ---- what happens ----

    def kill_writer(self):
        for cache in self.random.sample(self.writing(),
                                        min(1, len(self.writing()))):
            cache.writer.kill()
            self.join(cache)
            self.totals["writers killed"] += 1

    def kill_daemon(self):
        os.kill(self.wait_until_up()["pid"], signal.SIGKILL)
        self.totals["daemons killed"] += 1

    def break_lease(self):
        for cache in self.random.sample(self.writing(),
                                        min(1, len(self.writing()))):
            stop = self.random.random() < 0.7
            cache.deaf = True  # what he commits from here on is his own
            if stop:
                cache.writer.send_signal(signal.SIGSTOP)
            done, _ = self.ctl("lease", "break", cache.called())
            self.totals["leases broken"] += done
            if stop:
                cache.writer.send_signal(signal.SIGCONT)

    def intrude(self):
        there = [c for c in self.writing()
                 if not c.fresh and not c.deaf and c.hole is None]
        if not there:
            return
        cache = self.random.choice(there)
        out = subprocess.run(
            [os.path.join(self.helpers, "kvwriter"), "--cache",
             cache.called(), "--attach", "--steps", "1", *cache.shape],
            capture_output=True, text=True)
        if out.returncode == 3 and INTRUDER.search(out.stderr):
            self.totals["intruders refused"] += 1
            return
        if out.returncode:
            self.fault(f"{cache.name}: an intruder: {out.stderr.strip()}")
            return
        found = int(out.stdout.split()[1]) - 1
        cache.writer.kill()
        self.join(cache)
        if cache.floor > found:
            self.fault(f"{cache.name}: two writers: one has committed "
                       f"{cache.floor}, the other began at {found}")
        cache.floor = found + 1

    def snapshot(self):
        cache = self.random.choice(self.caches)
        floor = cache.floor
        done, _ = self.ctl("snapshot", cache.called())
        if done:
            cache.saved = floor
            self.totals["snapshots"] += 1

    def listed(self):
        """The caches that are there and their states, whatever daemon has to
        say so."""
        while True:
            out = subprocess.run([self.program("treekvctl"), "list", "--json"],
                                 capture_output=True, text=True)
            if out.returncode == 0:
                return {c["name"]: c["state"]
                        for c in json.loads(out.stdout)}
            self.wait_until_up()

    def dropped(self, cache):
        cache.floor = 0
        cache.saved = None
        cache.home = ""
        if cache.hole is not None:
            cache.hole = None
            cache.spoilt[-1][1] = time.time()

    def drop(self):
        idle = [c for c in self.caches if not c.writer]
        # one with a hole in it is of little use any more
        idle = [c for c in idle if c.hole is not None] or idle
        if not idle:
            return
        cache = self.random.choice(idle)
        done, why = self.ctl("drop", cache.called())
        if done:
            self.totals["drops"] += 1
            self.dropped(cache)
        elif cache.name not in self.listed():
            self.dropped(cache)  # there was none, or it was done, unsaid
        else:
            cache.saved = None  # its file may be gone

    def restore(self):
        """From memory to disk and back, by request or by attaching."""
        idle = [c for c in self.caches if not c.writer and c.saved is not None]
        if not idle:
            return
        cache = self.random.choice(idle)
        done, _ = self.ctl("drop", cache.called(),
                           "--keep-snapshot")
        cache.floor = min(cache.floor, cache.saved)
        if done and self.random.random() < 0.5:
            done, why = self.ctl("restore", cache.called())
            self.totals["restores"] += done
        if cache.name not in self.listed():
            self.fault(f"{cache.name}: neither in memory nor on disk")

    def park(self):
        cache = self.random.choice(self.caches)
        done, why = self.ctl("park", cache.called())
        if done:
            self.totals["parks asked for"] += 1
        elif "No space" in why or "No such file" in why:
            self.fault(f"{cache.name}: not parked: {why.strip()}")

    def keep(self):
        cache = self.random.choice(self.caches)
        how = self.random.choice([["pin"], ["unpin"], ["unpin"],
                                  ["ttl", "1s"], ["ttl", "none"]])
        done, _ = self.ctl(*how, cache.called())
        self.totals["pins and times to live"] += done

    def restart(self):
        """Stopped in good order, the writers too: caches come from disk."""
        for cache in self.writing():
            cache.writer.kill()
            self.join(cache)
        self.wait_until_up()
        self.sharing.stop()
        self.keeper.terminate()
        self.keeper.wait()
        for cache in self.caches:
            if cache.hole is None:
                cache.saved = cache.floor or None
        self.start()
        for cache in self.caches:
            if cache.hole is not None and cache.name not in self.listed():
                self.dropped(cache)  # what is in quarantine is not saved
        self.sharing.check()
        self.totals["stops and restores"] += 1

    def lie(self):
        lies = ["commit-beyond", "commit-of-the-past", "head-behind",
                "seen-ahead", "garbage", "hole", "bad-numbers"]
        subprocess.run([os.path.join(self.helpers, "kvhostile"),
                        self.random.choice(lies)], capture_output=True)
        self.ctl("drop", "hostile")
        self.totals["lies"] += 1

    def step(self):
        self.reap()
        self.sharing.reap()
        idle = [c for c in self.caches if not c.writer]
        if idle and self.random.random() < 0.6:
            self.write(self.random.choice(idle))
            return
        what, weight = zip((self.kill_writer, 30), (self.kill_daemon, 6),
                           (self.break_lease, 10), (self.snapshot, 12),
                           (self.drop, 4), (self.restore, 4), (self.punch, 4),
                           (self.intrude, 8), (self.restart, 1),
                           (self.lie, 3), (self.park, 8), (self.keep, 5),
                           (self.owners.give, 8), (self.owners.chmod, 3),
                           (self.owners.quota, 4),
                           (self.sharing.freeze, 6),
                           (self.sharing.fork, 20), (self.sharing.read, 20),
                           (self.sharing.kill, 6),
                           (self.sharing.drop_prefix, 2))
        self.random.choices(what, weight)[0]()
        time.sleep(self.random.random() * 0.05)

    def run(self):
        self.start()
        told = time.monotonic()
        while time.monotonic() < self.until and not self.faults:
            self.step()
            if time.monotonic() - told > 30:
                told = time.monotonic()
                print(f"# {told - self.begun:.0f} s: {dict(self.totals)}",
                      flush=True)
        self.wait_until_up()
        self.sharing.stop()
        for cache in self.writing():
            cache.writer.kill()
            self.join(cache)
        self.sharing.check()
        for cache in self.caches:
            if cache.hole is not None:
                self.ctl("drop", cache.called())
                self.dropped(cache)
            self.write(cache)
            cache.writer.wait()
            self.join(cache)
        self.keeper.terminate()
        self.keeper.wait()

    # ---- what the daemons said of it ----

    def was_spoilt(self, name, at):
        """Was there a hole in that cache? Known late: its daemon's clock."""
        return any(begin - 1 <= at <= (end or at) + 1
                   for c in self.caches if c.name == name
                   for begin, end in c.spoilt)

    def was_spoilt_since(self, name, begun):
        """Was there a hole in it while somebody looked on, from then on?"""
        return any(end is None or end >= begun
                   for c in self.caches if c.name == name
                   for _, end in c.spoilt)

    def check_log(self):
        with open(os.path.join(self.directory, "log")) as log:
            for line in log:
                self.totals["parked"] += 'event="cache parked"' in line
                if not re.search('event="cache (damaged|quarantined)"', line):
                    continue
                name = re.search(r"name=(\S+)", line)
                at = calendar.timegm(time.strptime(line[:19],
                                                   "%Y-%m-%dT%H:%M:%S"))
                if not name or (name[1] != "hostile" and
                                not self.was_spoilt(name[1], at)):
                    self.fault(line.strip())
                elif name[1] != "hostile":
                    self.totals["spoilt caches quarantined"] += 1


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    seed = int(os.environ.get("SEED", "1"))
    with tempfile.TemporaryDirectory(prefix="treekvd-torture.") as directory:
        torture = Torture(sys.argv[1], directory, float(sys.argv[2]), seed)
        try:
            torture.run()
        finally:
            if torture.keeper:
                torture.keeper.terminate()
            for cache in torture.writing():
                cache.writer.kill()
            for guest in torture.sharing.guests:
                guest.process.kill()
        torture.check_log()
        if torture.faults and (keep := os.environ.get("KEEP_LOG")):
            shutil.copy(os.path.join(directory, "log"), keep)
    for name, value in torture.totals.items():
        print(f"{name}: {value}")
    print(f"seed {seed}, {time.monotonic() - torture.begun:.0f} s: "
          f"{len(torture.faults)} faults")
    sys.exit(bool(torture.faults))


if __name__ == "__main__":
    main()
