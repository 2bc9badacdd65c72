# SPDX-License-Identifier: BSD-2-Clause
"""Snapshots against fio, on the file system of the build directory."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from setting import Topic, rounds

PAIRS = 7
CACHE = ["--cache", "big", "--layers", "32", "--heads", "8", "--k-row", "256",
         "--v-row", "256", "--dtype", "3", "--budget", "2048", "--slack", "64",
         "--recent", "512", "--verify-every", "0", "--steps", "2100"]
# The daemon's own block size and depth (daemon/staging.h).
FIO = ["fio", "--name=job", "--bs=1M", "--iodepth=8", "--ioengine=io_uring",
       "--direct=1", "--output-format=json", "--end_fsync=1",
       "--fallocate=posix"]


def fio(what, path, size):
    if not shutil.which("fio"):
        return []
    done = subprocess.run([*FIO, f"--rw={what}", f"--filename={path}",
                           f"--size={size}"],
                          check=True, stdout=subprocess.PIPE)
    return [json.loads(done.stdout)["jobs"][0][what]["bw_bytes"] / 2**20]


def fill_memfd(size):
    chunk = b"\1" * 2**20
    memfd = os.memfd_create("bench")
    try:
        started = time.monotonic()
        for at in range(0, size, len(chunk)):
            os.pwrite(memfd, chunk, at)
        return [size / 2**20 / (time.monotonic() - started)]
    finally:
        os.close(memfd)


def persisted(reply):
    return [reply[0]["bytes"] / 2**20 / (reply[0]["ns"] / 1e9)]


def drop_from_memory(setting, daemon):
    """Returns when its memory has been given back."""
    setting.ctl(daemon, "drop", "big", "--keep-snapshot")
    while setting.ctl(daemon, "status")["metrics"]["caches"]:
        pass


def pairs(setting, daemon, label):
    folder = daemon.state.parent
    file = daemon.state / "snapshots" / str(os.getuid()) / "big.tkv"
    rows = {name: {"ours": [], "theirs": []} for name in
            (f"snapshot.{label}", f"restore.{label}", "restore.small.pages")}
    subprocess.run([setting.build / "tests/helpers/kvwriter", *CACHE],
                   check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "TREEKV_SOCKET": str(daemon.socket)})
    for i in rounds(PAIRS + 1):
        file.unlink(missing_ok=True)
        saved = setting.ctl(daemon, "snapshot", "big")
        size = saved[0]["bytes"]
        written = fio("write", folder / "fio", size)
        (folder / "fio").unlink(missing_ok=True)
        drop_from_memory(setting, daemon)
        restored = setting.ctl(daemon, "restore", "big")
        read = fio("read", file, size)
        filled = fill_memfd(size)
        if i:  # the first pair touches all memory for the first time
            for name, ours, theirs in zip(
                    rows, (saved, restored, restored), (written, read, filled)):
                rows[name]["ours"] += persisted(ours)
                rows[name]["theirs"] += theirs
    if label != "small":
        del rows["restore.small.pages"]
    return rows


def measure(setting, label, pages):
    with tempfile.TemporaryDirectory(dir=setting.disk) as name:
        state = pathlib.Path(name) / "state"
        with setting.daemon(pages, state=state) as daemon:
            return pairs(setting, daemon, label)


TOPICS = [
    Topic(("snapshot.small", "restore.small", "restore.small.*"),
          lambda setting: measure(setting, "small", "never"), slow=True),
    Topic(("snapshot.huge", "restore.huge"),
          lambda setting: measure(setting, "huge", "require"), huge=160,
          must=True, slow=True),
]
