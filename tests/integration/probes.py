#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Looks into a running process at the places where its probes are.

Usage: probes.py PID. For each probe of its program that somebody is attached
to, prints "PROVIDER PROBE": there is a breakpoint where the no-op was, and the
semaphore is above zero. Where only one of the two is so, "half" is added.
"""

import pathlib
import struct
import sys

NOTE_TYPE = 3
PT_LOAD = 1


def cut(data, at):
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


class Elf:
    """As much of it as the probes need."""

    def __init__(self, data):
        self.data = data
        (self.phoff, self.shoff) = struct.unpack_from("<QQ", data, 0x20)
        (self.phentsize, self.phnum, self.shentsize, self.shnum,
         self.shstrndx) = struct.unpack_from("<HHHHH", data, 0x36)

    def section(self, name):
        names = self.header(self.shstrndx)[4]
        for i in range(self.shnum):
            header = self.header(i)
            if cut(self.data, names + header[0])[0] == name:
                return header
        return None

    def header(self, i):
        return struct.unpack_from("<IIQQQQ", self.data,
                                  self.shoff + i * self.shentsize)

    def base(self):
        """The address of what is at the file's start."""
        for i in range(self.phnum):
            kind, _, offset, address = struct.unpack_from(
                "<IIQQ", self.data, self.phoff + i * self.phentsize)
            if kind == PT_LOAD and offset == 0:
                return address
        raise ValueError("no segment has the file's start")

    def probes(self):
        header = self.section(".note.stapsdt")
        moved = self.section(".stapsdt.base")
        if not header:
            return
        at, end = header[4], header[4] + header[5]
        while at < end:
            name, size, kind = struct.unpack_from("<III", self.data, at)
            at += 12 + (name + 3 & ~3)
            if kind == NOTE_TYPE:
                where, base, semaphore = struct.unpack_from("<QQQ", self.data,
                                                            at)
                provider, then = cut(self.data, at + 24)
                probe, _ = cut(self.data, then)
                shift = moved[3] - base if moved else 0
                yield provider, probe, where + shift, semaphore + shift
            at += size + 3 & ~3


def main():
    proc = pathlib.Path("/proc") / sys.argv[1]
    data = (proc / "exe").read_bytes()
    exe = (proc / "exe").stat().st_ino
    start = next(int(line.split("-")[0], 16)
                 for line in (proc / "maps").read_text().splitlines()
                 if int(line.split()[4]) == exe and int(line.split()[2], 16) == 0)
    elf = Elf(data)
    shift = start - elf.base()
    with open(proc / "mem", "rb") as memory:
        for provider, probe, where, semaphore in elf.probes():
            memory.seek(where + shift)
            changed = memory.read(1) != b"\x90"
            memory.seek(semaphore + shift)
            wanted = struct.unpack("<H", memory.read(2))[0] > 0
            if changed or wanted:
                print(provider, probe, *["half"] * (changed != wanted))


if __name__ == "__main__":
    main()
