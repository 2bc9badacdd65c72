#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What `treekvctl replay` must print, worked out the slow way.

Written from method.md and the trace's format alone: one list of tokens per
layer and kv head, and del for an eviction. S is rounded to f32 after each
addition (the sum of two f32 is exact enough in double for that to be the f32
sum), S / C is a double.

Usage: replay_reference.py POLICY BUDGET SINKS RECENT TRACE
"""
import array
import ctypes
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

    def step(self, position, weights):
        self.tokens.append(Token(position))
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


def main(policy, budget, sinks, recent, path):
    shape = int(budget), int(sinks), int(recent)
    with open(path, "rb") as trace:
        assert trace.read(8) == b"TKVTRC1\0"
        layers, kv_heads, steps = struct.unpack("<III", trace.read(12))
        heads = [Head(policy, *shape) for _ in range(layers * kv_heads)]
        for t in range(steps):
            for head in heads:
                weights = array.array("f")
                weights.fromfile(trace, t + 1)
                head.step(t, weights)
        assert not trace.read(1)
    for i, head in enumerate(heads):
        held = [token.position for token in head.tokens]
        print(i // kv_heads, i % kv_heads, *held)


if __name__ == "__main__":
    main(*sys.argv[1:])
