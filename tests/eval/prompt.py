# SPDX-License-Identifier: BSD-2-Clause
"""Prompts compressed by prefill: what is left of what they said?

A prompt fills the model's window but for its last block, and goes through the
model as a whole; a method keeps 6, 12.5 or 25 % of it. From then on nothing is
evicted, so what is measured is the compression alone.

- *last block*: the perplexity of the tokens that follow the prompt.
- *facts*: a pass key, and a value by its key. Only at full attention: a model
  that cannot answer there has nothing to lose.
- *name*: a name that the prompt has mentioned is likelier when it comes again.
  Each prompt is read twice, once with other words in the name's place; the gain
  is the difference in nats of the name that follows."""
import math
import random

import intervals
import perplexity
import svg
import texts
from runner import Cell, work

METHODS = ["treekv", "snapkv", "h2o", "streaming"]
SHARES = [0.0625, 0.125, 0.25]
LAST = 32       # tokens that follow a prompt
SINKS = 4
BLOCK = 4       # that treekv keeps or drops together
QUERIES = 16    # of the observation window
MENTIONS = 8    # of a name
SEED = 1

NAMES = ["Ruddock", "Kettleby", "Marchmont", "Featherstone", "Thornbury",
         "Winterbourne", "Oldcastle", "Grimble", "Pomfret", "Zebulon",
         "Quill", "Fanshawe"]
COLOURS = ["red", "blue", "green", "white", "black", "yellow", "brown",
           "grey"]
KEYS = ["door", "boat", "coat", "house", "horse", "flag", "book", "lamp"]


def percent(share):
    return f"{share * 100:g} %"


