#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Kills everything, at random, for a while: torture.py BUILD-DIRECTORY SECONDS.

Self-checking writers (tests/helpers/kvwriter.c) fill a few caches of a daemon
under a keeper. Meanwhile, by a fixed seed (SEED=N in the environment), writers
and the daemon are killed, leases broken, caches snapshotted, dropped, attached
to again, the service stopped and restored from disk, and a hostile client lies
in its own cache. Every row that a writer sees is checked, and no cache may ever
be behind what a writer has said is committed. Exit status 1 when one was.
"""
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter

CACHES = 6
SHAPES = [[], ["--policy", "h2o", "--slack", "64"], ["--layers", "5"],
          ["--policy", "tova", "--lockstep"], ["--policy", "streaming"],
          ["--budget", "300", "--per-step-max", "8", "--slack", "32"]]
HARMLESS = re.compile(
    "closed the connection|being written by process|lease of cache|"
    "cannot connect|has not made room|is being created|is being broken|"
    "out of turn|ask again|Connection re|hangs|timed out|stopping|restor")


class Cache:
    """One name, what is known of it, and its writer, if there is one."""

    def __init__(self, number):
        self.name = f"t{number}"
        self.shape = SHAPES[number % len(SHAPES)]
        self.floor = 0      # tokens that a writer has said are committed
        self.fresh = False  # the next writer must come behind the floor
        self.deaf = False   # its writer's lease is being broken
        self.writer = None
        self.reader = None


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
        os.environ["TREEKV_SOCKET"] = os.path.join(directory, "sock")

    def program(self, name):
        return os.path.join(self.bin, name)

    def fault(self, text):
        self.faults.append(text)
        print(f"not ok - {text}", flush=True)

    # ---- the service ----

    def start(self):
        self.keeper = subprocess.Popen(
            [self.program("treekvd"), "--keeper", "--socket",
             os.environ["TREEKV_SOCKET"], "--state-dir",
             os.path.join(self.directory, "state"), "--workers", "2"],
            stderr=open(os.path.join(self.directory, "log"), "a"))
        self.wait_until_up()

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

    def write(self, cache):
        steps = self.random.choice([10, 300, 5000, 100000])
        cache.fresh = True
        cache.deaf = False
        cache.writer = subprocess.Popen(
            [os.path.join(self.helpers, "kvwriter"), "--cache", cache.name,
             "--steps", str(steps), "--progress", *cache.shape],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        cache.reader = threading.Thread(target=self.follow, args=(cache,))
        cache.reader.start()
        self.totals["writers"] += 1

    def follow(self, cache):
        """Takes the floor up with each commit that the writer tells of."""
        for line in cache.writer.stdout:
            word, *rest = line.split()
            if word == "committed":
                tail = int(rest[0])
                if cache.deaf:
                    continue
                if cache.fresh and tail < cache.floor:
                    self.fault(f"{cache.name}: {tail} tokens, but "
                               f"{cache.floor} were committed")
                cache.fresh = False
                cache.floor = tail
                self.totals["commits"] += 1
            elif word == "tail" and not cache.deaf:
                self.totals["rows checked"] += int(rest[4])
                if int(rest[0]) < cache.floor:
                    self.fault(f"{cache.name}: ends at {rest[0]} tokens, but "
                               f"{cache.floor} were committed")

    def join(self, cache):
        code = cache.writer.wait()
        cache.reader.join()
        errors = cache.writer.stderr.read()
        cache.writer = None
        if code == 1:
            self.fault(f"{cache.name}: {errors.strip()}")
        elif code == 3:
            self.totals["refusals"] += 1
            if not HARMLESS.search(errors):
                self.fault(f"{cache.name}: {errors.strip()}")
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
            done, _ = self.ctl("lease", "break", cache.name)
            self.totals["leases broken"] += done
            if stop:
                cache.writer.send_signal(signal.SIGCONT)

    def snapshot(self):
        done, _ = self.ctl("snapshot", self.random.choice(self.caches).name)
        self.totals["snapshots"] += done

    def drop(self):
        idle = [c for c in self.caches if not c.writer]
        if not idle:
            return
        cache = self.random.choice(idle)
        done, _ = self.ctl("drop", cache.name)
        if done:
            cache.floor = 0
            self.totals["drops"] += 1
        elif self.status() is not None:
            # cut short by a death: whether it was done, nobody said
            listed, _ = self.ctl("inspect", cache.name)
            if not listed:
                cache.floor = 0

    def restart(self):
        """Stopped in good order, the writers too: caches come from disk."""
        for cache in self.writing():
            cache.writer.kill()
            self.join(cache)
        self.wait_until_up()
        self.keeper.terminate()
        self.keeper.wait()
        self.start()
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
        idle = [c for c in self.caches if not c.writer]
        if idle and self.random.random() < 0.6:
            self.write(self.random.choice(idle))
            return
        what, weight = zip((self.kill_writer, 30), (self.kill_daemon, 6),
                           (self.break_lease, 10), (self.snapshot, 12),
                           (self.drop, 4), (self.restart, 1), (self.lie, 3))
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
        for cache in self.writing():
            cache.writer.kill()
            self.join(cache)
        for cache in self.caches:
            self.write(cache)
            cache.writer.wait()
            self.join(cache)
        self.keeper.terminate()
        self.keeper.wait()


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
        with open(os.path.join(directory, "log")) as log:
            for line in log:
                if re.search('event="cache (damaged|quarantined)"', line) and \
                        "name=hostile" not in line:
                    torture.fault(line.strip())
        if torture.faults and (keep := os.environ.get("KEEP_LOG")):
            os.replace(os.path.join(directory, "log"), keep)
    for name, value in torture.totals.items():
        print(f"{name}: {value}")
    print(f"seed {seed}, {time.monotonic() - torture.begun:.0f} s: "
          f"{len(torture.faults)} faults")
    sys.exit(bool(torture.faults))


if __name__ == "__main__":
    main()
