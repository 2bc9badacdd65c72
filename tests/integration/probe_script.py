#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the built treekv-probes(7) promises, as other programs read it.

Usage: probe_script.py PAGE list PROVIDER
       probe_script.py PAGE script PROVIDER=PROGRAM...

list prints "PROBE TYPE..." for each of a provider's probes; script prints a
program for bpftrace which prints a line for each time that one fires: its name
and each argument as NAME=VALUE, a string in quotes.
"""

import re
import sys

FORMAT = {"u64": "%llu", "u32": "%u", "s32": "%d", "string": '\\"%s\\"'}


def probes(path):
    """(provider, probe, [(name, type)...]) as the page has them."""
    found = []
    provider = None
    for line in open(path):
        words = line.split()
        if line.startswith(".Ss Provider"):
            provider = words[2]
        elif provider and line.startswith(".It Sy"):
            found.append((provider, words[2], []))
        elif re.match(r"\.It arg\d", line):
            number, name, kind = (word.strip() for word in
                                  line[4:].split("Ta")[:3])
            if number != f"arg{len(found[-1][2])}":
                raise ValueError(f"{found[-1][1]}: {number} is out of turn")
            found[-1][2].append((name, kind))
    return found


def clause(program, provider, probe, arguments):
    text = " ".join([probe] + [f"{name}={FORMAT[kind]}"
                               for name, kind in arguments])
    values = [f"str(arg{i})" if kind == "string" else f"arg{i}"
              for i, (_, kind) in enumerate(arguments)]
    return (f"usdt:{program}:{provider}:{probe} "
            f'{{ printf("{text}\\n", {", ".join(values)}); }}')


def main():
    page = probes(sys.argv[1])
    if sys.argv[2] == "list":
        for provider, probe, arguments in page:
            if provider == sys.argv[3]:
                print(probe, *(kind for _, kind in arguments))
        return
    programs = dict(word.split("=", 1) for word in sys.argv[3:])
    for provider, probe, arguments in page:
        print(clause(programs[provider], provider, probe, arguments))


if __name__ == "__main__":
    main()
