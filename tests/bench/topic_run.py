# SPDX-License-Identifier: BSD-2-Clause
"""treekv-run: through the daemon, against the full cache, whole prompts."""

import pathlib
import statistics
import subprocess
import sys

from setting import Topic, rounds

TOKENS = 3000
PAIRS = 5
CONTEXTS = (1024, 2048, 4096, 8192)
FULL_PAIRS = 3
PROMPT_TOKENS = 2000
LARGE_TOKENS = 256
LARGE_LAYER = 7.5e6  # bytes of a layer, of at most 64


def measure_run(setting):
    row = {"ours": [], "theirs": []}
    stalls = 0
    with setting.daemon(setting.pages) as daemon:
        for i in rounds(PAIRS + 1):
            ours = setting.run("--tokens", TOKENS, "--socket", daemon.socket)
            theirs = setting.run("--tokens", TOKENS, "--local")
            stalls += ours["stalls"]
            if i:  # the first pair warms the machine up
                row["ours"].append(ours["tokens_per_s"])
                row["theirs"].append(theirs["tokens_per_s"])
    return {"run": row, "stalls.run": {"ours": [stalls], "theirs": []}}


def seconds(done):
    return done["tokens"] / done["tokens_per_s"]


def measure_full(setting):
    """Of each context its last quarter: what a token costs there."""
    rows = {f"run.full.{n}": {"ours": [], "theirs": []} for n in CONTEXTS}

    def rate(context, *arguments):
        short = setting.run("--tokens", context * 3 // 4, *arguments)
        long = setting.run("--tokens", context, *arguments)
        return ((long["tokens"] - short["tokens"]) /
                (seconds(long) - seconds(short)))

    with setting.daemon(setting.pages) as daemon:
        for context in CONTEXTS:
            row = rows[f"run.full.{context}"]
            for _ in rounds(FULL_PAIRS, 40):
                row["ours"].append(rate(context, "--socket", daemon.socket))
                row["theirs"].append(rate(context, "--local", "--policy",
                                          "full", "--budget", context))
    setting.curves["full"] = [
        [n, *(statistics.median(rows[f"run.full.{n}"][side])
              for side in ("ours", "theirs"))] for n in CONTEXTS]
    return rows


def last_level_cache():
    """Bytes; 32 MiB where the system does not say."""
    sizes = pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob(
        "index*/size")
    units = {"K": 1 << 10, "M": 1 << 20}
    return max((int(text[:-1]) * units[text[-1]] for text in
                (size.read_text().strip() for size in sizes)),
               default=32 << 20)


def make_large(path):
    """A model whose weights are twice the last-level cache, up to 480 MB."""
    layers = min(64, max(8, round(2 * last_level_cache() / LARGE_LAYER)))
    subprocess.run(
        [sys.executable, "-B",
         pathlib.Path(__file__).parent.parent / "helpers/random_model.py",
         "--dim", "768", "--hidden", "2048", "--heads", "12", "--kv-heads",
         "4", "--group", "64", "--layers", str(layers), path], check=True)


def measure_prompt(setting, name, model, tokens):
    rows = {}
    for threads in ("1", "2"):
        row = rows[f"{name}.{threads}"] = {"ours": [], "theirs": []}
        same = [*model, "--local", "--policy", "full", "--tokens", tokens,
                "--budget", tokens, "--threads", threads]
        for _ in rounds(PAIRS if not model else 3, 60):
            ours = setting.run(*same, "--prefill")
            theirs = setting.run(*same)
            if ours["logits"] != theirs["logits"]:
                raise RuntimeError("the two computed something else")
            row["ours"].append(ours["prefill_tokens_per_s"])
            row["theirs"].append(theirs["tokens_per_s"])
    return rows


def measure_prefill(setting):
    return measure_prompt(setting, "prefill", [], PROMPT_TOKENS)


def measure_large(setting):
    model = setting.folder / "model"
    make_large(model)
    try:
        return measure_prompt(setting, "prefill.large", [model], LARGE_TOKENS)
    finally:
        model.unlink()


TOPICS = [
    Topic(("run", "stalls.run"), measure_run, huge=8),
    Topic(("run.full.*",), measure_full, huge=8, limit=400),
    Topic(("prefill.1", "prefill.2"), measure_prefill),
    Topic(("prefill.large.*",), measure_large, slow=True, limit=400),
]
