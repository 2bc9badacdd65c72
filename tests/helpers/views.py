# SPDX-License-Identifier: BSD-2-Clause
"""Reads what `treekv-run --views` writes; client/run/views.c has the format."""
import array
import struct
from typing import NamedTuple

F32 = 1


class View(NamedTuple):
    """One (layer, head) as a step saw it; all by rank, the newest row last."""
    layer: int
    head: int
    tokens: array.array
    weights: list   # of one array a query head
    values: list    # of one array a row; None but in the last step

    @property
    def step(self):
        return self.tokens[-1]


def numbers(file, code, n):
    ret = array.array(code)
    ret.fromfile(file, n)
    return ret


def read(path):
    """Yields every View of a file: by step, then layer, then head."""
    with open(path, "rb") as file:
        if file.read(8) != b"TKVVEW1\0":
            raise ValueError(f"{path} is no file of views")
        layers, kv_heads, group, steps, every, dtype, v_row = struct.unpack(
            "<7I", file.read(28))
        for step in range(1, steps + 1):
            if step % every and step != steps:
                continue
            for i in range(layers * kv_heads):
                live, = struct.unpack("<I", file.read(4))
                tokens = numbers(file, "I", live)
                weights = [numbers(file, "f", live) for _ in range(group)]
                values = None
                if step == steps:
                    rows = [file.read(v_row) for _ in range(live)]
                    values = ([array.array("f", row) for row in rows]
                              if dtype == F32 else rows)
                yield View(i // kv_heads, i % kv_heads, tokens, weights,
                           values)
        if file.read(1):
            raise ValueError(f"{path} is longer than its header says")