def options(method, prompt, share):
    """Of a prompt of so many tokens, BOS included."""
    ret = ["--policy", "full", "--prefill", "--prefill-tokens", str(prompt)]
    if method == "full":
        return ret
    budget = int(prompt * share)
    ret += ["--prefill-method", method, "--prefill-budget", str(budget),
            "--sinks", str(SINKS)]
    if method in ("treekv", "snapkv"):  # of the others half is recent
        ret += ["--window", str(min(QUERIES, budget // 2 - SINKS))]
    if method == "treekv":
        ret += ["--block", str(BLOCK)]
    return ret


def nats(evaluation, ids, prompt, method, share):
    """All nats of what follows the prompt, without its first token's input."""
    path = evaluation.path("prompt")
    texts.write(path, ids)
    run = evaluation.run("--ids", path, "--perplexity",
                         *options(method, prompt, share))
    if run["scored"] != len(ids) - prompt:
        raise ValueError(f"{run['scored']} tokens scored")
    evaluation.did(len(ids))
    return run["nll"] * run["scored"]


def name(part, method, share):
    return f"prompt/{part}/{method}" + (
        "" if method == "full" else f"/{percent(share)[:-2]}")


# ---- what follows the prompt ----

def blocks_of(settings):
    return [piece for stretch in settings.stretches
            for piece in texts.pieces(stretch, settings.window - 1)
            if len(piece) == settings.window][:settings.prompts]


def run_blocks(evaluation, samples, method, share):
    return [nats(evaluation, ids, len(ids) - LAST, method, share) / LAST
            for ids in samples]


# ---- names ----

def inner(evaluation, text):
    """The ids of a text within a text: without BOS and first blank."""
    def ids(what):
        path = evaluation.path("fragment")
        with open(path, "w") as file:
            file.write(what)
        return texts.tokens(evaluation, path)

    return ids("x" + text)[len(ids("x")):]


def name_samples(evaluation, samples):
    """Pairs of prompts with and without a name, and the name."""
    rng = random.Random(SEED)
    ids = {n: inner(evaluation, " " + n) for n in NAMES}
    ret = []
    for i, filler in enumerate(samples):
        which = ids[NAMES[i % len(NAMES)]]
        prompt = len(filler) - LAST
        with_name = filler[:prompt]
        places = range(20, prompt - 64 - len(which))
        spots = sorted(rng.sample(range(len(places) // 12), MENTIONS))
        for spot in spots:
            at = places[spot * 12]
            with_name[at:at + len(which)] = which
        ret.append((with_name + which, filler[:prompt] + which, prompt))
    return ret


def run_names(evaluation, samples, method, share):
    """Gains of single names, in nats."""
    return [nats(evaluation, control, prompt, method, share) -
            nats(evaluation, planted, prompt, method, share)
            for planted, control, prompt in name_samples(evaluation, samples)]


# ---- facts ----

def pass_key(rng):
    key = str(rng.randrange(10000, 100000))
    return (f" The pass key is {key}. Remember it. {key} is the pass key.",
            " What is the pass key? The pass key is", key)


def key_value(rng):
    colours = rng.sample(COLOURS, len(KEYS))
    pairs = list(zip(KEYS, colours))
    key, value = rng.choice(pairs)
    return ("".join(f" The {k} is {v}." for k, v in pairs), f" The {key} is",
            value)


def answers(evaluation, samples, task):
    """Of a prompt with a fact in it, what the model writes next is the answer."""
    rng = random.Random(SEED)
    right = 0
    for filler in samples:
        fact, question, answer = task(rng)
        fact, question = inner(evaluation, fact), inner(evaluation, question)
        room = len(filler) - LAST - len(fact) - len(question)
        at = rng.randrange(1, room)
        ids = filler[:at] + fact + filler[at:room] + question
        path = evaluation.path("prompt")
        texts.write(path, ids)
        run = evaluation.run("--ids", path, "--policy", "full", "--generate",
                             "8", "--temperature", "0")
        right += run["text"].strip().startswith(answer)
        evaluation.did(len(ids))
    return {"right": right, "of": len(samples)}


def cells(settings):
    samples = blocks_of(settings)
    ids = texts.join(samples)
    size = len(ids)
    common = {"options": options("treekv", settings.window - LAST, 0.25)}
    ret = []
    for method in ["full"] + METHODS:
        for share in SHARES if method != "full" else [1.0]:
            ret.append(Cell(name("block", method, share), common, ids, size,
                            lambda e, m=method, s=share: run_blocks(
                                e, samples, m, s)))
            ret.append(Cell(name("name", method, share),
                            {**common, "mentions": MENTIONS}, ids, 2 * size,
                            lambda e, m=method, s=share: run_names(
                                e, samples, m, s)))
    for part, task in (("pass key", pass_key), ("key-value", key_value)):
        ret.append(Cell(f"prompt/{part}", {}, ids, size,
                        lambda e, t=task: answers(e, samples, t)))
    return ret


def block_table(results):
    full = results[name("block", "full", 1)]
    lines = ["| kept | " + " | ".join(METHODS) + " |",
             "| ---: |" + " ---: |" * len(METHODS)]
    for share in SHARES:
        row = []
        for method in METHODS:
            found = results[name("block", method, share)]
            gap = intervals.percent(intervals.paired(found, full))
            ppl = math.exp(math.fsum(found) / len(found))
            row.append(f"{ppl:.2f} ({perplexity.signed(gap)} %)")
        lines.append(f"| {percent(share)} | " + " | ".join(row) + " |")
    ppl = math.exp(math.fsum(full) / len(full))
    return lines + ["", f"Full attention: {ppl:.2f}."]


def name_table(results):
    full = results[name("name", "full", 1)]
    lines = ["| kept | " + " | ".join(METHODS) + " |",
             "| ---: |" + " ---: |" * len(METHODS)]
    for share in SHARES:
        row = []
        for method in METHODS:
            found = results[name("name", method, share)]
            gain = intervals.bootstrap(found)
            half = (gain.high - gain.low) / 2
            mark = "**" if intervals.paired(found, results[
                name("name", "streaming", share)]).clear else ""
            row.append(f"{mark}{gain.mean:.3f} ± {half:.3f}{mark}")
        lines.append(f"| {percent(share)} | " + " | ".join(row) + " |")
    gain = intervals.bootstrap(full)
    half = (gain.high - gain.low) / 2
    return lines + ["", f"Full attention: {gain.mean:.3f} ± {half:.3f}."]


def figure(results):
    full = results[name("block", "full", 1)]
    gaps = {m: [(100 * s, intervals.percent(intervals.paired(
        results[name("block", m, s)], full))) for s in SHARES]
        for m in METHODS}
    gains = {m: [(100 * s, intervals.bootstrap(results[name("name", m, s)]))
                 for s in SHARES] for m in METHODS}
    whole = intervals.bootstrap(results[name("name", "full", 1)])
    panels = []
    for left, title, label, found in (
            (60, "last block: perplexity against full", "difference, %", gaps),
            (440, "a name: gain by its mentions", "nats", gains)):
        bounds = [v for series in found.values() for _, i in series
                  for v in (i.low, i.high)] + [0.0]
        if found is gains:
            bounds += [whole.low, whole.high]
        span = (max(bounds) - min(bounds)) * 0.06
        low, high = min(bounds) - span, max(bounds) + span
        axes = svg.Axes(left, 46, 300, 200, (5.2, 30), (low, high), True)
        axes.frame(title, "% of the prompt kept", label,
                   [100 * s for s in SHARES], svg.steps(low, high))
        if found is gains:
            axes.line([(5.2, whole.mean), (30, whole.mean)],
                      svg.color("full"), "4 3")
        for i, method in enumerate(METHODS):
            shift = 1 + (i - 1.5) * 0.03
            axes.line([(x * shift, v.mean) for x, v in found[method]],
                      svg.color(method), marks=True)
            axes.bars([(x * shift, v.low, v.high) for x, v in found[method]],
                      svg.color(method))
        panels += axes.parts
    return svg.document(770, 300, panels + svg.legend(
        60, 16, METHODS + ["full"]), "Compressed prompts")


def report(settings, results):
    prompt = settings.window - LAST
    n = len(results[name("block", "full", 1)])
    lines = ["## Compressed prompts", "",
             f"{n} prompts of {prompt} tokens; of treekv blocks of {BLOCK} and "
             f"{QUERIES} queries at most, of snapkv as many queries; "
             f"{SINKS} sinks.", "", "![compressed prompts](prompt.svg)", "",
             f"Perplexity of the {LAST} tokens that follow the prompt, and "
             "against full attention:", "", *block_table(results), "",
             "Facts, at full attention: "
             + "; ".join(f"{part} {results[f'prompt/{part}']['right']} of "
                         f"{results[f'prompt/{part}']['of']} right"
                         for part in ("pass key", "key-value")) + ".", "",
             f"A name that the prompt has mentioned {MENTIONS} times, the last "
             "time 64 tokens or more before its end: how many nats likelier it "
             "is when it comes again, than after the same prompt without it "
             "(bold where it is not what streaming keeps of it):",
             "", *name_table(results), ""]
    summary = {key: value for key, value in results.items()
               if key.startswith("prompt/")}
    return lines, summary, {"prompt.svg": figure(results)}
