#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Snapshot and restore of one cache against fio on the same file system.

Usage: bench_snapshot.py BUILD-DIRECTORY [FOLDER]. fio writes and reads files of
the snapshot's size with the daemon's own block size and depth, O_DIRECT, and
fsync at the end; the sides take turns, and each ratio is that of neighbours.
"""

import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PAIRS = 7
CACHE = ["--cache", "big", "--layers", "32", "--heads", "8", "--k-row", "256",
         "--v-row", "256", "--dtype", "3", "--budget", "2048", "--slack", "64",
         "--recent", "512", "--verify-every", "0"]
FIO = ["fio", "--name=job", "--bs=1M", "--iodepth=8", "--ioengine=io_uring",
       "--direct=1", "--output-format=json"]


@contextlib.contextmanager
def daemon(build, folder, pages):
    socket = folder / "sock"
    os.environ["TREEKV_SOCKET"] = str(socket)
    (folder / "conf").touch()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [build / "bin/treekvd", "--config", folder / "conf", "--socket",
             socket, "--state-dir", folder / "state", "--huge-pages", pages,
             "--snapshot-on-stop", "no"], stderr=log)
    while not socket.exists():
        if process.poll() is not None:
            sys.exit((folder / "log").read_text())
        time.sleep(0.01)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def ctl(build, *arguments):
    done = subprocess.run([build / "bin/treekvctl", *arguments, "--json"],
                          check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def fio(what, path, size):
    done = subprocess.run([*FIO, f"--rw={what}", f"--filename={path}",
                           f"--size={size}", "--end_fsync=1",
                           "--fallocate=posix"],
                          check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["jobs"][0][what]["bw_bytes"] / 2**20


def speed(reply):
    return reply[0]["bytes"] / 2**20 / (reply[0]["ns"] / 1e9)


def measure(build, folder):
    rows = {"snapshot": [], "restore": []}
    file = folder / "state/snapshots" / str(os.getuid()) / "big.tkv"
    subprocess.run([build / "tests/helpers/kvwriter", *CACHE, "--steps",
                    "2100"], check=True, stdout=subprocess.DEVNULL)
    ctl(build, "snapshot", "big")
    size = file.stat().st_size
    for _ in range(PAIRS):
        file.unlink()
        ours = speed(ctl(build, "snapshot", "big"))
        rows["snapshot"].append((ours, fio("write", folder / "fio", size)))
        (folder / "fio").unlink()
        ctl(build, "drop", "big", "--keep-snapshot")
        ours = speed(ctl(build, "restore", "big"))
        rows["restore"].append((ours, fio("read", file, size)))
    return rows, size


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    where = sys.argv[2] if len(sys.argv) > 2 else None
    pages = os.environ.get("HUGE_PAGES", "prefer")
    if not shutil.which("fio"):
        sys.exit("bench_snapshot.py: fio is not installed: nothing to compare "
                 "with")
    with tempfile.TemporaryDirectory(prefix="treekv-bench-", dir=where) as name:
        folder = pathlib.Path(name)
        with daemon(build, folder, pages):
            rows, size = measure(build, folder)
    print(f"{size / 2**20:.0f} MiB, MiB/s: median (min-max), {PAIRS} pairs")
    for name, pairs in rows.items():
        sides = [f"{statistics.median(side):.0f} "
                 f"({min(side):.0f}-{max(side):.0f})" for side in zip(*pairs)]
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{name:<10} ours {sides[0]:<20} fio {sides[1]:<20} "
              f"ratio {ratio:.2f} (goal 0.9)")


if __name__ == "__main__":
    main()
