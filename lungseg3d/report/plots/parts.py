"""What plots are made of: marks, axes with their grids, and the pieces of SVG that are drawn on them.

In: numbers and names. Out: SVG text. Colours come from `SERIES_COLOURS` by position; lines and text take the page's
own, so a plot follows its light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

SERIES_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#8f5fbf", "#7a7a7a")
"""Okabe and Ito's palette (2008), which people without full colour vision can tell apart, a little darker in yellow."""
_GAP = 8


@dataclass(frozen=True)
class Mark:
    """A mean with its interval: one row of a forest plot, one point of the others.

    Attributes:
        name: of the series.
        colour: index of its colour.
        mean, low, high: in the unit of the axis.
        note: text beside it.
    """

    name: str
    colour: int
    mean: float
    low: float
    high: float
    note: str = ""

    @property
    def hex_colour(self) -> str:
        """Its colour, as CSS has it."""
        return SERIES_COLOURS[self.colour % len(SERIES_COLOURS)]

    @property
    def is_hollow(self) -> bool:
        """Whether its colour is another's too, so that it is drawn as a ring."""
        return (self.colour // len(SERIES_COLOURS)) % 2 == 1


@dataclass(frozen=True)
class Axis:
    """Numbers to picture pixels: `low` lies at `start`, `high` at `stop`."""

    low: float
    high: float
    start: float
    stop: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a number."""
        low, high, value = (math.log10(x) if self.is_log else x for x in (self.low, self.high, value))
        return self.start + (self.stop - self.start) * (value - low) / (high - low)

    @property
    def ticks(self) -> list[float]:
        """Round numbers between `low` and `high`, four to eight."""
        if self.is_log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
                found = [step * 10.0**decade for decade in decades for step in steps]
                found = [tick for tick in found if self.low <= tick * (1 + 1e-9) and tick <= self.high * (1 + 1e-9)]
                if len(found) >= 4:
                    return found
            return found
        step = _round_step((self.high - self.low) / 7)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


def axis_around(
    values: Sequence[float], start: float, stop: float, *, within: tuple[float, float] = (-math.inf, math.inf)
) -> Axis:
    """A linear axis with all finite values on it and a little air, no further than `within`."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return Axis(max(low - air, within[0]), min(high + air, within[1]), start, stop)


def positive_axis_around(values: Sequence[float], start: float, stop: float) -> Axis:
    """An axis with all positive values on it and air: logarithmic where the largest is three times the smallest."""
    known = [value for value in values if math.isfinite(value) and value > 0] or [1.0, 10.0]
    if max(known) < 3 * min(known):
        return Axis(0.0, max(known) * 1.25, start, stop)
    return Axis(min(known) / 1.35, max(known) * 1.35, start, stop, is_log=True)


def grid_x(axis: Axis, top: float, bottom: float, label: str) -> str:
    """The vertical grid lines, numbers and title of a horizontal axis, as SVG."""
    parts = []
    for tick in axis.ticks:
        parts.append(svg_line(axis.at(tick), top, axis.at(tick), bottom, 'class="grid"'))
        parts.append(svg_text(axis.at(tick), bottom + 17, _tick_text(tick), "middle", "soft"))
    parts.append(svg_text((axis.start + axis.stop) / 2, bottom + 38, label, "middle"))
    return "".join(parts)


def grid_y(axis: Axis, left: float, right: float, label: str) -> str:
    """The horizontal grid lines, numbers and title of a vertical axis, as SVG."""
    parts = []
    for tick in axis.ticks:
        parts.append(svg_line(left, axis.at(tick), right, axis.at(tick), 'class="grid"'))
        parts.append(svg_text(left - _GAP, axis.at(tick) + 4, _tick_text(tick), "end", "soft"))
    middle = (axis.start + axis.stop) / 2
    turned = f' transform="rotate(-90 13 {middle:.1f})"'
    parts.append(svg_text(13, middle, label, "middle", extra=turned))
    return "".join(parts)


def free_place(
    x: float,
    y: float,
    width: float,
    taken: Sequence[tuple[float, float, float, float]],
    frame: tuple[float, float, float, float],
) -> tuple[float, float, float, float]:
    """Where a name beside (x, y) covers least: its left, top, right and bottom."""
    starts = [(x + 10, y - 8), (x - 10 - width, y - 8)]
    starts += [(x + dx, y + dy) for dy in (-26, 10, -42, 26, -58, 42) for dx in (8, -8 - width)]
    boxes = [(left, top, left + width, top + 16) for left, top in starts]

    def cost(box: tuple[float, float, float, float]) -> float:
        covered = sum(_overlap(box, other) for other in taken)
        inside = _overlap(box, frame)
        return covered + 3 * (width * 16 - inside)

    return min(boxes, key=cost)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _round_step(step: float) -> float:
    """The next larger of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(round_step * power for round_step in (1, 2, 5, 10) if round_step * power >= step * (1 - 1e-9))


def _tick_text(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def described(mark: Mark) -> str:
    """Name, mean and interval of a mark as text."""
    return f"{mark.name}: {mark.mean:.3f} ({mark.low:.3f} to {mark.high:.3f})".replace("-", "−")


def stroke(mark: Mark, width: float) -> str:
    """The SVG attributes of a line in a mark's colour, `width` in pixels."""
    return f'stroke="{mark.hex_colour}" stroke-width="{width}"'


def svg_line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A line between two points in pixels, as SVG."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def svg_dot(x: float, y: float, radius: float, mark: Mark, said: str, extra: str = "") -> str:
    """A filled or hollow dot of a mark, with `said` as its tooltip, as SVG."""
    title = f"<title>{escape(said)}</title>" if said else ""
    inside = "var(--paper)" if mark.is_hollow else mark.hex_colour
    ring = f' stroke="{mark.hex_colour}" stroke-width="{0.4 * radius:.1f}"' if mark.is_hollow else ""
    radius = round(0.8 * radius, 1) if mark.is_hollow else radius
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{inside}"{ring}{extra}>{title}</circle>'


def svg_text(x: float, y: float, text: str, anchor: str, kind: str = "", extra: str = "") -> str:
    """A text at a point in pixels, escaped, as SVG."""
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}{extra}>{escape(text)}</text>'


def svg_page(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A whole picture of these parts, sizes in pixels, as SVG."""
    view = f'viewBox="0 0 {width:.0f} {height:.0f}"'
    return f'<svg class="plot" {view} role="img" aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg>'
