#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The main job on real input: demo.py BUILD-DIRECTORY.

A private daemon, a real model, a long text. Process A reads and writes and is
killed; process B goes on; process U, which nobody kills, shows what A would
have written. Then the daemon is killed under two processes that write. Then
the same text under every policy, against the full cache; and last, a beginning
that is read once for eight processes.
Needs no systemd, no root and no huge pages; uses huge pages where there are.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

BUDGET = 256
READ = 3000          # tokens that A and U read before they write
WRITE = 600          # tokens that they write
KILL_AFTER = 400     # bytes of A's text
WINDOW = 512         # what the model was trained on
SMALL = 128          # held of them
SCORED = 4000        # tokens that every policy is scored on
PREFIX = 1000        # tokens that SHARERS processes begin with
SHARERS = 8
OWN = 100            # rows that each has for what comes after
POLICIES = ["treekv", "treekv-left", "treekv-skip", "streaming", "h2o", "tova",
            "full"]


class Screen:
    """Lines, a progress bar below them, and colours where they are wanted."""

    def __init__(self):
        self.tty = sys.stdout.isatty()
        self.color = self.tty and "NO_COLOR" not in os.environ
        self.width = min(shutil.get_terminal_size((80, 24)).columns, 100)
        utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        self.full, self.empty = ("█", "░") if utf8 else ("#", ".")
        self.rule = "─" if utf8 else "-"
        if not utf8:
            sys.stdout.reconfigure(errors="replace")

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.color else text

    def say(self, text=""):
        print(text, flush=True)

    def title(self, text):
        self.say()
        self.say(self.paint("1", text))
        self.say(self.rule * self.width)

    def prose(self, who, text, code):
        body = textwrap.fill(" ".join(text.split()), self.width - 4)
        self.say(self.paint("1", f"{who}:"))
        self.say(textwrap.indent(self.paint(code, body), "    "))

    def bar(self, done, total, what):
        if not self.tty:
            return
        done = min(done, total)
        cells = max(4, self.width - 40)
        filled = int(cells * done / total)
        line = self.full * filled + self.empty * (cells - filled)
        print(f"\r{line} {done * 100 // total:3d} %  {what:<28.28}", end="",
              flush=True)

    def bar_end(self):
        if self.tty:
            print("\r" + " " * (self.width - 1) + "\r", end="", flush=True)


