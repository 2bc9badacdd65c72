#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the bench programs against daemons of its own and judges what they say.

Usage: bench.py BUILD-DIRECTORY. Prints a table and writes bench/bench.json
there. Speed is reported, never asserted: the exit status is 1 only when a
program failed. What the rows mean: README.md beside this file.
"""

import array
import contextlib
import fcntl
import json
import os
import pathlib
import pty
import random
import resource
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

HUGE_PAGES = 240  # 64 MiB to attach to, two 8B-shaped caches, treekv-run's
NR_HUGE = pathlib.Path("/proc/sys/vm/nr_hugepages")
MEMINFO = pathlib.Path("/proc/meminfo")
IDLE_SECONDS = 5
TOP_CACHES = 1000
TOP_SECONDS = 6
TOP_SAMPLES = 5
RUN_TOKENS = 3000
RUN_PAIRS = 5
PROMPT_TOKENS = 2000
LARGE_TOKENS = 256
LARGE_LAYER = 7.5e6  # bytes of a layer, of at most 64
SNAPSHOT_PAIRS = 7
SNAPSHOT_CACHE = ["--cache", "big", "--layers", "32", "--heads", "8", "--k-row",
                  "256", "--v-row", "256", "--dtype", "3", "--budget", "2048",
                  "--slack", "64", "--recent", "512", "--verify-every", "0",
                  "--steps", "2100"]
# The daemon's own block size and depth (daemon/staging.h).
FIO = ["fio", "--name=job", "--bs=1M", "--iodepth=8", "--ioengine=io_uring",
       "--direct=1", "--output-format=json", "--end_fsync=1",
       "--fallocate=posix"]
WATCH_PAIRS = 25
LOOK_SECONDS = 0.2

# One row of the result: its name, what is measured, against what, the unit,
# and its goal: ("ours" or "ratio", "<=" or ">=", limit), or None: for context.
# A ratio is ours / theirs.
ROWS = [
    ("attach.huge", "attach 64 MiB, huge pages, to the last byte",
     "Redis GET, all bytes", "us", ("ratio", "<=", 0.01)),
    ("attach.huge.us", "the same, by itself", None, "us", ("ours", "<=", 100)),
    ("attach.small", "attach 64 MiB, small pages, to the last byte",
     "Redis GET, all bytes", "us", ("ratio", "<=", 0.01)),
    ("attach.scan.huge", "attach and read all 64 MiB, huge pages",
     "Redis GET, all bytes", "us", None),
    ("attach.scan.small", "attach and read all 64 MiB, small pages",
     "Redis GET, all bytes", "us", None),
    ("step", "a step of an 8B-shaped cache", "same writes, private arrays",
     "us", ("ratio", "<=", 1.05)),
    ("step.in-place", "a step of an 8B-shaped cache",
     "the same, scores in place", "us", None),
    ("batch.step", "tokens a compaction, meanwhile", None, "tokens", None),
    ("evict.16", "evict in batches of 16, 256 heads", "memmove walk",
     "ns/token/head", ("ours", "<=", 15)),
    ("evict.16.layer", "evict in batches of 16, 8 heads", "memmove walk",
     "ns/token/head", ("ours", "<=", 15)),
    ("evict.1", "evict one at a time, 256 heads", "memmove walk",
     "ns/token/head", ("ours", "<=", 360)),
    ("evict.64", "evict in batches of 64, 256 heads", "memmove walk",
     "ns/token/head", None),
    ("evict.16.u32", "evict in batches of 16, u32 entries", "memmove walk",
     "ns/token/head", None),
    ("evict.16.h2o", "evict in batches of 16, h2o", "memmove walk",
     "ns/token/head", None),
    ("evict.16.tova", "evict in batches of 16, tova", "memmove walk",
     "ns/token/head", None),
    ("run", "treekv-run through the daemon", "--local", "tokens/s",
     ("ratio", ">=", 0.98)),
    ("prefill.1", "a prompt of 2,000 as a whole, one thread",
     "token by token", "tokens/s", ("ratio", ">=", 2)),
    ("prefill.2", "the same, two threads", "token by token", "tokens/s",
     ("ratio", ">=", 2)),
    ("prefill.large.1", "a prompt as a whole, weights beyond the cache",
     "token by token", "tokens/s", ("ratio", ">=", 5)),
    ("prefill.large.2", "the same, two threads", "token by token", "tokens/s",
     ("ratio", ">=", 5)),
    ("watch", "treekv-run, watched by eBPF", "treekv-run, unwatched",
     "tokens/s", ("ratio", ">=", 0.99)),
    ("watch.cpu", "the same, its processor time", "treekv-run, unwatched",
     "us/token", ("ratio", "<=", 1.01)),
    ("probe", "a loop of probes, nobody attached", "the loop without",
     "ns each", ("ours", "<=", 2)),
    ("probe.attached", "a loop of probes, eBPF attached", "the loop without",
     "ns each", None),
    ("stalls.step", "stalls, stepping", None, "stalls", ("ours", "<=", 0)),
    ("stalls.run", "stalls, treekv-run", None, "stalls", ("ours", "<=", 0)),
    ("snapshot.huge", "write a snapshot, huge pages", "fio", "MiB/s",
     ("ratio", ">=", 0.9)),
    ("snapshot.small", "write a snapshot, small pages", "fio", "MiB/s",
     ("ratio", ">=", 0.9)),
    ("restore.huge", "restore a snapshot, huge pages", "fio", "MiB/s",
     ("ratio", ">=", 0.9)),
    ("restore.small", "restore a snapshot, small pages", "fio", "MiB/s",
     ("ratio", ">=", 0.9)),
    ("restore.small.pages", "restore a snapshot, small pages",
     "filling a memfd from memory", "MiB/s", None),
    ("idle", f"wake-ups of an idle daemon in {IDLE_SECONDS} s", None,
     "wake-ups", ("ours", "<=", 0)),
    ("top", "1,000 caches shown each second: treekv-top and the daemon", None,
     "% of a core", ("ours", "<=", 2)),
    ("park.2", "wanted caches found in memory, room for 2 %", "LRU", "%",
     ("ratio", ">=", 1)),
    ("park.2.ceiling", "the same", "Belady, the ceiling", "%", None),
    ("park.10", "the same, room for 10 %", "LRU", "%", ("ratio", ">=", 1)),
    ("park.10.ceiling", "the same", "Belady, the ceiling", "%", None),
    ("many.p50", "attach, 1,000 caches, 64 processes at once: median", None,
     "us", None),
    ("many.p99", "the same: 99 of 100", None, "us", None),
    ("many.parked.p50", "the same, room for 250 of them: median", None, "us",
     None),
    ("many.parked.p99", "the same: 99 of 100", None, "us", None),
    ("request.attach", "attach and detach, small cache", "two bare echoes",
     "us", None),
    ("request.miss", "attach to a name that is not there", "a bare echo",
     "us", None),
    ("lookup.whole", "find a prompt of 1,000 tokens, of 10,000 prefixes",
     "an echo of as many bytes", "us", ("ours", "<=", 15)),
    ("lookup.part", "the same, known up to token 800",
     "an echo of as many bytes", "us", ("ours", "<=", 15)),
    ("lookup.miss", "the same, not known", "an echo of as many bytes", "us",
     ("ours", "<=", 15)),
    ("request.stats", "stats", "a bare echo", "us", None),
]


# ---- machine ----

def huge_page_field(field):
    for line in MEMINFO.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0


@contextlib.contextmanager
def huge_pages():
    """Yields why there are no huge pages, "" when there are enough."""
    before = NR_HUGE.read_text()
    if huge_page_field("HugePages_Free") >= HUGE_PAGES:
        yield ""
        return
    if os.geteuid() != 0:
        yield (f"fewer than {HUGE_PAGES} huge pages are free, and this is not "
               "root")
        return
    if int(before) != 0:
        yield f"fewer than {HUGE_PAGES} of the reserved huge pages are free"
        return
    try:
        NR_HUGE.write_text(str(HUGE_PAGES))
        if huge_page_field("HugePages_Free") >= HUGE_PAGES:
            yield ""
        else:
            yield f"the kernel has not found {HUGE_PAGES} huge pages"
    finally:
        NR_HUGE.write_text(before)


# ---- processes of our own ----

def wait_for_socket(process, path, log):
    deadline = time.monotonic() + 10
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args[0]} does not listen on {path}:\n"
                               + log.read_text())
        time.sleep(0.01)


@contextlib.contextmanager
def server(arguments, path):
    log = path.with_suffix(".log")
    with log.open("wb") as to:
        process = subprocess.Popen(arguments, stdout=to, stderr=to,
                                   stdin=subprocess.DEVNULL)
    try:
        wait_for_socket(process, path, log)
        yield process
    finally:
        process.terminate()
        process.wait(10)


def daemon(build, folder, name, pages, *options):
    path = folder / f"{name}.sock"
    return server([build / "bin/treekvd", "--socket", path, "--state-dir",
                   folder / name, "--huge-pages", pages, "--log-level",
                   "warning", *options], path)


def redis(folder):
    program = shutil.which("redis-server")
    if not program:
        return contextlib.nullcontext()
    path = folder / "redis.sock"
    return server([program, "--port", "0", "--unixsocket", path, "--save", "",
                   "--appendonly", "no", "--dir", folder], path)


def bench(build, name, *arguments):
    """Runs a bench program; returns its rows by name."""
    done = subprocess.run([build / f"tests/bench/bench_{name}", *arguments],
                          stdout=subprocess.PIPE, check=True, text=True)
    rows = (json.loads(line) for line in done.stdout.splitlines())
    return {row.pop("row"): row for row in rows}


# ---- what is measured here ----

def make_ids(path):
    source = random.Random(1)
    words = (source.randrange(3, 1024) for _ in range(RUN_TOKENS))
    path.write_bytes(array.array("I", words).tobytes())


def treekv_run(build, ids, *arguments):
    done = subprocess.run(
        [build / "bin/treekv-run", "--ids", ids, "--budget", "256",
         "--threads", "1", "--json", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout)


def measure_run(build, folder, socket):
    ids = folder / "ids"
    make_ids(ids)
    row = {"ours": [], "theirs": []}
    stalls = 0
    for i in range(RUN_PAIRS + 1):
        ours = treekv_run(build, ids, "--socket", socket)
        theirs = treekv_run(build, ids, "--local")
        stalls += ours["stalls"]
        if i:  # the first pair warms the machine up
            row["ours"].append(ours["tokens_per_s"])
            row["theirs"].append(theirs["tokens_per_s"])
    return {"run": row, "stalls.run": {"ours": [stalls], "theirs": []}}


def last_level_cache():
    """Bytes; 32 MiB where the system does not say."""
    sizes = pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob(
        "index*/size")
    units = {"K": 1 << 10, "M": 1 << 20}
    return max((int(text[:-1]) * units[text[-1]] for text in
                (size.read_text().strip() for size in sizes)),
               default=32 << 20)


def make_large(path):
    """A model whose weights are twice the last-level cache, up to 480 MB."""
    layers = min(64, max(8, round(2 * last_level_cache() / LARGE_LAYER)))
    subprocess.run(
        [sys.executable, "-B",
         pathlib.Path(__file__).parent.parent / "helpers/random_model.py",
         "--dim", "768", "--hidden", "2048", "--heads", "12", "--kv-heads",
         "4", "--group", "64", "--layers", str(layers), path], check=True)


def measure_prefill(build, folder, name, model, tokens):
    ids = folder / "ids"
    make_ids(ids)
    rows = {}
    for threads in ("1", "2"):
        row = rows[f"{name}.{threads}"] = {"ours": [], "theirs": []}
        same = [*model, "--local", "--policy", "full", "--tokens", str(tokens),
                "--budget", str(tokens), "--threads", threads]
        for _ in range(RUN_PAIRS if not model else 3):
            ours = treekv_run(build, ids, *same, "--prefill")
            theirs = treekv_run(build, ids, *same)
            if ours["logits"] != theirs["logits"]:
                raise RuntimeError("the two computed something else")
            row["ours"].append(ours["prefill_tokens_per_s"])
            row["theirs"].append(theirs["tokens_per_s"])
    return rows


def measure_large(build, folder):
    model = folder / "model"
    make_large(model)
    return measure_prefill(build, folder, "prefill.large", [model],
                           LARGE_TOKENS)


class Watch:
    """kvwatch on a daemon and writers; looks as often as a screen would."""

    def __init__(self, build, *pids):
        self.process = subprocess.Popen(
            [build / "tests/helpers/kvwatch", *map(str, pids)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seen = json.loads(self.process.stdout.readline())
        self.over = threading.Event()
        self.looker = threading.Thread(target=self.look_on)
        self.looker.start()

    def look_on(self):
        while not self.over.wait(LOOK_SECONDS):
            self.process.stdin.write("look\n")
            self.process.stdin.flush()
            self.process.stdout.readline()

    def why_not(self):
        return "" if self.seen["level"] == "full" else self.seen["why"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.looker.join()
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def measure_watch(build, folder, socket, pid):
    """The two in turn; every other time the watched one is the first."""
    ids = folder / "ids"
    make_ids(ids)
    rows = {"watch": {"ours": [], "theirs": []},
            "watch.cpu": {"ours": [], "theirs": []}}

    def run(side):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = treekv_run(build, ids, "--socket", socket)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = (after.ru_utime + after.ru_stime - before.ru_utime -
                before.ru_stime)
        if side:
            rows["watch"][side].append(done["tokens_per_s"])
            rows["watch.cpu"][side].append(used * 1e6 / RUN_TOKENS)

    def watched():
        with Watch(build, pid):
            run("ours")

    run(None)
    for i in range(WATCH_PAIRS):
        if i % 2:
            watched()
        run("theirs")
        if not i % 2:
            watched()
    return rows


def measure_probe_attached(build, pid):
    probe = subprocess.Popen([build / "tests/bench/bench_probe", "--attached"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)
    probe.stdout.readline()
    with Watch(build, pid, probe.pid):
        said, _ = probe.communicate("go\n")
    row = json.loads(said)
    return {row.pop("row"): row}


def measure_watching(build, folder, measured, missing):
    names = ["watch", "watch.cpu", "probe.attached"]
    with daemon(build, folder, "watch", "never") as watched:
        with Watch(build, watched.pid) as watch:
            why = watch.why_not()
        if why:
            missing.update({name: f"not measured: {why}" for name in names})
            return
        guarded(measured, missing, ["watch", "watch.cpu"], measure_watch, build, folder,
                folder / "watch.sock", watched.pid)
        guarded(measured, missing, ["probe.attached"], measure_probe_attached,
                build, watched.pid)


def processor_ns(pid):
    """What a process has used so far, by the scheduler's own account."""
    return sum(int(task.read_text().split()[0]) for task in
               pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"))


@contextlib.contextmanager
def on_terminal(command, rows, columns):
    """A program on a terminal whose output nobody looks at; yields its pid."""
    pid, terminal = pty.fork()
    if not pid:
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ,
                struct.pack("HHHH", rows, columns, 0, 0))

    def swallow():
        with contextlib.suppress(OSError):  # the end of a terminal is an error
            while os.read(terminal, 65536):
                pass

    reader = threading.Thread(target=swallow)
    reader.start()
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        reader.join()
        os.close(terminal)


