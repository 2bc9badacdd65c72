# SPDX-License-Identifier: BSD-2-Clause
"""The rows of the result, in their order.

Of each its name, what is measured, against what, the unit, and its goal:
("ours" or "ratio", "<=" or ">=", limit), or None: for context. A ratio is ours
/ theirs. A row X.p99 that nobody measures is made of the samples of X.
"""

BATCHES = (1, 16, 64)
CONTEXTS = (1024, 2048, 4096, 8192)
SCANS = (("f32.64", "f32, 64"), ("f32.128", "f32, 128"),
         ("bf16.64", "bf16, 64"), ("bf16.128", "bf16, 128"))


def at_most(limit):
    return ("ratio", "<=", limit)


def at_least(limit):
    return ("ratio", ">=", limit)


def is_at_most(limit):
    return ("ours", "<=", limit)


def machine():
    """No comparison: what other rows can be held against."""
    yield "machine.copy", "memcpy of 64 MiB", None, "GB/s", None
    yield "machine.read", "64 MiB read", None, "GB/s", None
    yield "machine.syscall", "a system call", None, "ns", None
    yield "machine.echo", "wake another process, and back", None, "us", None
    yield "machine.page", "first touch of a page", None, "ns", None
    yield "machine.page.huge", "mmap of a huge page and its first touch", \
        None, "us", None


def round_trips():
    """Requests over an open connection, and how they end 99 times of 100."""
    requests = [
        ("request.miss", "look a name up that is not there", "a bare echo",
         "Redis GET of 64 B", 2),
        ("request.attach", "attach and detach, small cache", "two bare echoes",
         "two times Redis GET of 64 B", 2),
        ("lookup.whole", "find a prompt of 1,000 tokens, of 10,000 prefixes",
         "an echo of as many bytes", "Redis GET of 64 B", 2),
    ]
    for name, what, echo, get, limit in requests:
        yield name, what, echo, "us", at_most(limit)
        yield f"{name}.p99", "the same, 99 of 100", echo, "us", at_most(limit)
        yield f"{name}.redis", "the same", get, "us", at_most(1)
        yield (f"{name}.redis.p99", "the same, 99 of 100", get, "us",
               at_most(1))
    yield ("lookup.part", "the same, known up to token 800",
           "an echo of as many bytes", "us", at_most(2))
    yield ("lookup.awake", "lookup.whole by a daemon with busy-poll 200 us",
           "an echo of as many bytes", "us", at_most(2))
    yield ("lookup.awake.us", "the same, by itself", None, "us",
           is_at_most(15))
    yield ("lookup.miss", "the same, not known", "an echo of as many bytes",
           "us", at_most(2))
    yield "request.stats", "stats", "a bare echo", "us", None


def attaches():
    for size in (64, 256):
        what = f"attach {size} MiB in a fresh process, to the last byte"
        name = f"attach.{size}"
        yield name, what, "Redis GET, all bytes", "us", at_most(0.01)
        yield (f"{name}.memcached", "the same", "memcached, in chunks", "us",
               None)
        yield (f"{name}.read", "the same", "read() of a file in memory", "us",
               at_most(0.02))
        yield (f"{name}.mmap", "the same", "mmap of that file, populated",
               "us", None)
        yield (f"{name}.bare", "the same", "mmap of a huge-page memfd", "us",
               at_most(1.3))
    yield ("attach.64.us", "64 MiB over a new connection, by itself", None,
           "us", is_at_most(100))
    yield ("attach.64.scan", "64 MiB, all of it read",
           "Redis GET, all bytes", "us", None)
    yield ("attach.small", "64 MiB, small pages, to the last byte",
           "Redis GET, all bytes", "us", at_most(0.01))
    yield ("attach.small.scan", "64 MiB, small pages, all of it read",
           "Redis GET, all bytes", "us", None)


def creations():
    yield ("create", "create 64 MiB from the ready pool, huge pages",
           "mmap and memset", "us", at_most(1 / 3))
    yield ("create.rush", "the same, faster than it is refilled",
           "mmap and memset", "us", None)


def steps():
    for name, pages in (("step", "huge pages"), ("step.small", "small pages")):
        yield (name, f"a step of an 8B-shaped cache, {pages}",
               "same writes, private arrays", "us", at_most(1.05))
        yield (f"{name}.in-place", "the same", "the same, scores in place",
               "us", None)
    yield "batch.step", "tokens a compaction, meanwhile", None, "tokens", None
    yield "stalls.step", "stalls, stepping", None, "stalls", is_at_most(0)
    for name, shape in SCANS:
        yield (f"scan.{name}", f"attention over a view, {shape}",
               "dense private arrays", "ns/row", at_most(1.05))


