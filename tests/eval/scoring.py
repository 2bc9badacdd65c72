# SPDX-License-Identifier: BSD-2-Clause
"""Runs that score tokens, and their scores by block and by position."""
import math
import os

import texts

BLOCK = 512  # tokens whose mean is one observation


class Scores:
    """Nats of the tokens that a cell reads, in their order."""

    def __init__(self):
        self.blocks = []        # means
        self.block = []
        self.positions = {}     # by bits of the tokens seen: [sum, count]
        self.seconds = 0.0
        self.tokens = 0
        self.held = 0           # the most rows at a piece's end
        self.stalls = 0

    def add(self, nll, run):
        for i, value in enumerate(nll):
            seen = self.positions.setdefault(i.bit_length(), [0, 0])
            seen[0] += value
            seen[1] += 1
        self.block += nll
        while len(self.block) >= BLOCK:
            self.blocks.append(math.fsum(self.block[:BLOCK]) / BLOCK)
            del self.block[:BLOCK]
        self.tokens += run["tokens"]
        self.seconds += run["tokens"] / run["tokens_per_s"]
        self.held = max(self.held, run["held"])
        self.stalls += run["stalls"] or 0

    def result(self):
        if self.block:
            raise ValueError("pieces do not fill whole blocks")
        return {"blocks": self.blocks, "positions": self.positions,
                "tokens": self.tokens, "held": self.held,
                "tokens_per_s": self.tokens / self.seconds,
                "stalls": self.stalls}


def read_scores(path):
    with open(path) as file:
        ret = [float(line) for line in file]
    os.unlink(path)
    return ret


def score(evaluation, scores, ids, *options):
    """One stream through one cache, which begins empty."""
    source, sink = evaluation.path("piece"), evaluation.path("nll")
    texts.write(source, ids)
    run = evaluation.run("--ids", source, "--perplexity", "--nll", sink,
                         *options)
    scores.add(read_scores(sink), run)
    return run


def perplexity(blocks):
    return math.exp(math.fsum(blocks) / len(blocks))
