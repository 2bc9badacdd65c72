# SPDX-License-Identifier: BSD-2-Clause
"""Means with 95 % intervals, by bootstrap.

Cells that are compared have read the same tokens, so they are compared block by
block: what a text is like cancels out, and what is left is the policies'."""
import math
import random
from typing import NamedTuple

RESAMPLES = 2000
SEED = 1


class Interval(NamedTuple):
    mean: float
    low: float
    high: float

    @property
    def clear(self):
        """Zero is not in it."""
        return self.low > 0 or self.high < 0


def bootstrap(values):
    """Of a mean over blocks."""
    rng = random.Random(SEED)
    n = len(values)
    means = sorted(math.fsum(rng.choices(values, k=n)) / n
                   for _ in range(RESAMPLES))
    return Interval(math.fsum(values) / n, means[int(0.025 * RESAMPLES)],
                    means[int(0.975 * RESAMPLES)])


def paired(ours, theirs):
    """Of the mean of ours - theirs; both are nats a token, by block."""
    return bootstrap([a - b for a, b in zip(ours, theirs)])


def percent(interval):
    """What a difference of nats does to the perplexity, in percent."""
    return Interval(*(100 * math.expm1(value) for value in interval))
