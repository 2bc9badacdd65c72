# SPDX-License-Identifier: BSD-2-Clause
"""Many caches, many processes, long sequences: what grows and what does not."""

import os
import statistics
import subprocess

from setting import Topic
from judge import quantile

PROCESSES = (1, 2, 4, 8, 16, 32, 64)
CACHES = (1, 10, 100, 1000)
LENGTHS = tuple(1 << n for n in range(10, 21, 2))
BASE = 4096  # tokens: the cache is full and has been compacted
LIMIT = 1.0  # seconds a sample
ROUNDS = 3


def measure_publish(setting):
    with setting.daemon("never", "--workers", "1", "--pool", "80%") as daemon:
        return setting.program("publish", daemon.socket)


def one_scale(setting, daemon, processes, caches):
    rows = setting.program("scale", daemon.socket, processes, caches, LIMIT)
    took = rows["scale"]
    return took["ours"][0], took["theirs"]


def curve(setting, daemon, points):
    """By point: throughput and p99 of each round; rounds go over all points."""
    got = {point: ([], []) for point in points}
    for _ in range(ROUNDS):
        for point in points:
            rate, times = one_scale(setting, daemon, *point)
            got[point][0].append(rate)
            got[point][1].append(quantile(times, 0.99))
    return got


def middle(values):
    return sorted(values)[len(values) // 2]


def measure_scale(setting):
    by_processes = [(n, 1000) for n in PROCESSES]
    by_caches = [(1, n) for n in CACHES]
    with setting.daemon("never", "--pool", "1G") as daemon:
        got = curve(setting, daemon, by_processes + by_caches)
    rate = {point: got[point][0] for point in got}
    late = {point: got[point][1] for point in got}
    setting.curves["processes"] = [[n, middle(rate[n, 1000]),
                                    middle(late[n, 1000])] for n in PROCESSES]
    setting.curves["caches"] = [[n, middle(rate[1, n]), middle(late[1, n])]
                                for n in CACHES]
    busy = [statistics.median(of) for of in
            zip(*(rate[n, 1000] for n in PROCESSES if 2 <= n <= 32))]
    return {
        "scale.processes": {"ours": rate[64, 1000], "theirs": busy},
        "scale.processes.p99": {"ours": late[64, 1000],
                                "theirs": [32 * of for of in late[2, 1000]]},
        "scale.caches": {"ours": rate[1, 1000], "theirs": rate[1, 10]},
        "scale.caches.p99": {"ours": late[1, 1000], "theirs": late[1, 10]},
    }


def measure_flat(setting):
    with setting.daemon("never", "--pool", "80%") as daemon:
        got = setting.program("flat", daemon.socket)
    setting.curves["flat"] = [
        [n, *(statistics.median(got[f"{what}.{n}"][side])
              for what in ("time", "memory") for side in ("ours", "theirs"))]
        for n in LENGTHS]
    rows = {}
    for what in ("time", "memory"):
        last, first = got[f"{what}.{LENGTHS[-1]}"], got[f"{what}.{BASE}"]
        rows[f"flat.{what}"] = {"ours": last["ours"], "theirs": first["ours"]}
        rows[f"flat.{what}.full"] = last
    return rows


def measure_many(setting, name, attaches, pool):
    """A thousand caches of 44 KiB, attached to and added to."""
    with setting.daemon("never", "--pool", pool) as daemon:
        done = subprocess.run(
            [setting.build / "tests/helpers/kvmany", "--attaches", attaches],
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            text=True, env={**os.environ, "TREEKV_SOCKET":
                            str(daemon.socket)})
    words = done.stdout.split()
    at = dict(zip(words[0::2], words[1::2]))
    return {f"{name}.{which}": {"ours": [float(at[which])], "theirs": []}
            for which in ("p50", "p99")}


TOPICS = [
    Topic(("publish", "publish.*"), measure_publish, slow=True),
    Topic(("many.p50", "many.p99"),
          lambda setting: measure_many(setting, "many", "6400", "1G"),
          slow=True),
    Topic(("many.parked.*",),
          lambda setting: measure_many(setting, "many.parked", "640",
                                       "11000K"), slow=True),
    Topic(("scale.*",), measure_scale, slow=True),
    Topic(("flat.*",), measure_flat, slow=True),
]
