# SPDX-License-Identifier: BSD-2-Clause
"""Two pictures from the paper: which tokens are held, and why a tree.

The map (Figure 1): for each step and position, the share of heads that hold the
token. The wavelets (§3.3, Figure 2): at the last step of a full cache, the
signal s = a ∘ V along the sequence, for each layer, query head and channel; a
Haar decomposition in five levels, each detail reconstructed alone, its magnitude
averaged. Of Haar's, that magnitude is the same within a block of 2^level
positions: half the difference between the means of the block's halves."""
import os
import sys

import svg
import texts
from runner import Cell, work

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "helpers"))
import views  # noqa: E402

POLICIES = ["h2o", "tova", "treekv"]
BUDGET = 128
CELL = 4        # positions and steps of a dot
LEVELS = 5
EDGE = 32       # positions left out at either end


def kept(path, steps):
    """[step / CELL][position / CELL] -> share of heads that hold it."""
    side = steps // CELL
    dots = [[0] * side for _ in range(side)]
    heads = set()
    for view in views.read(path):
        heads.add((view.layer, view.head))
        row = dots[view.step // CELL]
        for token in view.tokens:
            row[token // CELL] += 1
    most = len(heads) * CELL * CELL
    return [[round(n / most, 4) for n in row] for row in dots]


def run_kept(evaluation, ids, policy):
    source, sink = evaluation.path("piece"), evaluation.path("views")
    texts.write(source, ids)
    evaluation.run("--ids", source, "--policy", policy, "--budget",
                   str(BUDGET), "--lockstep", "--views", sink)
    ret = kept(sink, len(ids))
    os.unlink(sink)
    evaluation.did(work(len(ids), BUDGET))
    return ret


def details(signal, sums):
    """Adds the magnitude of each level's detail, block by block."""
    for level in range(LEVELS):
        into = sums[level]
        width = 2 << level
        next_level = []
        for i in range(0, len(signal), 2):
            into[i // 2] += abs(signal[i] - signal[i + 1]) / width
            next_level.append(signal[i] + signal[i + 1])
        signal = next_level


def run_wavelets(evaluation, samples):
    sums, n = None, 0
    for ids in samples:
        source, sink = evaluation.path("piece"), evaluation.path("views")
        texts.write(source, ids)
        evaluation.run("--ids", source, "--policy", "full", "--views", sink,
                       "--views-every", str(len(ids)))
        for view in views.read(sink):
            sums = sums or [[0.0] * (len(ids) >> (level + 1))
                            for level in range(LEVELS)]
            for weights in view.weights:
                for channel in zip(*view.values):
                    details([w * v for w, v in zip(weights, channel)], sums)
                    n += 1
        os.unlink(sink)
        evaluation.did(work(len(ids), len(ids)))
    return [[x / n for x in level] for level in sums]


def cells(settings):
    window = settings.window
    ids = texts.pieces(settings.stretches[0], window - 1)[0]
    ret = [Cell(f"kept/{policy}", {"budget": BUDGET}, ids,
                work(len(ids), BUDGET),
                lambda evaluation, policy=policy: run_kept(
                    evaluation, ids, policy)) for policy in POLICIES]
    samples = [piece for stretch in settings.stretches
               for piece in texts.pieces(stretch, window - 1)
               if len(piece) == window][:settings.samples]
    ret.append(Cell("wavelets", {"levels": LEVELS}, texts.join(samples),
                    work(len(samples) * window, window),
                    lambda evaluation: run_wavelets(evaluation, samples)))
    return ret


def figure_kept(settings, results):
    parts = []
    steps = settings.window
    for i, policy in enumerate(POLICIES):
        dots = results[f"kept/{policy}"]
        axes = svg.Axes(58 + i * 240, 30, 200, 200, (0, steps), (0, steps))
        # positions upwards, steps to the right
        axes.map([[row[y] for row in dots]
                  for y in range(len(dots) - 1, -1, -1)])
        ticks = svg.steps(0, steps, 4)
        axes.frame(policy, "step", "position" if i == 0 else "", ticks, ticks,
                   False)
        parts += axes.parts
    return svg.document(770, 280, parts, "Tokens held, by step")


def figure_wavelets(settings, results):
    sums = results["wavelets"]
    curves = []
    for level, blocks in enumerate(sums):
        width = 2 << level
        curves.append([(p, blocks[p // width])
                       for p in range(EDGE, settings.window - EDGE)
                       if p % width == width // 2])
    values = [y for curve in curves for _, y in curve if y > 0]
    low, high = min(values) / 1.2, max(values) * 1.2
    axes = svg.Axes(80, 46, 640, 240, (0, settings.window), (low, high), False,
                    True)
    ticks = [10.0 ** e * m for e in range(-8, 2) for m in (1, 2, 5)]
    axes.frame(f"a ∘ V at step {settings.window}: magnitude of each detail",
               "position", "", svg.steps(0, settings.window, 8),
               [t for t in ticks if low <= t <= high])
    names = [f"level {i + 1}" for i in range(LEVELS)]
    for i, curve in enumerate(curves):
        axes.line(curve, svg.OTHERS[i])
    return svg.document(770, 340, axes.parts + svg.legend(
        90, 16, names, svg.OTHERS, 110), "Wavelets of a ∘ V")


def rise(settings, blocks, level):
    """How much larger the last quarter is than the first, edges left out."""
    width = 2 << level
    inside = [blocks[p // width] for p in range(EDGE, settings.window - EDGE)]
    quarter = len(inside) // 4
    return sum(inside[-quarter:]) / sum(inside[:quarter])


def report(settings, results):
    sums = results["wavelets"]
    rises = [rise(settings, blocks, level) for level, blocks in enumerate(sums)]
    lines = [
        "## Which tokens are held", "",
        "![tokens held](kept.svg)", "",
        f"A cache of {BUDGET} (4 sinks, half recent) on {settings.window} "
        "tokens: how many of all heads hold a position (black: all of them), "
        "step by step.", "",
        "## Wavelets", "",
        "![wavelets](wavelets.svg)", "",
        f"Over {settings.samples} samples, all layers, heads and channels; the "
        f"first and last {EDGE} positions are left out. From the first to the "
        "last quarter of what is shown the magnitudes rise "
        + ", ".join(f"{r:.1f}" for r in rises)
        + " times (level 1, the highest frequency, to level 5).", ""]
    return lines, {"wavelets": sums, "rise": rises}, {
        "kept.svg": figure_kept(settings, results),
        "wavelets.svg": figure_wavelets(settings, results)}