def evictions():
    unit = "ns/token/head"
    for n in BATCHES:
        yield (f"evict.{n}", f"evict in batches of {n}, 256 heads",
               "memmove walk", unit, is_at_most(15) if n == 16 else None)
        for policy, name in (("h2o", "H2O"), ("tova", "TOVA")):
            yield (f"evict.{n}.argmin.{policy}", "the same",
                   f"{name}'s arg-min, as compact", unit, at_most(1))
        yield (f"evict.{n}.gather", "the same", "gather-copy of K and V",
               unit, at_most(1))
    yield ("evict.16.layer", "evict in batches of 16, 8 heads",
           "memmove walk", unit, is_at_most(15))
    yield ("evict.16.u32", "evict in batches of 16, u32 entries",
           "memmove walk", unit, None)
    yield ("evict.16.h2o", "evict in batches of 16, h2o", "naive arg-min",
           unit, None)
    yield ("evict.16.tova", "evict in batches of 16, tova", "naive arg-min",
           unit, None)
    yield ("evict.bytes", "bytes moved, batches of 16, at most",
           "gather-copy at every token", "bytes/token/head", at_most(0.001))
    yield ("evict.bytes.batch", "the same", "gather-copy, batches of 16",
           "bytes/token/head", None)


def publications():
    yield ("publish", "doorbell to publication seen, 64 caches, 200 tokens/s",
           None, "us", None)
    yield ("publish.p99", "the same, 99 of 100", "what the slack lasts", "us",
           at_most(1))
    yield ("publish.stalls", "stalls, meanwhile", None, "stalls",
           is_at_most(0))
    yield ("publish.rate", "tokens of a cache, meanwhile", "200", "tokens/s",
           at_least(0.98))


def runs():
    yield ("run", "treekv-run through the daemon", "--local", "tokens/s",
           at_least(0.98))
    for n in CONTEXTS:
        yield (f"run.full.{n}", f"the same around token {n}", "full cache",
               "tokens/s", at_least(1) if n >= 2048 else None)
    yield "stalls.run", "stalls, treekv-run", None, "stalls", is_at_most(0)
    yield ("flat.time", "a step after 1,048,576 tokens", "after 4,096", "us",
           at_most(1.1))
    yield ("flat.time.full", "the same, budget 1,024", "full cache", "us",
           at_most(0.01))
    yield ("flat.memory", "memory after 1,048,576 tokens", "after 4,096",
           "MiB", at_most(1))
    yield ("flat.memory.full", "the same, budget 1,024", "full cache", "MiB",
           at_most(0.01))
    for name, what, least in (
            ("prefill.1", "a prompt of 2,000 as a whole, one thread", 2),
            ("prefill.2", "the same, two threads", 2),
            ("prefill.large.1",
             "a prompt as a whole, weights beyond the cache", 5),
            ("prefill.large.2", "the same, two threads", 5)):
        yield name, what, "token by token", "tokens/s", at_least(least)


def persisted():
    for pages in ("huge", "small"):
        yield (f"snapshot.{pages}", f"write a snapshot, {pages} pages", "fio",
               "MiB/s", at_least(0.9))
        yield (f"restore.{pages}", f"restore a snapshot, {pages} pages", "fio",
               "MiB/s", at_least(0.9))
    yield ("restore.small.pages", "restore a snapshot, small pages",
           "filling a memfd from memory", "MiB/s", None)


def many():
    yield ("park.2", "wanted caches found in memory, room for 2 %", "LRU", "%",
           at_least(1))
    yield "park.2.ceiling", "the same", "Belady, the ceiling", "%", None
    yield ("park.10", "the same, room for 10 %", "LRU", "%", at_least(1))
    yield "park.10.ceiling", "the same", "Belady, the ceiling", "%", None
    yield ("many.p50", "attach, 1,000 caches, 64 processes at once: median",
           None, "us", None)
    yield "many.p99", "the same: 99 of 100", None, "us", None
    yield ("many.parked.p50", "the same, room for 250 of them: median", None,
           "us", None)
    yield "many.parked.p99", "the same: 99 of 100", None, "us", None
    yield ("scale.processes", "attach, 20 tokens, detach: 64 processes",
           "the median of 2 to 32", "1/s", at_least(0.9))
    yield ("scale.processes.p99", "the same, 99 of 100",
           "32 times that of 2", "us", at_most(1))
    yield ("scale.caches", "the same, 1 process, 1,000 caches", "10 caches",
           "1/s", at_least(0.9))
    yield ("scale.caches.p99", "the same, 99 of 100", "10 caches", "us", None)


def hostile():
    yield ("hostile", "a step of an 8B-shaped cache beside a hostile client",
           "beside a process that only computes", "us", None)
    yield "hostile.alone", "the same", "beside nobody", "us", None


def watching():
    yield ("watch", "treekv-run, watched by eBPF", "treekv-run, unwatched",
           "tokens/s", at_least(0.99))
    yield ("watch.cpu", "the same, its processor time",
           "treekv-run, unwatched", "us/token", at_most(1.01))
    yield ("probe", "a loop of probes, nobody attached", "the loop without",
           "ns each", is_at_most(2))
    yield ("probe.attached", "a loop of probes, eBPF attached",
           "the loop without", "ns each", None)
    yield ("idle", "wake-ups of a daemon with 1,000 caches attached, in 10 s",
           None, "wake-ups", is_at_most(0))
    yield ("top", "1,000 caches shown each second: treekv-top and the daemon",
           None, "% of a core", is_at_most(2))


ROWS = [row for part in (machine, round_trips, attaches, creations, steps,
                         evictions, publications, runs, persisted, many,
                         watching, hostile)
        for row in part()]
