# SPDX-License-Identifier: BSD-2-Clause
"""Plots of what was measured, with the writer of SVG that tests/eval has."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "eval"))
import svg  # noqa: E402  (of the folder that was just added)

OURS, THEIRS, GOAL = "#0072b2", "#d55e00", "#009e73"
WIDTH, HEIGHT = 380, 240
LEFT, TOP, GAP = 70, 40, 90


def powers(low, high, base=10):
    """The powers of ten (or two) that enclose two values, and those between."""
    ticks = [1.0]
    while ticks[0] > low:
        ticks.insert(0, ticks[0] / base)
    while ticks[-1] < high:
        ticks.append(ticks[-1] * base)
    while len(ticks) > 1 and ticks[1] <= low:
        ticks.pop(0)
    return ticks if len(ticks) > 1 else [ticks[0] / base, ticks[0]]


def panel(number, title, x_label, y_label, lines, log_x=True):
    """Lines: (name, color, [(x, y), ...]), both axes by powers."""
    ys = [y for _, _, points in lines for _, y in points if y > 0]
    xs = [x for _, _, points in lines for x, _ in points]
    y_ticks = powers(min(ys), max(ys))
    axes = svg.Axes(LEFT + number * (WIDTH + GAP), TOP, WIDTH, HEIGHT,
                    (min(xs), max(xs)), (y_ticks[0], y_ticks[-1]),
                    log_x=log_x, log_y=True)
    axes.frame(title, x_label, y_label, sorted(set(xs)), y_ticks)
    for _, color, points in lines:
        axes.line(points, color, marks=True)
    return axes.parts


def page(path, title, panels, names):
    parts = [part for one in panels for part in one]
    parts += svg.legend(LEFT, TOP + HEIGHT + 60, [name for name, _ in names],
                        [color for _, color in names], width=190)
    path.write_text(svg.document(
        LEFT + len(panels) * (WIDTH + GAP), TOP + HEIGHT + 80, parts, title))


def draw_scale(path, curves):
    ways = [("processes", "client processes, 1,000 caches"),
            ("caches", "caches, one process")]
    panels = []
    for name, x_label in ways:
        points = curves[name]
        panels.append(panel(len(panels), "turns a second", x_label, "1/s",
                            [("", OURS, [(n, rate) for n, rate, _ in points])]))
        panels.append(panel(len(panels), "99 of 100 attaches", x_label, "us",
                            [("", OURS, [(n, late) for n, _, late in points])]))
    page(path, "Throughput and latency by processes and by caches", panels,
         [("attach, 20 tokens, detach", OURS)])


def draw_flat(path, curves):
    panels = [
        panel(i, title, "tokens read, in 1,024", unit,
              [("", OURS, [(at[0] / 1024, at[of]) for at in curves["flat"]]),
               ("", THEIRS, [(at[0] / 1024, at[of + 1])
                             for at in curves["flat"]])])
        for i, (title, unit, of) in enumerate(
            (("a step", "us", 1), ("memory", "MiB", 3)))]
    page(path, "A step's time and a cache's memory by tokens read", panels,
         [("budget 1,024", OURS), ("full cache", THEIRS)])


def draw_full(path, curves):
    points = curves["full"]
    page(path, "treekv-run by context", [panel(
        0, "tokens a second", "context, tokens", "1/s",
        [("", OURS, [(n, ours) for n, ours, _ in points]),
         ("", THEIRS, [(n, full) for n, _, full in points])])],
        [("budget 256", OURS), ("full cache", THEIRS)])


def draw_ratios(path, rows):
    """Every row with a peer: a dot, from the goal, where there is one."""
    rows = [row for row in rows if row["ratio"]]
    ticks = powers(min(row["ratio"] for row in rows),
                   max(row["ratio"] for row in rows))
    line, left, wide = 17, 190, 560
    axes = svg.Axes(left, TOP, wide, line * len(rows), (ticks[0], ticks[-1]),
                    (0, len(rows)), log_x=True)
    axes.frame("ours / theirs", "", "", ticks, [], grid=False)
    one = min(max(1, ticks[0]), ticks[-1])
    axes.parts.append(f"<path d='M{axes.at_x(one):.1f} {TOP}V"
                      f"{TOP + line * len(rows)}' stroke='#999999'/>")
    for i, row in enumerate(rows):
        y = TOP + (i + 0.5) * line
        x = axes.at_x(row["ratio"])
        axes.parts.append(svg.text(left - 8, y + 4, row["name"], "end"))
        if row["goal"] and row["goal"][0] == "ratio" and \
                ticks[0] <= row["goal"][2] <= ticks[-1]:
            goal = axes.at_x(row["goal"][2])
            axes.parts.append(f"<path d='M{goal:.1f} {y:.1f}H{x:.1f}' "
                              "stroke='#dddddd' stroke-width='4'/>")
            axes.parts.append(f"<path d='M{goal:.1f} {y - 6:.1f}v12' "
                              f"stroke='{GOAL}' stroke-width='2'/>")
        axes.parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='"
                          f"{THEIRS if row['met'] is False else OURS}'/>")
    bottom = TOP + line * len(rows) + 50
    axes.parts += svg.legend(left, bottom,
                             ["ours / theirs", "missed", "the goal"],
                             [OURS, THEIRS, GOAL], width=150)
    path.write_text(svg.document(left + wide + 40, bottom + 20, axes.parts,
                                 "Every row that has a peer"))


def draw(target, rows, curves):
    """Writes what there is; returns the files' names."""
    drawn = []

    def one(name, function, figures):
        function(target / name, figures)
        drawn.append(name)

    if any(row["ratio"] for row in rows):
        one("ratios.svg", draw_ratios, rows)
    if "processes" in curves:
        one("scale.svg", draw_scale, curves)
    if "flat" in curves:
        one("flat.svg", draw_flat, curves)
    if "full" in curves:
        one("full.svg", draw_full, curves)
    return drawn
