# SPDX-License-Identifier: BSD-2-Clause
"""What asynchrony costs: perplexity and what is held, by slack.

Lockstep is the method to the letter: one token, one eviction. With slack, the
daemon takes out what has come together, at the scores of that moment, and until
then more than the budget is held."""
import os
import sys

import intervals
import scoring
import svg
import texts
from runner import Cell, work

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "helpers"))
import views  # noqa: E402

POLICIES = ["treekv", "h2o", "tova"]
SLACKS = [1, 4, 16, 64, 256]
BUDGET = 256
SINKS = 4
RECENT = BUDGET // 2 - SINKS
EVERY = 61      # steps; a prime, so as not to keep time with the batches
PIECES = 4      # whose views are compared


def selected(path):
    """By step, layer and head: the tokens that a policy has selected."""
    ret = {}
    held = []
    for view in views.read(path):
        held.append(len(view.tokens))
        ret[view.step, view.layer, view.head] = {
            t for t in view.tokens if SINKS <= t < view.step + 1 - RECENT}
    os.unlink(path)
    return ret, sum(held) / len(held)


def overlap(ours, theirs):
    """Of what lockstep has selected, the share that is held here, too."""
    shares = [len(ours[key] & tokens) / len(tokens)
              for key, tokens in theirs.items() if tokens]
    return sum(shares) / len(shares)


def run_slack(evaluation, settings, arguments, lockstep):
    scores, shares, rows = scoring.Scores(), [], []
    context = settings.contexts[1]
    sink, other = evaluation.path("views"), evaluation.path("lockstep")
    pieces = [p for s in settings.stretches for p in texts.pieces(s, context)]
    seen = ["--views-every", str(EVERY), "--views"]
    for i, piece in enumerate(pieces):
        if i >= PIECES:
            scoring.score(evaluation, scores, piece, *arguments)
        else:
            scoring.score(evaluation, scoring.Scores(), piece, *lockstep, *seen,
                          other)
            scoring.score(evaluation, scores, piece, *arguments, *seen, sink)
            ours, held = selected(sink)
            shares.append(overlap(ours, selected(other)[0]))
            rows.append(held)
        evaluation.did(work(len(piece), BUDGET))
    return {**scores.result(), "overlap": sum(shares) / len(shares),
            "rows": sum(rows) / len(rows)}


def name(policy, slack):
    return f"slack/{policy}/{slack}"


def cells(settings):
    ids = texts.join(settings.stretches)
    ret = []
    for policy in POLICIES:
        common = ["--policy", policy, "--budget", str(BUDGET)]
        lockstep = [*common, "--lockstep"]
        for slack in ["lockstep"] + SLACKS:
            arguments = lockstep if slack == "lockstep" else [
                *common, "--slack", str(slack)]
            ret.append(Cell(
                name(policy, slack),
                {"options": arguments, "context": settings.contexts[1],
                 "every": EVERY}, ids, work(len(ids), BUDGET),
                lambda evaluation, a=arguments, l=lockstep: run_slack(
                    evaluation, settings, a, l)))
    return ret


def report(settings, results):
    lines = ["## Asynchrony", "",
             f"Budget {BUDGET}, context {settings.contexts[1]}. Perplexity "
             "against lockstep, in percent; of what lockstep has selected "
             "beyond sinks and recent tokens, the share that is held here, "
             f"too, at one step in {EVERY}; rows held when a step attends.",
             "", "![slack](slack.svg)", "",
             "| policy | slack | perplexity | against lockstep | overlap | "
             "rows |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    summary = {}
    for policy in POLICIES:
        base = results[name(policy, "lockstep")]["blocks"]
        for slack in ["lockstep"] + SLACKS:
            r = results[name(policy, slack)]
            ppl = scoring.perplexity(r["blocks"])
            gap = intervals.percent(intervals.paired(r["blocks"], base))
            mark = "**" if gap.clear else ""
            half = (gap.high - gap.low) / 2
            lines.append(
                f"| {policy} | {slack} | {ppl:.3f} | {mark}{gap.mean:+.3f} ± "
                f"{half:.3f} %{mark} | {100 * r['overlap']:.1f} % | "
                f"{r['rows']:.0f} |")
            summary[name(policy, slack)] = {
                "perplexity": ppl, "percent": gap, "overlap": r["overlap"],
                "rows": r["rows"]}
    return lines + [""], summary, {"slack.svg": figure(results)}


def figure(results):
    left = svg.Axes(60, 46, 300, 200, (0.8, 320), (0, 100), True)
    left.frame("selected as in lockstep", "slack, tokens", "%", SLACKS,
               [0, 20, 40, 60, 80, 100])
    gaps = {}
    for policy in POLICIES:
        base = results[name(policy, "lockstep")]["blocks"]
        gaps[policy] = [(s, intervals.percent(intervals.paired(
            results[name(policy, s)]["blocks"], base))) for s in SLACKS]
        left.line([(s, 100 * results[name(policy, s)]["overlap"])
                   for s in SLACKS], svg.color(policy), marks=True)
    bounds = [v for g in gaps.values() for _, i in g for v in (i.low, i.high)]
    span = (max(bounds) - min(bounds)) * 0.1 + 0.01
    low, high = min(bounds) - span, max(bounds) + span
    right = svg.Axes(440, 46, 300, 200, (0.8, 320), (low, high), True)
    right.frame("perplexity against lockstep", "slack, tokens",
                "difference, %", SLACKS, svg.steps(low, high))
    for i, policy in enumerate(POLICIES):
        shift = 1 + (i - 1) * 0.04
        right.line([(s * shift, v.mean) for s, v in gaps[policy]],
                   svg.color(policy), marks=True)
        right.bars([(s * shift, v.low, v.high) for s, v in gaps[policy]],
                   svg.color(policy))
    return svg.document(770, 300, left.parts + right.parts + svg.legend(
        60, 16, POLICIES), "Perplexity and rows held by slack")
