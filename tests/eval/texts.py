# SPDX-License-Identifier: BSD-2-Clause
"""What is read: texts as token ids, and the stretches that cells share.

Ids are arrays of u32 without the BOS, which is put before each piece."""
import array
import os
import re
import subprocess
import sys

BOS = 1


def bible(path):
    """All of Debian's bible-kjv-text as prose, verse numbers taken off."""
    try:
        out = subprocess.run(["bible", "-f"], input="ge1:1-re22:21\n",
                             capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"cannot read the Bible of the package bible-kjv-text: "
                 f"{error}; or give TEXT=FILE")
    verses = re.findall(r"^(?:bible.*> )?[A-Za-z0-9]+:\d+ (.*)$", out, re.M)
    if len(verses) < 31000:
        sys.exit(f"'bible' printed {len(verses)} verses, not 31102; is the "
                 "package bible-kjv-text whole?")
    with open(path, "w") as file:
        file.write("\n".join(verses) + "\n")


def tokens(evaluation, path):
    """The ids of a text file, without its BOS."""
    ids = array.array("I")
    out = evaluation.path("ids")
    evaluation.run("--text", path, "--write-ids", out, json_wanted=False)
    with open(out, "rb") as file:
        ids.frombytes(file.read())
    os.unlink(out)
    return ids[1:]


def load(evaluation, paths):
    """A list of arrays, one a text."""
    if paths:
        return [tokens(evaluation, path) for path in paths]
    path = evaluation.path("bible.txt")
    bible(path)
    return [tokens(evaluation, path)]


def stretches(texts, count, size):
    """@count stretches of @size tokens, spread evenly, from each text in turn."""
    ret = []
    for i in range(count):
        text = texts[i % len(texts)]
        here = count // len(texts) + (i % len(texts) < count % len(texts))
        start = (len(text) - size) * (2 * (i // len(texts)) + 1) // (2 * here)
        if start < 0:
            sys.exit(f"a text has only {len(text)} tokens, {size} are read: "
                     "give longer ones, or all in one file")
        ret.append(text[start:start + size])
    return ret


def endless(texts, size):
    """All texts one after the other, and again, until there are @size ids."""
    ret = array.array("I")
    while len(ret) < size:
        for text in texts:
            ret += text
    return ret[:size]


def pieces(stretch, size):
    """Consecutive pieces, each behind a BOS."""
    return [array.array("I", [BOS]) + stretch[i:i + size]
            for i in range(0, len(stretch), size)]


def join(arrays):
    ret = array.array("I")
    for ids in arrays:
        ret += ids
    return ret


def write(path, ids):
    with open(path, "wb") as file:
        ids.tofile(file)