def measure_top(build, folder):
    """All caches are idle, so that all that is used is used for watching."""
    used = []
    with daemon(build, folder, "top", "never") as watched:
        socket = str(folder / "top.sock")
        subprocess.run([build / "tests/bench/bench_top", socket,
                        str(TOP_CACHES)], check=True)
        command = ["env", "TERM=xterm-256color", "LC_ALL=C.UTF-8",
                   str(build / "bin/treekv-top"), "--socket", socket]
        with on_terminal(command, 40, 120) as pid:
            time.sleep(TOP_SECONDS)  # eBPF is attached meanwhile
            for _ in range(TOP_SAMPLES):
                before = processor_ns(pid) + processor_ns(watched.pid)
                begin = time.monotonic_ns()
                time.sleep(TOP_SECONDS)
                after = processor_ns(pid) + processor_ns(watched.pid)
                used.append(100 * (after - before) /
                            (time.monotonic_ns() - begin))
    return {"top": {"ours": used, "theirs": []}}


def switches(pid):
    total = 0
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def measure_idle(build, socket, pid):
    holder = subprocess.Popen(
        [build / "tests/bench/bench_request", socket, "--hold"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    time.sleep(1)  # the cache's rows are made present first
    before = switches(pid)
    time.sleep(IDLE_SECONDS)
    woken = switches(pid) - before
    holder.communicate()
    return {"idle": {"ours": [woken], "theirs": []}}


def measure_many(build, folder, name, attaches, pool):
    """A thousand caches of 44 KiB, attached to and added to."""
    with daemon(build, folder, name, "never", "--pool", pool,
                "--snapshot-on-stop", "no"):
        done = subprocess.run(
            [build / "tests/helpers/kvmany", "--attaches", attaches],
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            text=True, env={**os.environ, "TREEKV_SOCKET":
                            str(folder / f"{name}.sock")})
    words = done.stdout.split()
    at = dict(zip(words[0::2], words[1::2]))
    return {f"{name}.{which}": {"ours": [float(at[which])], "theirs": []}
            for which in ("p50", "p99")}


# ---- snapshots against fio, on the file system of the build directory ----

def ctl(build, socket, *arguments):
    done = subprocess.run([build / "bin/treekvctl", *arguments, "--socket",
                           socket, "--json"],
                          check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


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


def drop_from_memory(build, socket):
    """Returns when its memory has been given back."""
    ctl(build, socket, "drop", "big", "--keep-snapshot")
    while ctl(build, socket, "status")["metrics"]["caches"]:
        time.sleep(0.01)


def measure_snapshots(build, folder, socket, label):
    file = folder / label / "snapshots" / str(os.getuid()) / "big.tkv"
    rows = {name: {"ours": [], "theirs": []} for name in
            (f"snapshot.{label}", f"restore.{label}", "restore.small.pages")}
    subprocess.run([build / "tests/helpers/kvwriter", *SNAPSHOT_CACHE],
                   check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "TREEKV_SOCKET": str(socket)})
    for i in range(SNAPSHOT_PAIRS + 1):
        file.unlink(missing_ok=True)
        saved = ctl(build, socket, "snapshot", "big")
        size = saved[0]["bytes"]
        written = fio("write", folder / "fio", size)
        (folder / "fio").unlink(missing_ok=True)
        drop_from_memory(build, socket)
        restored = ctl(build, socket, "restore", "big")
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


def measure_snapshots_in(build, label, pages, measured, missing):
    names = [f"snapshot.{label}", f"restore.{label}"]
    if label == "small":
        names.append("restore.small.pages")
    with tempfile.TemporaryDirectory(dir=build / "bench") as name:
        folder = pathlib.Path(name)
        with daemon(build, folder, label, pages, "--snapshot-on-stop", "no"):
            guarded(measured, missing, names, measure_snapshots, build, folder,
                    folder / f"{label}.sock", label)


def guarded(measured, missing, names, measure, *arguments):
    """A failure costs the rows it names, not those of the others."""
    say(f"{names[0]} ...")
    try:
        measured.update(measure(*arguments))
    except (OSError, RuntimeError, ValueError, KeyError,
            subprocess.CalledProcessError) as error:
        missing.update({name: f"failed: {error}" for name in names})


def names_of(prefix):
    return [row[0] for row in ROWS
            if row[0] == prefix or row[0].startswith(prefix + ".")]


def measure_attach(build, folder, label, socket):
    peer = folder / "redis.sock"
    more = [peer] if peer.exists() else []
    rows = bench(build, "attach", socket, label, *more)
    if label == "huge":
        rows["attach.huge.us"] = {"ours": rows["attach.huge"]["ours"],
                                  "theirs": []}
    return rows


def measure_small(build, folder, measured, missing):
    with daemon(build, folder, "small", "never"), redis(folder):
        guarded(measured, missing, ["attach.small", "attach.scan.small"],
                measure_attach, build, folder, "small", folder / "small.sock")


def measure_lookup(build, folder, measured, missing):
    with daemon(build, folder, "lookup", "never", "--snapshot-on-stop", "no"):
        guarded(measured, missing, names_of("lookup"), bench, build, "lookup",
                folder / "lookup.sock")


def measure_main(build, folder, huge, measured, missing):
    """Everything else, in huge pages where there are any."""
    socket = folder / "main.sock"
    attach = ["attach.huge", "attach.huge.us", "attach.scan.huge"]
    with daemon(build, folder, "main", "require" if huge else "never") as main:
        if huge:
            with redis(folder):
                guarded(measured, missing, attach, measure_attach, build,
                        folder, "huge", socket)
        guarded(measured, missing, names_of("request"), bench, build,
                "request", socket)
        guarded(measured, missing, ["idle"], measure_idle, build, socket,
                main.pid)
        guarded(measured, missing,
                names_of("step") + ["stalls.step", "batch.step"],
                bench, build, "step", socket)
        guarded(measured, missing, ["run", "stalls.run"], measure_run, build,
                folder, socket)
    guarded(measured, missing, ["prefill.1", "prefill.2"], measure_prefill,
            build, folder, "prefill", [], PROMPT_TOKENS)
    guarded(measured, missing, names_of("prefill.large"), measure_large, build,
            folder)
    guarded(measured, missing, names_of("evict"), bench, build, "evict")
    guarded(measured, missing, ["probe"], bench, build, "probe")
    measure_watching(build, folder, measured, missing)
    guarded(measured, missing, ["top"], measure_top, build, folder)
    guarded(measured, missing, names_of("park"), bench, build, "park")
    guarded(measured, missing, ["many.p50", "many.p99"], measure_many, build,
            folder, "many", "6400", "1G")
    guarded(measured, missing, names_of("many.parked"), measure_many, build,
            folder, "many.parked", "640", "11000K")


def measure_all(build, no_huge):
    measured, missing = {}, {}
    with tempfile.TemporaryDirectory(prefix="treekv-bench-") as name:
        folder = pathlib.Path(name)
        measure_small(build, folder, measured, missing)
        measure_lookup(build, folder, measured, missing)
        measure_main(build, folder, not no_huge, measured, missing)
    measure_snapshots_in(build, "small", "never", measured, missing)
    if no_huge:
        missing.update({name: "not measured: " + no_huge for name in
                        ("attach.huge", "attach.huge.us", "attach.scan.huge",
                         "snapshot.huge", "restore.huge")})
    else:
        measure_snapshots_in(build, "huge", "require", measured, missing)
    return measured, missing


# ---- judging and showing ----

def summary(samples):
    if not samples:
        return None
    return {"median": statistics.median(samples), "min": min(samples),
            "max": max(samples)}


def ratio_of(ours, theirs):
    """Of neighbours in time where the sides were sampled one for one."""
    if not ours or not theirs:
        return None
    if len(ours) == len(theirs):
        return statistics.median(a / b for a, b in zip(ours, theirs))
    return statistics.median(ours) / statistics.median(theirs)


def is_met(goal, ours, ratio):
    if not goal:
        return None
    value = ours and ours["median"] if goal[0] == "ours" else ratio
    if value is None:
        return None
    return value <= goal[2] if goal[1] == "<=" else value >= goal[2]


def judge(row, measured, missing):
    name, what, against, unit, goal = row
    samples = measured.get(name, {"ours": [], "theirs": []})
    ours, theirs = summary(samples["ours"]), summary(samples["theirs"])
    ratio = ratio_of(samples["ours"], samples["theirs"])
    note = missing.get(name)
    if not note and against and not theirs:
        note = f"{against}: the peer is missing"
    return {"name": name, "what": what, "against": against, "unit": unit,
            "ours": ours, "theirs": theirs, "ratio": ratio,
            "goal": goal and " ".join(map(str, goal)),
            "met": is_met(goal, ours, ratio), "note": note}


def short(value):
    if value is None:
        return "-"
    if value and abs(value) < 0.1:
        return f"1/{1 / value:.0f}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def spread(side):
    if not side:
        return "-"
    if side["min"] == side["max"]:
        return short(side["median"])
    return (f"{short(side['median'])} "
            f"({short(side['min'])}-{short(side['max'])})")


def goal_text(row):
    if not row["goal"]:
        return "", ""
    kind, relation, limit = row["goal"].split()
    text = f"{relation} {short(float(limit))}"
    text += " of theirs" if kind == "ratio" else ""
    return text, {True: "met", False: "MISSED", None: "?"}[row["met"]]


def table(rows):
    head = ("what", "against", "unit", "ours", "theirs", "ratio", "goal", "")
    lines = [head]
    for row in rows:
        lines.append((row["what"], row["against"] or "", row["unit"],
                      spread(row["ours"]), spread(row["theirs"]),
                      short(row["ratio"]) if row["ratio"] else "",
                      *goal_text(row)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in
                      zip(line, widths)).rstrip() for line in lines]
    text.insert(1, "-" * len(text[0]))
    return "\n".join(text)


def say(text):
    print(text, file=sys.stderr, flush=True)


def notes_of(rows):
    notes = {}
    for row in rows:
        if row["note"]:
            notes.setdefault(row["note"], []).append(row["name"])
    return [f"{', '.join(names)}: {note}" for note, names in notes.items()]


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    (build / "bench").mkdir(parents=True, exist_ok=True)
    with huge_pages() as no_huge:
        measured, missing = measure_all(build, no_huge)
    rows = [judge(row, measured, missing) for row in ROWS]
    pages = f"small pages: {no_huge}" if no_huge else "huge pages"
    result = {"pages": pages, "processors": os.cpu_count(),
              "kernel": os.uname().release, "rows": rows}
    target = build / "bench"
    (target / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{table(rows)}\n")
    print("median (min-max); ratio: ours / theirs, the median over pairs")
    print(f"caches in {pages}; {os.cpu_count()} processors")
    for note in notes_of(rows):
        print(note)
    print(f"also in {target / 'bench.json'}")
    return 1 if any("failed" in note for note in missing.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
