# SPDX-License-Identifier: BSD-2-Clause
"""One long stream at a fixed budget: does it stay as good, as small, as fast?

Through the daemon as users run it, with treekv-run's default slack. While it
reads, the memory of cache, daemon and engine is looked at, and the processor
time that each of them has taken: on a machine that does other things, too, that
tells more than the clock."""
import math
import os
import subprocess
import time

import intervals
import perplexity
import scoring
import svg
import texts
from runner import Cell, work

BUDGET = 256
BINS = 100
TICK = os.sysconf("SC_CLK_TCK")


def resident(pid):
    """Bytes, huge pages included."""
    total = 0
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith(("Rss:", "Shared_Hugetlb:", "Private_Hugetlb:")):
                total += int(line.split()[1]) << 10
    return total


def processor(pid):
    """Seconds."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def look(evaluation, pid):
    """None when the cache is not there, or no longer."""
    caches = [c for c in evaluation.control("list") if c["writer_pid"] == pid]
    if not caches:
        return None
    daemon = evaluation.daemon.process.pid
    try:
        return {"tail": caches[0]["tail"], "time": time.monotonic(),
                "bytes": caches[0]["bytes"], "held": caches[0]["held"],
                "engine": resident(pid), "daemon": resident(daemon),
                "engine_cpu": processor(pid), "daemon_cpu": processor(daemon)}
    except OSError:
        return None


def watch(evaluation, process, size):
    """Looks once in each hundredth of the stream, until it has been read."""
    looks = []
    while True:
        found = look(evaluation, process.pid)
        if found and found["tail"] and (
                not looks or (found["tail"] * BINS // size >
                              looks[-1]["tail"] * BINS // size)):
            if looks:
                evaluation.did(work(found["tail"] - looks[-1]["tail"], BUDGET))
            looks.append(found)
        try:
            process.wait(0.2)
            return looks
        except subprocess.TimeoutExpired:
            pass  # it still runs


def run_stream(evaluation, ids, policy):
    source, sink = evaluation.path("stream"), evaluation.path("nll")
    texts.write(source, ids)
    process = evaluation.start("--ids", source, "--policy", policy, "--budget",
                               str(BUDGET), "--perplexity", "--nll", sink)
    looks = watch(evaluation, process, len(ids))
    if process.returncode:
        raise SystemExit("treekv-run failed:\n" +
                         process.stderr.read().decode())
    nll = scoring.read_scores(sink)
    size = len(nll) // BINS
    bins = [math.fsum(nll[i * size:(i + 1) * size]) / size
            for i in range(BINS)]
    return {"bins": bins, "size": size, "looks": looks,
            "nll": math.fsum(nll) / len(nll), "tokens": len(ids)}


def name(policy):
    return f"stream/{policy}"


def cells(settings):
    ids = texts.endless(settings.texts, settings.stream)
    return [Cell(name(policy), {"budget": BUDGET, "policy": policy}, ids,
                 work(len(ids), BUDGET),
                 lambda evaluation, policy=policy: run_stream(
                     evaluation, ids, policy))
            for policy in settings.stream_policies]


def rates(looks, *clocks):
    """Microseconds of the clocks a token, from look to look."""
    ret = []
    for a, b in zip(looks, looks[1:]):
        spent = sum(b[clock] - a[clock] for clock in clocks)
        ret.append((b["tail"], 1e6 * spent / (b["tail"] - a["tail"])))
    return ret


def smooth(values, n=5):
    return [math.fsum(values[max(0, i - n):i + n + 1]) /
            len(values[max(0, i - n):i + n + 1]) for i in range(len(values))]


def figure(settings, results):
    names = settings.stream_policies
    size = settings.stream
    base = results[name("streaming")]["bins"]
    curves = {p: smooth(results[name(p)]["bins"]) for p in names}
    low = min(map(min, curves.values())) * 0.98
    high = max(map(max, curves.values())) * 1.02
    ticks = [t for t in svg.steps(0, size, 4)]
    left = svg.Axes(60, 46, 300, 230, (0, size), (low, high))
    left.frame("nats a token, over the stream", "tokens read", "nats a token",
               ticks, svg.steps(low, high))
    gaps = {p: smooth([a - b for a, b in zip(results[name(p)]["bins"], base)])
            for p in names}
    bounds = [v for g in gaps.values() for v in g] + [0.0]
    span = (max(bounds) - min(bounds)) * 0.1 + 0.001
    right = svg.Axes(440, 46, 300, 230, (0, size),
                     (min(bounds) - span, max(bounds) + span))
    right.frame("the same, less streaming's", "tokens read", "nats a token",
                ticks, svg.steps(min(bounds) - span, max(bounds) + span))
    for policy in names:
        xs = [(i + 0.5) * results[name(policy)]["size"] for i in range(BINS)]
        left.line(list(zip(xs, curves[policy])), svg.color(policy))
        right.line(list(zip(xs, gaps[policy])), svg.color(policy))
    return svg.document(770, 330, left.parts + right.parts + svg.legend(
        60, 16, names, width=110), "Negative log-likelihood over a long stream")


def settled(looks):
    """All but the first twentieth, in which buffers come to their size."""
    return [x for x in looks if x["tail"] * 20 >= looks[-1]["tail"]]


def spread(looks, what):
    values = [x[what] for x in settled(looks)]
    return min(values), max(values)


def memory(looks, what):
    low, high = spread(looks, what)
    if low == high:
        return f"{low} B, flat"
    return f"{low} to {high} B"


def halves(looks, *clocks):
    """Microseconds a token in the first and the second half."""
    looks = settled(looks)
    middle = looks[len(looks) // 2]
    return [rates([a, b], *clocks)[0][1]
            for a, b in ((looks[0], middle), (middle, looks[-1]))]


def report(settings, results):
    lines = [f"## {settings.stream} tokens at a budget of {BUDGET}", "",
             "![a long stream](stream.svg)", "",
             "Means over hundredths of the stream, smoothed over eleven of "
             "them. All of the stream, its first and last tenth, and the "
             "perplexity against streaming's (paired over the hundredths):",
             "", "| policy | nats a token | first tenth | last tenth | "
             "perplexity | against streaming |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    base = results[name("streaming")]["bins"]
    for policy in settings.stream_policies:
        r = results[name(policy)]
        first = math.fsum(r["bins"][:BINS // 10]) / (BINS // 10)
        last = math.fsum(r["bins"][-(BINS // 10):]) / (BINS // 10)
        gap = intervals.percent(intervals.paired(r["bins"], base))
        lines.append(f"| {policy} | {r['nll']:.4f} | {first:.4f} | "
                     f"{last:.4f} | {math.exp(r['nll']):.3f} | "
                     f"{perplexity.signed(gap)} % |")
    lines += ["", "Memory in bytes after the first twentieth (the least and "
              "the most that was seen, where they differ), and microseconds "
              "of processor time that a token took in the first and the "
              "second half of what followed:", "",
              "| policy | cache | engine, resident | daemon, resident | "
              "engine | daemon |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for policy in settings.stream_policies:
        looks = results[name(policy)]["looks"]
        if len(settled(looks)) < 3:
            continue
        engine = halves(looks, "engine_cpu")
        daemon = halves(looks, "daemon_cpu")
        lines.append(
            f"| {policy} | {memory(looks, 'bytes')} | "
            f"{memory(looks, 'engine')} | {memory(looks, 'daemon')} | "
            f"{engine[0]:.1f}, {engine[1]:.1f} | "
            f"{daemon[0]:.1f}, {daemon[1]:.1f} |")
    summary = {}
    for policy in settings.stream_policies:
        r = results[name(policy)]
        summary[policy] = {key: r[key] for key in ("nll", "tokens", "bins",
                                                   "size")}
        summary[policy]["looks"] = {
            what: [look[what] for look in r["looks"]]
            for what in r["looks"][0]}
    return lines + [""], summary, {"stream.svg": figure(settings, results)}
