#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write a Llama model of random weights, in llama2.c's v2 (Q8_0) or v0 (fp32).

usage: random_model.py [--dim N] [--hidden N] [--layers N] [--heads N]
       [--kv-heads N] [--vocab N] [--group N] [--fp32] [--seed N] OUT.bin

What it says is noise; its arithmetic is a real model's, in any shape. The same
arguments give the same file. Needs Python 3 alone.
"""
import argparse
import array
import random
import struct

CHUNK = 1 << 20


def floats(rng, count, scale):
    """Uniform, of about the given standard deviation."""
    values = array.array("i", rng.randbytes(4 * count))
    factor = scale * 3 ** 0.5 / 2 ** 31
    return array.array("f", (v * factor for v in values))


def write_tensor(out, rng, args, rows, cols):
    count, scale = rows * cols, cols ** -0.5
    if args.fp32:
        for at in range(0, count, CHUNK):
            out.write(floats(rng, min(CHUNK, count - at), scale).tobytes())
        return
    for at in range(0, count, CHUNK):
        out.write(rng.randbytes(min(CHUNK, count - at)))
    out.write(array.array("f", [scale / 74]).tobytes() * (count // args.group))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("dim", 64), ("hidden", 128), ("layers", 4),
                        ("heads", 2), ("kv-heads", 2), ("vocab", 1024),
                        ("group", 32), ("seed", 1)):
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--fp32", action="store_true")
    parser.add_argument("output")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    dim, hidden, layers = args.dim, args.hidden, args.layers
    kv_dim = dim // args.heads * args.kv_heads
    shape = (dim, hidden, layers, args.heads, args.kv_heads, args.vocab, 64)
    ones = array.array("f", [1.0] * dim).tobytes()
    matrices = [(dim, dim), (kv_dim, dim), (kv_dim, dim), (dim, dim)]
    feed_forward = [(hidden, dim), (dim, hidden), (hidden, dim)]

    def write_all(out, all_of_them):
        for rows, cols in all_of_them:
            for _ in range(layers):
                write_tensor(out, rng, args, rows, cols)

    with open(args.output, "wb") as out:
        if args.fp32:
            out.write(struct.pack("<7i", *shape))
            write_tensor(out, rng, args, args.vocab, dim)
            out.write(ones * layers)
            write_all(out, matrices)
            out.write(ones * layers)
            write_all(out, feed_forward)
            out.write(ones)
            out.write(bytes(64 * (dim // args.heads) * 4))
        else:
            head = struct.pack("<Ii7iBi", 0x616B3432, 2, *shape, 1, args.group)
            out.write(head.ljust(256, b"\0"))
            out.write(ones * (2 * layers + 1))
            write_tensor(out, rng, args, args.vocab, dim)
            write_all(out, matrices + feed_forward)


if __name__ == "__main__":
    main()
