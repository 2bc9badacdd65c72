#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What `treekvctl replay` must print, worked out the slow way.

Written from method.md and the trace's format alone: one list of tokens per
layer and kv head, and del for an eviction. S is rounded to f32 after each
addition (the sum of two f32 is exact enough in double for that to be the f32
sum), S / C is a double. With --stats the statistics, as JSON: for each head the
mean share of a step's attention that goes to what is held as it attends, and by
decade of distance how many of the rows that are no sinks are held, both over
the steps that have lost something already.

Usage: replay_reference.py POLICY BUDGET[,BUDGET...] SINKS RECENT TRACE [--stats]
Several budgets are one a layer.
"""
import array
import ctypes
import json
import math
import struct
import sys


class Token:
    def __init__(self, position):
        self.position = position
        self.sum = 0.0
        self.count = 0


def f32(value):
    return ctypes.c_float(value).value


def value_of(number):
    """NaN ranks as minus infinity."""
    return -math.inf if math.isnan(number) else number


def average(token):
    return value_of(token.sum / token.count)


class Head:
    """One (layer, kv head)."""

    def __init__(self, policy, budget, sinks, recent):
        self.policy = policy
        self.budget = budget
        self.sinks = sinks
        self.selected = budget - sinks - recent
        self.idx = 1
        self.tokens = []
        self.steps = 0
        self.shares = []
        self.seen = {}
        self.held = {}

    def count(self, position, weights):
        """What this step sees of all there was."""
        def mass(some):
            return math.fsum(w for w in some if math.isfinite(w) and w > 0)

        held = {token.position for token in self.tokens}
        if len(held) == position + 1:
            return
        self.steps += 1
        if mass(weights):
            self.shares.append(mass(weights[p] for p in held) / mass(weights))
        for p in range(self.sinks, position + 1):
            digits = len(str(position - p))
            self.seen[digits] = self.seen.get(digits, 0) + 1
            self.held[digits] = self.held.get(digits, 0) + (p in held)

    def stats(self):
        shares = self.shares
        return {"steps": self.steps,
                "mass": math.fsum(shares) / len(shares) if shares else None,
                "held": [self.held[d] for d in sorted(self.held)],
                "seen": [self.seen[d] for d in sorted(self.seen)]}

    def step(self, position, weights):
        self.tokens.append(Token(position))
        self.count(position, weights)
        for token in self.tokens:
            weight = weights[token.position]
            token.count += 1
            if self.policy == "tova":
                token.sum = weight
            else:
                token.sum = f32(token.sum + weight)
        if len(self.tokens) > self.budget and self.policy != "full":
            del self.tokens[self.choose()]

    def choose(self):
        if self.policy == "streaming":
            return self.sinks
        if self.policy in ("h2o", "tova"):
            # The first of the lowest: a tie evicts the older.
            region = range(self.sinks, self.sinks + self.selected + 1)
            return min(region, key=lambda i: value_of(self.tokens[i].sum))
        return self.walk()

    def walk(self):
        left = self.sinks + self.idx - 1
        if self.policy == "treekv-skip":
            self.idx = (self.idx + 1) % self.selected + 1
        else:
            self.idx = self.idx % self.selected + 1
        if self.policy == "treekv-left":
            return left
        older, newer = self.tokens[left], self.tokens[left + 1]
        return left + 1 if average(older) > average(newer) else left


def main(policy, budget, sinks, recent, path, *stats):
    budgets = [int(b) for b in budget.split(",")]
    with open(path, "rb") as trace:
        assert trace.read(8) == b"TKVTRC1\0"
        layers, kv_heads, steps = struct.unpack("<III", trace.read(12))
        if len(budgets) == 1:
            budgets *= layers
        assert len(budgets) == layers
        heads = [Head(policy, b, int(sinks), int(recent))
                 for b in budgets for _ in range(kv_heads)]
        for t in range(steps):
            for head in heads:
                weights = array.array("f")
                weights.fromfile(trace, t + 1)
                head.step(t, weights)
        assert not trace.read(1)
    if stats:
        print(json.dumps([head.stats() for head in heads]))
        return
    for i, head in enumerate(heads):
        held = [token.position for token in head.tokens]
        print(i // kv_heads, i % kv_heads, *held)


if __name__ == "__main__":
    main(*sys.argv[1:])
