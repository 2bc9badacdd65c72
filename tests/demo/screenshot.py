#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Pictures of treekv-top at work: screenshot.py BUILD-DIRECTORY FOLDER.

A private daemon, a few treekv-run that write, and treekv-top on a tmux of its
own: what tmux shows is turned into FOLDER/treekv-top.svg and
treekv-top-cache.svg, cell by cell. Needs tmux.
"""
import html
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

WIDTH, HEIGHT, TABLE_HEIGHT = 100, 30, 20
CELL_X, CELL_Y = 8.4, 18
FONT = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
GROUND, TEXT = "#10141c", "#d0d4dc"
COLOURS = ["#3b4252", "#e0565b", "#7fc36a", "#e5c04b", "#5b8fd9", "#b683cf",
           "#5fb8c4", "#d0d4dc"]
# name, policy, budget, tokens to write; "story" is looked at
WRITERS = [("story", "treekv", 256, 60000), ("review", "treekv", 128, 60000),
           ("chat-17", "h2o", 128, 60000), ("chat-18", "streaming", 64, 60000)]
IDLE = [("notes", "treekv", 128, 1500), ("essay", "tova", 96, 800)]


class Tmux:
    """A terminal of its own, so that no configuration gets in the way."""

    def __init__(self, directory, command, environment):
        self.socket = os.path.join(directory, "tmux")
        self.run("-f", "/dev/null", "new-session", "-d", "-x", str(WIDTH), "-y",
                 str(HEIGHT), *environment, *command)
        self.run("set", "-g", "status", "off")

    def run(self, *arguments):
        return subprocess.run(["tmux", "-S", self.socket, *arguments],
                              check=True, capture_output=True, text=True).stdout

    def resize(self, height):
        self.run("resize-window", "-x", str(WIDTH), "-y", str(height))

    def screen(self):
        return self.run("capture-pane", "-p", "-e", "-N").split("\n")[:-1]

    def press(self, *keys):
        self.run("send-keys", *keys)

    def wait_for(self, words):
        until = time.monotonic() + 30
        while not any(words in re.sub("\033\\[[0-9;]*m", "", line)
                      for line in self.screen()):
            if time.monotonic() > until:
                sys.exit(f"treekv-top never showed {words!r}:\n"
                         + "\n".join(self.screen()))
            time.sleep(0.1)

    def end(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"],
                       capture_output=True, check=False)


class Style:
    """What SGR sequences have made of the next characters."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.fore, self.back = None, None
        self.bold, self.under, self.reverse = False, False, False

    def take(self, code):
        if code == 0:
            self.reset()
        elif code == 1:
            self.bold = True
        elif code == 22:
            self.bold = False
        elif code == 4:
            self.under = True
        elif code == 24:
            self.under = False
        elif code == 7:
            self.reverse = True
        elif code == 27:
            self.reverse = False
        elif 30 <= code <= 37:
            self.fore = COLOURS[code - 30]
        elif 90 <= code <= 97:
            self.fore = COLOURS[code - 90]
        elif code == 39:
            self.fore = None
        elif 40 <= code <= 47:
            self.back = COLOURS[code - 40]
        elif code == 49:
            self.back = None

    def cell(self):
        fore, back = self.fore or TEXT, self.back
        if self.back and fore == COLOURS[0]:
            fore = GROUND  # black on a colour
        if self.reverse:
            fore, back = back or GROUND, self.fore or TEXT
        return fore, back, self.bold, self.under


def cells(line, style):
    """[(character, style)] of one line that tmux has captured."""
    ret = []
    for part in re.split("(\033\\[[0-9;]*m)", line):
        if part.startswith("\033["):
            for code in part[2:-1].split(";"):
                style.take(int(code or 0))
            continue
        ret += [(c, style.cell()) for c in part]
    return ret[:WIDTH]


def block(c):
    """The part of its cell that a block fills, from below; None: it is none."""
    return (ord(c) - 0x2580) / 8 if "▁" <= c <= "█" else None


def runs(row):
    """(start, text, style) of neighbouring cells that look the same."""
    start = 0
    for i in range(1, len(row) + 1):
        if i == len(row) or row[i][1] != row[start][1]:
            yield start, "".join(c for c, _ in row[start:i]), row[start][1]
            start = i


