# SPDX-License-Identifier: BSD-2-Clause
#
# Has treekv-top --json what treekvctl list and status have, of a daemon that
# nobody uses meanwhile? Usage: top_json.py TOP LIST STATUS PROCESSORS

import json
import sys

top, listed, status = (json.load(open(name)) for name in sys.argv[1:4])
ADDED = {"rates", "compaction", "command"}
# Of this machine's groups and of who looks; a recording is read elsewhere.
LOCAL = {"full_name", "group"}

assert set(top) == {"time_ns", "daemon", "watch", "caches", "workers",
                    "clients", "histograms"}, set(top)
plain = [{k: v for k, v in cache.items() if k not in ADDED}
         for cache in top["caches"]]
listed = [{k: v for k, v in cache.items() if k not in LOCAL}
          for cache in listed]
assert plain == listed, (plain, listed)
for cache in top["caches"]:
    assert ADDED <= set(cache), cache
    assert cache["rates"]["tokens_per_s"] == 0, cache
    assert cache["rates"]["stalled"] == 0, cache
    times = cache["compaction"]
    assert times["source"] == "daemon", times
    assert sum(times["buckets"]) == cache["compactions"], cache
    assert (times["p50"] is None) == (cache["compactions"] == 0), cache
    if times["p50"]:
        assert 0 < times["p50"] <= times["p99"], times

daemon = top["daemon"]
for member in "daemon", "pid", "socket", "protocol":
    assert daemon[member] == status[member], (daemon, status)
assert set(daemon["metrics"]) == set(status["metrics"])
for name in "caches", "evictions_total", "stalls_total", "pool_used_bytes":
    assert daemon["metrics"][name] == status["metrics"][name], name
assert daemon["trouble"] is None
assert daemon["rates"]["tokens_per_s"] == 0
assert daemon["rates"]["requests_per_s"] > 0  # our own
assert 0.15 < daemon["rates"]["seconds"] < 20

workers = top["workers"]
assert len(workers) == daemon["metrics"]["workers"] <= int(sys.argv[4]) + 1
assert sum(w["caches"] for w in workers) == len(listed), workers
assert sum(w["compactions"] for w in workers) == \
    daemon["metrics"]["compactions_total"], workers
for worker in workers:
    assert 0 <= worker["rates"]["load"] <= 1.5, worker

histograms = {h["name"]: h for h in top["histograms"]}
assert len(histograms) == len(top["histograms"])
for h in histograms.values():
    assert h["unit"] == "nanoseconds" and h["source"] == "daemon", h
    assert sum(h["buckets"]) == h["count"], h
assert histograms["compaction"]["count"] == \
    daemon["metrics"]["compactions_total"]
assert top["watch"]["level"] == "none"
