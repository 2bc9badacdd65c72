#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""torture.py, but the daemon lives: soak.py BUILD-DIRECTORY SECONDS.

For a build with sanitizers. Clients are killed, caches broken into, parked,
frozen, forked and dropped as there, by a fixed seed (SEED=N). Ten times on the
way everything is dropped, and what the daemon then holds is written down:
descriptors, mappings, memory. Afterwards these must be what they were after the
first time, mappings and memory but for a fifth and 8 MiB (allocators keep some);
nobody may have restarted the daemon; and no sanitizer may have had anything to
report.

Exit status 1 when anything was not as it ought to be.
"""
import os
import pathlib
import re
import sys
import tempfile
import time

from torture import Torture

ROUNDS = 10
REPORT = re.compile("Sanitizer|runtime error")
SLACK_KIB = 8192
FIELDS = ("descriptors", "mappings", "memory_kib")


class Soak(Torture):
    def __init__(self, *args):
        super().__init__(*args)
        self.held = []
        self.pid = None

    # The daemon is to live; as often there is something else to do.
    def kill_daemon(self):
        self.snapshot()

    def restart(self):
        self.drop()

    def options(self):
        """Room for most, so that some are parked and leases can be broken."""
        return ["--workers", "2", "--huge-pages", "never", "--pool", "800K",
                "--high-water", "90", "--snapshot-every", "1"]

    def start(self):
        super().start()
        self.pid = self.status()["pid"]

    def holds(self):
        proc = pathlib.Path(f"/proc/{self.pid}")
        rss = re.search(r"VmRSS:\s+(\d+)", (proc / "status").read_text())
        return (len(list((proc / "fd").iterdir())),
                len((proc / "maps").read_text().splitlines()), int(rss[1]))

    def clear(self):
        """Nobody is there any more, and no cache."""
        self.sharing.stop()
        self.sharing.prefixes = []
        for cache in self.writing():
            cache.writer.kill()
            self.join(cache)
        for name in self.listed():
            self.ctl("drop", name)
        for cache in self.caches:
            self.dropped(cache)

    def settled(self):
        """What it holds once it has given back what it gives back."""
        until = time.monotonic() + 60
        best = self.holds()
        while time.monotonic() < until and self.held and \
                best[0] > self.held[0][0]:
            time.sleep(0.1)
            best = min(best, self.holds())
        return best

    def look(self):
        self.clear()
        self.held.append(self.settled())
        print(f"# {time.monotonic() - self.begun:.0f} s: "
              f"{dict(zip(FIELDS, self.held[-1]))}, {dict(self.totals)}",
              flush=True)

    def run(self):
        self.start()
        span = (self.until - self.begun) / ROUNDS
        for turn in range(ROUNDS):
            until = self.begun + (turn + 1) * span
            while time.monotonic() < until and not self.faults:
                self.step()
            self.look()
        if self.wait_until_up()["pid"] != self.pid:
            self.fault("the daemon is another one than in the beginning")
        self.keeper.terminate()
        self.keeper.wait()

    def check_held(self):
        first, last = self.held[0], self.held[-1]
        for name, before, after in zip(FIELDS, first, last):
            most = before if name == "descriptors" else before * 6 // 5
            most += SLACK_KIB if name == "memory_kib" else 0
            if after > most:
                self.fault(f"{name}: {before} in the beginning, {after} now")

    def check_reports(self):
        log = pathlib.Path(self.directory, "log").read_text()
        for line in log.splitlines():
            if REPORT.search(line):
                self.fault(line.strip())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    seed = int(os.environ.get("SEED", "1"))
    with tempfile.TemporaryDirectory(prefix="treekvd-soak.") as directory:
        soak = Soak(sys.argv[1], directory, float(sys.argv[2]), seed)
        try:
            soak.run()
        finally:
            if soak.keeper:
                soak.keeper.terminate()
            soak.sharing.stop()
            for cache in soak.writing():
                cache.writer.kill()
        soak.check_held()
        soak.check_reports()
        if soak.faults and (keep := os.environ.get("KEEP_LOG")):
            pathlib.Path(keep).write_bytes(
                pathlib.Path(directory, "log").read_bytes())
    for name, value in soak.totals.items():
        print(f"{name}: {value}")
    print(f"seed {seed}, {time.monotonic() - soak.begun:.0f} s: "
          f"{len(soak.faults)} faults")
    sys.exit(bool(soak.faults))


if __name__ == "__main__":
    main()