class Daemon:
    """A treekvd of our own, in a directory of its own."""

    def __init__(self, build, directory):
        self.bin = os.path.join(os.path.abspath(build), "bin")
        self.directory = directory
        self.socket = os.path.join(directory, "sock")
        self.log = os.path.join(directory, "log")
        self.process = subprocess.Popen(
            [self.program("treekvd"), "--keeper", "--socket", self.socket,
             "--state-dir", os.path.join(directory, "state")],
            stderr=open(self.log, "w"), stdin=subprocess.DEVNULL)
        os.environ["TREEKV_SOCKET"] = self.socket
        self.wait()

    def program(self, name):
        return os.path.join(self.bin, name)

    def wait(self):
        until = time.monotonic() + 10
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit("treekvd did not start:\n" + open(self.log).read())
            time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        return self.process.wait()

    def ctl(self, *args):
        out = subprocess.run([self.program("treekvctl"), *args],
                             capture_output=True, text=True, check=True)
        return json.loads(out.stdout) if "--json" in args else out.stdout

    def kill(self):
        """SIGKILL to the daemon; its keeper starts the next. Which was it?"""
        pid = self.ctl("status", "--json")["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    def caches(self):
        return {c["name"]: c for c in self.ctl("list", "--json")}

    def start(self, *args):
        return subprocess.Popen([self.program("treekv-run"), *args],
                                stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def run(self, *args):
        return finish(self.start(*args, "--json"))


def finish(process):
    out, err = process.communicate()
    if process.returncode:
        sys.exit("treekv-run failed:\n" + err.decode(errors="replace"))
    return json.loads(out)


def bible(path):
    """Genesis as prose: Debian's bible-kjv-text, verse numbers taken off."""
    out = subprocess.run(["bible", "-f"], input="ge1:1-ge50:26\n",
                         capture_output=True, text=True, check=True).stdout
    verses = re.findall(r"^(?:bible.*> )?[A-Za-z0-9]+:\d+ (.*)$", out, re.M)
    if len(verses) < 1000:
        sys.exit(f"'bible' printed {len(verses)} verses of Genesis, not 1533; "
                 "is the package bible-kjv-text whole?")
    with open(path, "w") as file:
        file.write("\n".join(verses) + "\n")


def memory(size):
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size >> 10} KiB"


def watch(daemon, screen, names, total, alive, what):
    """Draws what the daemon sees of the named caches until alive() is false."""
    while alive():
        if screen.tty:
            caches = daemon.caches()
            done = sum(caches[n]["tail"] for n in names if n in caches)
            screen.bar(done, total, what)
        time.sleep(0.05)
    screen.bar_end()


def read_until(stream, size):
    text = b""
    while len(text) < size:
        chunk = os.read(stream.fileno(), 4096)
        if not chunk:
            break
        text += chunk
    return text


def kill_and_go_on(daemon, screen, text):
    common = ["--text", text, "--tokens", str(READ), "--budget", str(BUDGET),
              "--lockstep", "--seed", "7"]
    a = daemon.start(*common, "--generate", str(100 * WRITE), "--cache", "a")
    u = daemon.start(*common, "--generate", str(WRITE), "--cache", "u",
                     "--json")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(read_until, a.stdout, KILL_AFTER)
        watch(daemon, screen, ["a", "u"], 2 * (READ + WRITE // 4),
              lambda: not first.done(), "A and U read, at once")
        written = first.result()
    a.send_signal(signal.SIGKILL)
    written += a.stdout.read()
    a.wait()
    b = daemon.run("--cache", "a", "--budget", str(BUDGET), "--lockstep",
                   "--generate", str(WRITE))
    whole = finish(u)["text"].encode()
    at = b["text_at"]
    head, tail = written[:at], b["text"].encode()
    screen.prose("A writes", head[-240:].decode(errors="replace"), "36")
    screen.say(screen.paint("1;31", f"kill -9 A, after {at} bytes of text"))
    screen.say(f"B attached to A's cache in "
               + screen.paint("1", f"{b['attach_us']:.0f} µs")
               + " and goes on from the last committed token:")
    screen.prose("B writes", tail[:240].decode(errors="replace"), "32")
    same = head + tail == whole
    screen.say("A's and B's text together is "
               + (screen.paint("1;32", f"the same {len(whole)} bytes that U, "
                               "which nobody") + "\nkilled, has written."
                  if same else
                  screen.paint("1;31", "NOT what U has written.")))
    return same, b, whole


def kill_the_daemon(daemon, screen, text, expected):
    """Two processes write what U has written, over the daemon's death."""
    runs = [daemon.start("--text", text, "--tokens", str(READ), "--budget",
                         str(BUDGET), "--lockstep", "--seed", "7",
                         "--generate", str(WRITE), "--cache", name, "--json")
            for name in ("c", "d")]

    def writing():
        caches = daemon.caches()
        return all(n in caches and caches[n]["tail"] > READ // 2
                   for n in ("c", "d"))

    while not writing() and all(r.poll() is None for r in runs):
        time.sleep(0.02)
    pid = daemon.kill()
    screen.say(screen.paint("1;31", f"kill -9 {pid}, the daemon")
               + ", while C and D read and write")
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(finish, runs))
    same = all(r["text"].encode() == expected for r in results)
    screen.say(screen.paint("1;32", "Both have written the same "
                            f"{len(expected)} bytes as U") if same else
               screen.paint("1;31", "They have NOT written what U has"))
    screen.say("and noticed nothing but a pause: their memory stayed where it "
               "was, and the\nnext daemon found every cache.")
    return same


def score(daemon, text, policy, tokens, budget):
    args = ["--text", text, "--tokens", str(tokens), "--perplexity",
            "--policy", policy, "--cache", f"{policy}-{tokens}"]
    if policy != "full":
        args += ["--budget", str(budget)]
    row = daemon.run(*args)
    again = daemon.run(*args)  # all is read: it attaches and ends
    row["attach_us"] = again["attach_us"]
    return row


def table(screen, rows, windows):
    full = windows[-1]["ppl"]
    screen.say(f"{'':<12}{'first ' + str(WINDOW) + ' tokens':>19}"
               f"{str(SCORED) + ' tokens':>20}")
    screen.say(f"{'policy':<12}{'of ' + str(SMALL):>8}{'/ full':>8}"
               f"{'of ' + str(BUDGET):>9}{'held':>6}{'memory':>10}"
               f"{'attach':>9}{'stalls':>7}{'compact.':>9}")
    for r, w in zip(rows, windows):
        screen.say(f"{r['policy']:<12}{w['ppl']:>8.2f}{w['ppl'] / full:>8.3f}"
                   f"{r['ppl']:>9.2f}{r['held']:>6}{memory(r['bytes']):>10}"
                   f"{r['attach_us']:>6.0f} us{r['stalls']:>7}"
                   f"{r['compactions']:>9}")


def compare(daemon, screen, text):
    names = [f"{p}-{n}" for p in POLICIES for n in (WINDOW, SCORED)]
    with ThreadPoolExecutor(2) as pool:
        windows = [pool.submit(score, daemon, text, p, WINDOW, SMALL)
                   for p in POLICIES]
        rows = [pool.submit(score, daemon, text, p, SCORED, BUDGET)
                for p in POLICIES]
        watch(daemon, screen, names, (WINDOW + SCORED) * len(POLICIES),
              lambda: not all(j.done() for j in windows + rows),
              "every policy, two at once")
        rows = [j.result() for j in rows]
        windows = [j.result() for j in windows]
    table(screen, rows, windows)
    screen.say()
    screen.say(textwrap.fill(
        f"Perplexity on Genesis, with {SMALL} of the first {WINDOW} tokens "
        f"held, and with {BUDGET} of {SCORED} (4 of them sinks, half recent). "
        f"The model was trained on windows of {WINDOW}: within them full is "
        "the measure; beyond, it falls apart and costs "
        f"{SCORED // BUDGET} times the memory. This small model hardly looks "
        "further back than 64 tokens, so the policies differ little. Attach: "
        "a second process, to the cache as it stands.", screen.width))


def mapped(pids):
    """Bytes of caches that the processes have mapped, each counted once.

    Small pages by PSS; of huge ones, which that leaves out, the inodes."""
    small, huge = 0, {}
    for pid in pids:
        with open(f"/proc/{pid}/smaps") as smaps:
            inode = None
            for line in smaps:
                if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
                    inode = line.split()[4] if "memfd:treekv" in line else None
                    held = 0
                elif inode and line.startswith("Pss:"):
                    small += int(line.split()[1]) << 10
                elif inode and re.match("(Shared|Private)_Hugetlb:", line):
                    held += int(line.split()[1]) << 10
                    huge[inode] = max(huge.get(inode, 0), held)
    return small + sum(huge.values())


def together(daemon, screen, args, what):
    """That many processes, all behind the prefix: what do they map?"""
    runs = [daemon.start(*args, "--generate", "100000")
            for _ in range(SHARERS)]
    pids = {r.pid for r in runs}

    def behind():
        return [c for c in daemon.caches().values()
                if c["writer_pid"] in pids and c["tail"] > PREFIX]

    try:
        while len(there := behind()) < SHARERS:
            if any(r.poll() is not None for r in runs):
                sys.exit("treekv-run failed:\n" + "".join(
                    r.stderr.read().decode() for r in runs if r.poll()))
            screen.bar(len(there), SHARERS, what)
            time.sleep(0.05)
        screen.bar_end()
        return mapped(pids | {daemon.ctl("status", "--json")["pid"]})
    finally:
        for r in runs:
            r.kill()
            r.communicate()


def share(daemon, screen, text):
    args = ["--text", text, "--tokens", str(PREFIX + 1), "--budget",
            str(PREFIX + OWN), "--recent", str(OWN // 2), "--seed", "7"]
    before = mapped([daemon.ctl("status", "--json")["pid"]])
    plain = daemon.run(*args, "--generate", "50")
    private = together(daemon, screen, args, "eight private copies") - before
    args.append("--prefix-cache")
    cold = daemon.run(*args, "--generate", "50")
    warm = daemon.run(*args, "--generate", "50")
    shared = together(daemon, screen, args, "eight on one prefix") - before
    same = plain["text"] == cold["text"] == warm["text"]
    screen.say(f"{'':<24}{'memory':>12}{'first token':>15}")
    screen.say(f"{'eight private copies':<24}{memory(private):>12}"
               f"{cold['first_token_ms']:>12.1f} ms, cold")
    screen.say(f"{'eight on one prefix':<24}{memory(shared):>12}"
               f"{warm['first_token_ms']:>12.1f} ms, warm")
    screen.say()
    screen.say(textwrap.fill(
        f"Read once, frozen, and found by its tokens: {warm['prefix_tokens']} "
        "rows a head of each process are the same memory, which nobody can "
        f"write; the room for {OWN} more is its own. Memory is what all eight "
        "and the daemon have mapped of caches (PSS plus huge pages); with rows "
        "as small as this model's, what each keeps about them, order and "
        "scores, weighs as much as its rows. "
        + ("All have written the same text."
           if same else "They have NOT written the same text."),
        screen.width))
    return same and shared < private


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    screen = Screen()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="treekvd-demo.") as directory:
        text = os.path.join(directory, "genesis.txt")
        bible(text)
        daemon = Daemon(sys.argv[1], directory)
        try:
            screen.title(f"1. Killed in mid-sentence: {READ} tokens read into "
                         f"a cache of {BUDGET}, then writing")
            same, resumed, whole = kill_and_go_on(daemon, screen, text)
            screen.title("2. The daemon killed under two processes")
            same &= kill_the_daemon(daemon, screen, text, whole)
            screen.title(f"3. What {BUDGET} tokens are worth")
            compare(daemon, screen, text)
            screen.title(f"4. {SHARERS} processes begin with the same {PREFIX} "
                         "tokens")
            same &= share(daemon, screen, text)
            if not resumed["huge"]:
                screen.say("All in small pages: 'treekvctl doctor' says how "
                           "to get huge ones.")
        finally:
            status = daemon.stop()
    screen.say(f"Done in {time.monotonic() - begun:.0f} s.")
    sys.exit(0 if same and status == 0 else 1)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
