#!/usr/bin/env python3
"""Convert a llama2.c v0 model (fp32) to v2 (Q8_0), as its export.py does.

usage: quantize.py [--group 64] IN.bin OUT.bin

Every group of weights in a row becomes int8 with one fp32 scale, the group's
largest magnitude / 127; norms stay fp32. Needs Python 3 alone. The output
depends on the input and the group size only:

    quantize.py novels.bin novels-q8.bin
"""
import argparse
import array
import os
import struct
import sys


def fp32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def quantize(values, group):
    """Returns the int8 and the scales, as bytes."""
    out, scales = array.array("b"), array.array("f")
    for at in range(0, len(values), group):
        part = values[at:at + group]
        scale = fp32(max(abs(v) for v in part) / 127)
        scales.append(scale)
        out.extend(round(v / scale) if scale else 0 for v in part)
    if sys.byteorder == "big":
        scales.byteswap()
    return out.tobytes() + scales.tobytes()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("input")
    parser.add_argument("output")
    args = parser.parse_args()

    with open(args.input, "rb") as f:
        header = struct.unpack("<7i", f.read(28))
        data = array.array("f", f.read())
    if sys.byteorder == "big":
        data.byteswap()
    dim, hidden, layers, heads, kv_heads, vocab, seq_len = header
    shared, vocab = vocab > 0, abs(vocab)
    kv_dim = dim // heads * kv_heads
    if dim % args.group or hidden % args.group:
        parser.error(f"--group {args.group} must divide dim {dim} "
                     f"and hidden_dim {hidden}")

    at = 0

    def take(count):
        nonlocal at
        if at + count > len(data):
            parser.error(f"{args.input} is shorter than its header says")
        at += count
        return data[at - count:at]

    embedding = take(vocab * dim)
    attention_norms = take(layers * dim)
    matrices = [take(layers * n * dim) for n in (dim, kv_dim, kv_dim, dim)]
    ffn_norms = take(layers * dim)
    matrices += [take(layers * hidden * dim) for _ in range(3)]
    norms = attention_norms + ffn_norms + take(dim)
    take(seq_len * (dim // heads))
    tables = [embedding] + matrices + ([] if shared else [take(vocab * dim)])

    if sys.byteorder == "big":
        norms.byteswap()
    with open(args.output + ".tmp", "wb") as f:
        head = struct.pack("<Ii7iBi", 0x616B3432, 2, dim, hidden, layers,
                           heads, kv_heads, vocab, seq_len, shared, args.group)
        f.write(head.ljust(256, b"\0"))
        f.write(norms.tobytes())
        each = [1] + [layers] * 7 + [1]
        for count, table in zip(each, tables):
            size = len(table) // count
            for i in range(count):
                f.write(quantize(table[i * size:(i + 1) * size], args.group))
    os.replace(args.output + ".tmp", args.output)


if __name__ == "__main__":
    main()
