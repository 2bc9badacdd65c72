# SPDX-License-Identifier: BSD-2-Clause
"""From samples to rows of a table, and whether goals are met."""

import statistics

BLOCKS = 10  # of samples, each of which has a p99 of its own
P99_SAMPLES = 50  # a block has at least so many


def quantile(samples, share):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def p99(samples):
    """That of each block, so that it has a least and a greatest as well."""
    size = max(len(samples) // BLOCKS, P99_SAMPLES)
    return [quantile(samples[i:i + size], 0.99)
            for i in range(0, len(samples) - size + 1, size)]


def samples_of(name, measured):
    if name in measured:
        return measured[name]
    base = measured.get(name.removesuffix(".p99"))
    if base is None or not name.endswith(".p99"):
        return {"ours": [], "theirs": []}
    return {side: p99(base[side]) for side in ("ours", "theirs")}


def summary(samples):
    if not samples:
        return None
    return {"median": statistics.median(samples), "min": min(samples),
            "max": max(samples)}


def ratio_of(ours, theirs):
    """Of neighbours in time where the sides were sampled one for one."""
    if not ours or not theirs:
        return None
    if len(ours) == len(theirs) and all(theirs):
        return statistics.median(a / b for a, b in zip(ours, theirs))
    divisor = statistics.median(theirs)
    return statistics.median(ours) / divisor if divisor else None


def is_met(goal, ours, ratio):
    if not goal:
        return None
    value = ours and ours["median"] if goal[0] == "ours" else ratio
    if value is None:
        return None
    return value <= goal[2] if goal[1] == "<=" else value >= goal[2]


def judge(row, measured, missing):
    name, what, against, unit, goal = row
    samples = samples_of(name, measured)
    ours, theirs = summary(samples["ours"]), summary(samples["theirs"])
    ratio = ratio_of(samples["ours"], samples["theirs"])
    note = missing.get(name)
    if not note and not ours:
        note = "nothing was measured"
    if not note and against and not theirs:
        note = f"{against}: the peer is missing"
    return {"name": name, "what": what, "against": against, "unit": unit,
            "ours": ours, "theirs": theirs, "ratio": ratio,
            "goal": goal and list(goal),
            "met": is_met(goal, ours, ratio), "note": note}


# ---- the table ----

def short(value):
    if value is None:
        return "-"
    if value and abs(value) < 0.1:
        return f"1/{1 / value:.0f}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def spread(side):
    if not side:
        return "-"
    if side["min"] == side["max"]:
        return short(side["median"])
    return (f"{short(side['median'])} "
            f"({short(side['min'])}-{short(side['max'])})")


def goal_text(row):
    if not row["goal"]:
        return "", ""
    kind, relation, limit = row["goal"]
    text = f"{relation} {short(float(limit))}"
    text += " of theirs" if kind == "ratio" else ""
    return text, {True: "met", False: "MISSED", None: "?"}[row["met"]]


def columns(lines):
    """Lines of cells, as text; the first is the head."""
    widths = [max(len(line[i]) for line in lines)
              for i in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in
                      zip(line, widths)).rstrip() for line in lines]
    text.insert(1, "-" * max(map(len, text)))
    return "\n".join(text)


def table(rows):
    lines = [("row", "what", "against", "unit", "ours", "theirs", "ratio",
              "goal", "")]
    for row in rows:
        lines.append((row["name"], row["what"], row["against"] or "",
                      row["unit"], spread(row["ours"]), spread(row["theirs"]),
                      short(row["ratio"]) if row["ratio"] else "",
                      *goal_text(row)))
    return columns(lines)


def notes_of(rows):
    notes = {}
    for row in rows:
        if row["note"]:
            notes.setdefault(row["note"], []).append(row["name"])
    return [f"{', '.join(names)}: {note}" for note, names in notes.items()]
