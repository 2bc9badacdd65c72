#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""How good the policies are: eval.py BUILD-DIRECTORY [options].

Everything is measured by treekv-run through a daemon of its own on a private
socket. Results go to BUILD-DIRECTORY/eval: results.json, results.md and figures
as SVG; each cell is kept there as soon as it is measured, and is used again
while programs and text are the same. What the parts mean: README.md beside this
file.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import maps
import perplexity
import prompt
import slack
import stream
import texts
from runner import Evaluation, duration

PARTS = {"perplexity": perplexity, "stream": stream, "maps": maps,
         "slack": slack, "prompt": prompt}
BIBLE = "the King James Bible (Debian's bible-kjv-text)"


class Settings(NamedTuple):
    """What all parts go by; sizes in tokens."""
    window: int             # that the model was trained for
    contexts: list
    budgets: list
    texts: Any = None       # of ids, all there are
    stretches: Any = None   # that are scored
    count: int = 3
    size: int = 16384
    stream: int = 1000000
    stream_policies: Any = ("streaming", "h2o", "tova", "treekv",
                            "treekv-left")
    samples: int = 32       # of the wavelets
    prompts: int = 96


def settings_of(arguments):
    w = arguments.window
    if arguments.scale == "full":
        return Settings(w, [w, 4 * w, 16 * w, 32 * w], [64, 128, 256, 512],
                        size=32 * w)
    return Settings(w, [w, 4 * w], [64, 256], count=1, size=8 * w,
                    stream=20000, stream_policies=("streaming", "treekv"),
                    samples=4, prompts=8)


def arguments_of():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("--scale", choices=("quick", "full"), default="full")
    parser.add_argument("--text", nargs="*", default=[],
                        help="that the model was not trained on")
    parser.add_argument("--title", help="of the texts, for the report")
    parser.add_argument("--model", help="a file, and its tokenizer",
                        nargs=2, metavar=("MODEL", "TOKENIZER"))
    parser.add_argument("--window", type=int, default=512,
                        help="tokens that the model was trained for (512)")
    parser.add_argument("--part", nargs="*", choices=list(PARTS),
                        default=list(PARTS))
    return parser.parse_args()


def commit():
    """Of the tree that this file is in, where git can tell."""
    out = subprocess.run(["git", "-C", os.path.dirname(__file__) or ".",
                          "describe", "--always", "--dirty"],
                         capture_output=True, text=True)
    return out.stdout.strip() or "unknown"


def version(evaluation):
    out = subprocess.run([evaluation.programs / "treekvd", "--version"],
                         capture_output=True, text=True, check=True)
    return out.stdout.split()[-1]


def title(arguments):
    if arguments.title:
        return arguments.title
    return ", ".join(map(os.path.basename, arguments.text)) or BIBLE


def model_title(arguments):
    if arguments.model:
        return os.path.basename(arguments.model[0])
    return "the embedded one (client/run/MODEL.md)"


def rounded(value):
    """Without the digits that nobody reads."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return value


def dump(summary, out):
    """A line for each part; that is short, and still tells what changed."""
    lines = [f"{json.dumps(key)}: {json.dumps(rounded(value))}"
             for key, value in summary.items()]
    out.write("{" + ",\n ".join(lines) + "}\n")


def main():
    arguments = arguments_of()
    settings = settings_of(arguments)
    begun = time.monotonic()
    model = [arguments.model[0], "-z", arguments.model[1]
             ] if arguments.model else []
    parts = {name: PARTS[name] for name in PARTS if name in arguments.part}
    with Evaluation(arguments.build, model) as evaluation:
        loaded = texts.load(evaluation, arguments.text)
        evaluation.of_texts(loaded)
        settings = settings._replace(
            texts=loaded, stretches=texts.stretches(loaded, settings.count,
                                                    settings.size))
        cells = [cell for part in parts.values()
                 for cell in part.cells(settings)]
        results = evaluation.evaluate(cells)
    lines = ["# Evaluation", "",
             f"Text: {title(arguments)}. Model: {model_title(arguments)}. "
             f"treekvd {version(evaluation)}, scale {arguments.scale}.", ""]
    summary = {"text": title(arguments), "model": model_title(arguments),
               "commit": commit(), "scale": arguments.scale,
               "window": settings.window}
    folder = os.path.join(arguments.build, "eval")
    for name, part in parts.items():
        more, summary[name], figures = part.report(settings, results)
        lines += more
        for file, figure in figures.items():
            with open(os.path.join(folder, file), "w") as out:
                out.write(figure)
    with open(os.path.join(folder, "results.json"), "w") as out:
        dump(summary, out)
    with open(os.path.join(folder, "results.md"), "w") as out:
        out.write("\n".join(lines))
    print("\n".join(lines))
    print(f"In {folder}, after {duration(time.monotonic() - begun)}.")


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
