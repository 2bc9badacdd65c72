# SPDX-License-Identifier: BSD-2-Clause
"""Figures as SVG: plain text, readable on a light and a dark page."""
import math
from xml.sax.saxutils import escape

# Okabe and Ito's, distinguishable by everybody.
COLORS = {"full": "#999999", "streaming": "#000000", "h2o": "#d55e00",
          "tova": "#e69f00", "treekv": "#0072b2", "treekv-left": "#56b4e9",
          "treekv-skip": "#009e73", "snapkv": "#cc79a7"}
OTHERS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
FONT = "font-family='sans-serif' font-size='12'"


def color(name, i=0):
    return COLORS.get(name, OTHERS[i % len(OTHERS)])


def text(x, y, content, anchor="middle", more=""):
    return (f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' {more}>"
            f"{escape(str(content))}</text>")


def document(width, height, parts, title):
    return (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} "
            f"{height}' width='{width}' height='{height}' {FONT} role='img'>\n"
            f"<title>{escape(title)}</title>\n"
            f"<rect width='{width}' height='{height}' fill='#ffffff'/>\n"
            + "\n".join(parts) + "\n</svg>\n")


def short(value):
    """A tick's label."""
    if abs(value) >= 10000 and value % 100 == 0:
        return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k"
    return f"{value:.6g}"


def steps(low, high, wanted=5):
    """Round values within [low, high]."""
    span = high - low or 1
    unit = 10 ** math.floor(math.log10(span / wanted))
    step = min((f * unit for f in (1, 2, 2.5, 5, 10)),
               key=lambda s: abs(span / s - wanted))
    first = math.ceil(low / step - 1e-9)
    ret = []
    while first * step <= high + step * 1e-9:
        ret.append(round(first * step, 12))
        first += 1
    return ret


class Axes:
    """One panel: a frame with ticks, and lines within it."""

    def __init__(self, left, top, width, height, x, y, log_x=False,
                 log_y=False):
        self.left, self.top = left, top
        self.width, self.height = width, height
        self.x, self.y = x, y   # (low, high)
        self.log_x, self.log_y = log_x, log_y
        self.parts = []

    def at_x(self, value):
        low, high = self.x
        if self.log_x:
            low, high, value = map(math.log, (low, high, value))
        return self.left + self.width * (value - low) / (high - low)

    def at_y(self, value):
        low, high = self.y
        value = min(max(value, low), high)
        if self.log_y:
            low, high, value = map(math.log, (low, high, value))
        return self.top + self.height * (1 - (value - low) / (high - low))

    def frame(self, title, x_label, y_label, x_ticks, y_ticks, grid=True):
        right, bottom = self.left + self.width, self.top + self.height
        for value in y_ticks:
            y = self.at_y(value)
            line = f"M{self.left} {y:.1f}"
            self.parts.append(
                f"<path d='{line}H{right}' stroke='#dddddd'/>" if grid else
                f"<path d='{line}h-4' stroke='#000000'/>")
            self.parts.append(text(self.left - 5, y + 4, short(value), "end"))
        for value in x_ticks:
            x = self.at_x(value)
            self.parts.append(f"<path d='M{x:.1f} {bottom}v4' "
                              "stroke='#000000'/>")
            self.parts.append(text(x, bottom + 17, short(value)))
        self.parts.append(
            f"<rect x='{self.left}' y='{self.top}' width='{self.width}' "
            f"height='{self.height}' fill='none' stroke='#000000'/>")
        middle = self.left + self.width / 2
        self.parts.append(text(middle, self.top - 8, title, "middle",
                               "font-weight='bold'"))
        self.parts.append(text(middle, bottom + 34, x_label))
        if y_label:
            y = self.top + self.height / 2
            x = self.left - 42
            self.parts.append(text(x, y, y_label, "middle",
                                   f"transform='rotate(-90 {x} {y})'"))

    def line(self, points, stroke, dashes="", marks=False):
        path = " ".join(f"{self.at_x(x):.1f},{self.at_y(y):.1f}"
                        for x, y in points)
        self.parts.append(
            f"<polyline points='{path}' fill='none' stroke='{stroke}' "
            f"stroke-width='1.6' stroke-dasharray='{dashes}'/>")
        if marks:
            for x, y in points:
                self.parts.append(f"<circle cx='{self.at_x(x):.1f}' "
                                  f"cy='{self.at_y(y):.1f}' r='2.6' "
                                  f"fill='{stroke}'/>")

    def bars(self, points, stroke):
        """Intervals: (x, low, high)."""
        for x, low, high in points:
            self.parts.append(
                f"<path d='M{self.at_x(x):.1f} {self.at_y(low):.1f}"
                f"V{self.at_y(high):.1f}' stroke='{stroke}' "
                "stroke-width='1.2'/>")

    def map(self, rows, shades=12):
        """Values from 0 (white) to 1 (black), row by row from the top."""
        wide = self.width / max(map(len, rows))
        high = self.height / len(rows)
        levels = {}
        for r, row in enumerate(rows):
            at = 0
            while at < len(row):
                level = min(int(row[at] * shades + 0.5), shades)
                end = at
                while (end < len(row) and
                       min(int(row[end] * shades + 0.5), shades) == level):
                    end += 1
                if level:
                    levels.setdefault(level, []).append(
                        f"M{self.left + at * wide:.2f} "
                        f"{self.top + (r + 0.5) * high:.2f}"
                        f"h{(end - at) * wide:.2f}")
                at = end
        for level, path in sorted(levels.items()):
            grey = int(255 * (1 - level / shades))
            self.parts.append(
                f"<path d='{''.join(path)}' stroke-width='{high + 0.1:.2f}' "
                f"stroke='#{grey:02x}{grey:02x}{grey:02x}'/>")


def legend(left, top, names, colors=None, width=96):
    """One line of names; returns parts."""
    parts = []
    for i, name in enumerate(names):
        x = left + i * width
        stroke = colors[i] if colors else color(name, i)
        parts.append(f"<path d='M{x} {top - 4}h16' stroke='{stroke}' "
                     "stroke-width='3'/>")
        parts.append(text(x + 21, top, name, "start"))
    return parts
