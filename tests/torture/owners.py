# SPDX-License-Identifier: BSD-2-Clause
"""Owners, modes and quotas for torture.py, when root runs it.

Caches go to another user and come back, in memory and on disk, and are written
by him or by root, in turns: then their rows are copied. What he may have changes
all the time. Whose a cache is says nothing about its rows, which are checked as
everybody's.
"""
import os
import re
import shutil
import time

USER = 61001
# What is refused where somebody else would not be.
REFUSALS = {
    "quotas met": re.compile(f"user {USER} is at the limit"),
    "changes met": re.compile("are being changed|being given to another"),
    "copies without room": re.compile("the pool has no room for a copy"),
}
# Why a cache is not given, rather than perhaps not yet.
DEFINITE = re.compile("is at the limit|has a cache|is damaged")


class Owners:
    def __init__(self, torture):
        self.torture = torture
        self.random = torture.random
        self.totals = torture.totals
        self.bin = os.path.join(torture.directory, "bin")
        self.on = os.geteuid() == 0 and shutil.which("setpriv") is not None

    def prepare(self):
        """Once the daemon listens: lets him in."""
        if not self.on:
            return
        os.chmod(self.torture.directory, 0o755)
        os.chmod(os.environ["TREEKV_SOCKET"], 0o666)
        os.makedirs(self.bin, exist_ok=True)
        shutil.copy(os.path.join(self.torture.helpers, "kvwriter"), self.bin)

    def writer(self, cache):
        """A command to write it with, as one of those who may."""
        if cache.home and self.random.random() < 0.5:
            self.totals["attaches of another user"] += 1
            return ["setpriv", f"--reuid={USER}", f"--regid={USER}",
                    "--clear-groups", os.path.join(self.bin, "kvwriter")]
        return [os.path.join(self.torture.helpers, "kvwriter")]

    def give(self):
        """To him, or back. Who writes it goes on; but who is on his way to it
        would make another of that name."""
        there = [c for c in self.torture.caches if not c.writer or not c.fresh]
        if not self.on or not there:
            return
        cache = self.random.choice(there)
        to = "0" if cache.home else str(USER)
        until = time.monotonic() + 60
        while cache.name in self.torture.listed():
            done, why = self.torture.ctl("chown", to, cache.called())
            # What nobody has answered may have been done by now.
            if done or "there is no cache" in why:
                cache.home = "" if cache.home else f"~{USER}/"
                self.totals["caches given"] += 1
                return
            if DEFINITE.search(why) or time.monotonic() > until:
                return

    def chmod(self):
        cache = self.random.choice(self.torture.caches)
        done, _ = self.torture.ctl(
            "chmod", self.random.choice(["0600", "0640", "0666"]),
            cache.called())
        self.totals["modes changed"] += done

    def quota(self):
        if not self.on:
            return
        limits = self.random.choice(
            [["caches=1"], ["caches=none"], ["bytes=100K"], ["bytes=none"],
             ["requests=1"], ["requests=none"], ["connections=1"],
             ["connections=none", "bytes=none", "caches=none"]])
        done, _ = self.torture.ctl("quota", str(USER), *limits)
        self.totals["quotas changed"] += done