def draw_line(y, row, out):
    for x, text, (fore, back, bold, under) in runs(row):
        at, top = x * CELL_X, y * CELL_Y
        if back:
            out.append(f'<rect x="{at:.1f}" y="{top}" fill="{back}" '
                       f'width="{len(text) * CELL_X:.1f}" height="{CELL_Y}"/>')
        for same in re.finditer(r"([▁-█])\1*", text):
            tall = block(same[1]) * CELL_Y
            out.append(f'<rect x="{at + same.start() * CELL_X:.1f}" '
                       f'y="{top + CELL_Y - tall:.1f}" fill="{fore}" '
                       f'width="{len(same[0]) * CELL_X:.1f}" '
                       f'height="{tall:.1f}"/>')
        letters = "".join(" " if block(c) else c for c in text)
        for word in re.finditer(r"\S+(?: \S+)*", letters):
            look = f' fill="{fore}"' if fore != TEXT else ""
            look += ' font-weight="bold"' if bold else ""
            look += ' text-decoration="underline"' if under else ""
            out.append(
                f'<text x="{at + word.start() * CELL_X:.1f}" '
                f'y="{top + 13.5}" textLength="{len(word[0]) * CELL_X:.1f}"'
                f'{look}>{html.escape(word[0])}</text>')


def svg(screen, title):
    style, margin = Style(), 10
    width = WIDTH * CELL_X + 2 * margin
    height = len(screen) * CELL_Y + 2 * margin
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" '
           f'height="{height:.0f}" viewBox="{-margin} {-margin} {width:.0f} '
           f'{height:.0f}">', f"<title>{html.escape(title)}</title>",
           f'<rect x="{-margin}" y="{-margin}" width="100%" height="100%" '
           f'rx="6" fill="{GROUND}"/>',
           f'<g font-family="{FONT}" font-size="14" fill="{TEXT}" '
           'xml:space="preserve">']
    for y, line in enumerate(screen):
        row = cells(line, style)
        if row:
            draw_line(y, row, out)
    return "\n".join(out + ["</g>", "</svg>", ""])


class Session:
    """The daemon and those who write."""

    def __init__(self, build, directory):
        self.bin = os.path.join(os.path.abspath(build), "bin")
        self.directory = directory
        os.environ["TREEKV_SOCKET"] = os.path.join(directory, "sock")
        os.environ["PATH"] = self.bin + os.pathsep + os.environ["PATH"]
        config = os.path.join(directory, "empty.conf")
        open(config, "w").close()
        self.processes = [subprocess.Popen(
            ["treekvd", "--config", config, "--socket",
             os.environ["TREEKV_SOCKET"], "--state-dir",
             os.path.join(directory, "state"), "--pool", "64M"],
            stderr=subprocess.DEVNULL)]
        until = time.monotonic() + 10
        while not os.path.exists(os.environ["TREEKV_SOCKET"]):
            if time.monotonic() > until:
                sys.exit("treekvd did not start")
            time.sleep(0.02)

    def writer(self, name, policy, budget, tokens):
        return subprocess.Popen(
            ["treekv-run", "--prompt", "It was a dark night", "--threads", "1",
             "--generate", str(tokens), "--cache", name, "--policy", policy,
             "--budget", str(budget)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def begin(self):
        for each in IDLE:
            self.writer(*each).wait()
        self.processes += [self.writer(*each) for each in WRITERS]

    def end(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            process.wait()


def photograph(tmux, folder):
    tmux.wait_for("story")
    tmux.resize(TABLE_HEIGHT)
    time.sleep(14)  # so that there are curves
    with open(os.path.join(folder, "treekv-top.svg"), "w") as file:
        file.write(svg(tmux.screen(), "treekv-top: the caches of a machine"))
    tmux.resize(HEIGHT)
    tmux.press("/")
    tmux.press("name=story", "Enter")
    tmux.press("Enter")
    tmux.wait_for("Kept tokens")
    tmux.press("l")
    time.sleep(8)
    with open(os.path.join(folder, "treekv-top-cache.svg"), "w") as file:
        file.write(svg(tmux.screen(), "treekv-top: what one cache holds"))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    if not shutil.which("tmux"):
        sys.exit("tmux is not installed")
    folder = os.path.abspath(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="treekv-shot.") as directory:
        session = Session(sys.argv[1], directory)
        tmux = None
        try:
            session.begin()
            tmux = Tmux(directory, ["treekv-top"], [
                "-e", "LANG=C.UTF-8", "-e", "LC_ALL=C.UTF-8", "-e",
                "TERM=screen-256color", "-e",
                "TREEKV_SOCKET=" + os.environ["TREEKV_SOCKET"]])
            photograph(tmux, folder)
        finally:
            if tmux:
                tmux.end()
            session.end()


if __name__ == "__main__":
    main()
