# SPDX-License-Identifier: BSD-2-Clause
"""Perplexity by policy, budget and context.

A context is how much is read until the cache begins anew. Every cell scores the
same tokens: they are cut into pieces of one context each, and each piece is fed
behind a BOS to a cache of its own, in lockstep, so that no more than the budget
is ever held. 4 sinks, half of the budget recent, the rest selected: treekv-run's
defaults."""
import intervals
import scoring
import svg
import texts
from runner import Cell, work

POLICIES = ["streaming", "h2o", "tova", "treekv", "treekv-left", "treekv-skip"]


def options(policy, budget):
    if policy == "full":
        return ["--policy", "full"]
    return ["--policy", policy, "--budget", str(budget), "--lockstep"]


def cell(settings, policy, budget, context):
    arguments = options(policy, budget)
    held = context / 2 if policy == "full" else min(budget, context)

    def run(evaluation):
        scores = scoring.Scores()
        for stretch in settings.stretches:
            for piece in texts.pieces(stretch, context):
                scoring.score(evaluation, scores, piece, *arguments)
                evaluation.did(work(len(piece), held))
        return scores.result()

    ids = texts.join(settings.stretches)
    return Cell(name(policy, budget, context),
                {"options": arguments, "context": context}, ids,
                work(len(ids), held), run)


def name(policy, budget, context):
    if policy == "full":
        return f"perplexity/full/{context}"
    return f"perplexity/{policy}/{budget}/{context}"


def short_contexts(settings):
    """Parts of the window: what does the model make of more of it?"""
    return [settings.window // part for part in (16, 8, 4, 2)]


def cells(settings):
    ret = [cell(settings, "full", 0, context)
           for context in short_contexts(settings) + settings.contexts]
    ret += [cell(settings, policy, budget, context)
            for context in settings.contexts for budget in settings.budgets
            for policy in POLICIES]
    return ret


def against(results, policy, budget, context, other="streaming"):
    """The difference in percent of the perplexity, with its interval."""
    ours = results[name(policy, budget, context)]["blocks"]
    theirs = results[name(other, budget, context)]["blocks"]
    return intervals.percent(intervals.paired(ours, theirs))


def signed(interval):
    mark = "**" if interval.clear else ""
    half = (interval.high - interval.low) / 2
    return f"{mark}{interval.mean:+.2f} ± {half:.2f}{mark}"


def table(settings, results, context):
    """Rows are policies, columns budgets."""
    full = scoring.perplexity(results[name("full", 0, context)]["blocks"])
    lines = ["| policy | " + " | ".join(map(str, settings.budgets)) + " |",
             "| --- |" + " ---: |" * len(settings.budgets)]
    for policy in POLICIES:
        row = []
        for budget in settings.budgets:
            ppl = scoring.perplexity(
                results[name(policy, budget, context)]["blocks"])
            text = f"{ppl:.2f}"
            if policy != "streaming":
                text += f" ({signed(against(results, policy, budget, context))} %)"
            row.append(text)
        lines.append(f"| {policy} | " + " | ".join(row) + " |")
    lines.append(f"| full, {context} tokens held | {full:.2f} |"
                 + " |" * (len(settings.budgets) - 1))
    return lines


def model(settings, results):
    """How much context the model uses: full attention within the window."""
    lines = ["| context | perplexity | against the window |",
             "| ---: | ---: | ---: |"]
    window = results[name("full", 0, settings.window)]["blocks"]
    for context in short_contexts(settings) + [settings.window]:
        blocks = results[name("full", 0, context)]["blocks"]
        gap = intervals.percent(intervals.paired(blocks, window))
        lines.append(f"| {context} | {scoring.perplexity(blocks):.2f} | "
                     f"{signed(gap)} % |")
    lines += ["", "| tokens seen | nats a token |", "| ---: | ---: |"]
    found = results[name("full", 0, settings.window)]["positions"]
    for key in sorted(found, key=int):
        total, count = found[key]
        if int(key) > 2:
            lines.append(f"| {2 ** (int(key) - 1)} to {2 ** int(key) - 1} | "
                         f"{total / count:.3f} |")
    return lines


def figure(settings, results):
    budget = settings.budgets[min(2, len(settings.budgets) - 1)]
    context = settings.contexts[-1]
    names = ["full"] + POLICIES
    values = {(p, c): scoring.perplexity(results[name(p, budget, c)]["blocks"])
              for p in names for c in settings.contexts}
    most = max(values.values())
    least = min(values.values())
    left = svg.Axes(60, 46, 300, 230,
                    (settings.contexts[0] * 0.8, context * 1.25),
                    (least * 0.9, most * 1.15), True, True)
    ticks = [t for t in (10, 20, 25, 30, 50, 100, 200, 500, 1000, 2000, 5000)
             if least * 0.9 <= t <= most * 1.15]
    left.frame(f"budget {budget}, and full attention", "context, tokens",
               "perplexity", settings.contexts, ticks)
    for policy in names:
        left.line([(c, values[policy, c]) for c in settings.contexts],
                  svg.color(policy), marks=True)
    found = {p: [(b, against(results, p, b, context)) for b in settings.budgets]
             for p in POLICIES}
    bounds = [v for series in found.values() for _, i in series
              for v in (i.low, i.high)]
    span = (max(bounds) - min(bounds)) * 0.06 + 0.05
    low, high = min(bounds) - span, max(bounds) + span
    right = svg.Axes(440, 46, 300, 230,
                     (settings.budgets[0] * 0.8, settings.budgets[-1] * 1.25),
                     (low, high), True)
    right.frame(f"context {context}: perplexity against streaming's",
                "budget, tokens", "difference, %", settings.budgets,
                svg.steps(low, high))
    for i, policy in enumerate(POLICIES):
        shift = 1 + (i - 2.5) * 0.022
        right.line([(b * shift, v.mean) for b, v in found[policy]],
                   svg.color(policy), marks=True)
        right.bars([(b * shift, v.low, v.high) for b, v in found[policy]],
                   svg.color(policy))
    return svg.document(770, 330, left.parts + right.parts + svg.legend(
        50, 16, names, width=102), "Perplexity by context and by budget")


def report(settings, results):
    tokens = results[name("full", 0, settings.contexts[0])]
    lines = ["## Perplexity by policy, budget and context", "",
             f"{len(tokens['blocks']) * scoring.BLOCK} tokens a cell, the same "
             "in all. In brackets: against streaming at the same budget and "
             "context, in percent, with half the width of a 95 % interval "
             f"(paired bootstrap over blocks of {scoring.BLOCK} tokens); bold "
             "where the interval leaves out zero.", "",
             "![perplexity](perplexity.svg)", ""]
    for context in settings.contexts:
        times = context // settings.window
        lines += [f"Context {context}, {times} times the window:"
                  if times > 1 else f"Context {context}, the window:", "",
                  *table(settings, results, context), ""]
    lines += ["How much the model itself makes of context: full attention, "
              "begun anew after so many tokens; and within the window, by how "
              "many tokens of the text it has seen:", "",
              *model(settings, results), ""]
    summary = {}
    for key, result in results.items():
        if key.startswith("perplexity/"):
            summary[key] = {
                "perplexity": scoring.perplexity(result["blocks"]),
                "tokens": len(result["blocks"]) * scoring.BLOCK,
                "tokens_per_s": result["tokens_per_s"]}
    for context in settings.contexts:
        for budget in settings.budgets:
            for policy in POLICIES:
                summary[name(policy, budget, context)]["percent"] = against(
                    results, policy, budget, context)
    return lines, summary, {"perplexity.svg": figure(settings, results)}
