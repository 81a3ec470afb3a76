"""Curves and clouds as inline SVG: FROC, reliability, measurements against their difference. No script.

In: numbers. Out: SVG text, the same for the same input, for a light or a dark page. Knows no metric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungseg3d.report.plots.parts import (
    SERIES_COLOURS,
    Axis,
    Mark,
    axis_around,
    grid_x,
    grid_y,
    svg_dot,
    svg_line,
    svg_page,
    svg_text,
)

_WIDTH, _HEIGHT, _LEFT, _TOP = 560.0, 340.0, 56.0, 12.0
_BOTTOM, _RIGHT = _HEIGHT - 48, _WIDTH - 14


@dataclass(frozen=True)
class Curve:
    """A line through points; x ascending.

    Attributes:
        name: of the series.
        colour: index of its colour.
        x, y: of its points.
        marks: points on it with intervals along y: (x, mean, low, high).
    """

    name: str
    colour: int
    x: Sequence[float]
    y: Sequence[float]
    marks: Sequence[tuple[float, float, float, float]] = ()


def froc_plot(curves: Sequence[Curve], title: str) -> str:
    """Sensitivity against false positives a scan, 1/8 to 8 on a logarithmic axis."""
    x_axis, y_axis = Axis(0.1, 10.0, _LEFT, _RIGHT, is_log=True), Axis(0.0, 1.0, _BOTTOM, _TOP)
    ticks = (0.125, 0.25, 0.5, 1, 2, 4, 8)
    parts = [grid_y(y_axis, _LEFT, _RIGHT, "sensitivity")]
    for tick, name in zip(ticks, ("1/8", "1/4", "1/2", "1", "2", "4", "8"), strict=True):
        parts.append(svg_line(x_axis.at(tick), _TOP, x_axis.at(tick), _BOTTOM, 'class="grid"'))
        parts.append(svg_text(x_axis.at(tick), _BOTTOM + 17, name, "middle", "soft"))
    parts.append(svg_text((_LEFT + _RIGHT) / 2, _BOTTOM + 38, "false positives a scan", "middle"))
    return svg_page(_WIDTH, _HEIGHT, title, [*parts, *(_drawn(curve, x_axis, y_axis) for curve in curves)])


def reliability_plot(confidence: Sequence[float], share: Sequence[float], counts: Sequence[float], title: str) -> str:
    """Share of true findings against mean confidence, a dot for each bin with its number; dashed: as it should be."""
    x_axis, y_axis = Axis(0.0, 1.0, _LEFT, _RIGHT), Axis(0.0, 1.0, _BOTTOM, _TOP)
    parts = [grid_x(x_axis, _TOP, _BOTTOM, "confidence"), grid_y(y_axis, _LEFT, _RIGHT, "share that are nodules")]
    parts.append(svg_line(x_axis.at(0), y_axis.at(0), x_axis.at(1), y_axis.at(1), 'class="mark"'))
    most = max([*counts, 1])
    for sure, true, count in zip(confidence, share, counts, strict=True):
        if count:
            mark = Mark("findings", 0, true, true, true)
            said = f"{count:g} findings of confidence {sure:.2f}: {true:.2f} are nodules"
            radius = 4 + 8 * math.sqrt(count / most)
            parts.append(svg_dot(x_axis.at(sure), y_axis.at(true), round(radius, 1), mark, said, ' opacity="0.8"'))
            above = y_axis.at(true) - radius - 4
            below = y_axis.at(true) + radius + 14
            place = above if above > _TOP + 8 else below
            parts.append(svg_text(x_axis.at(sure), place, f"{count:g}", "middle", "soft"))
    return svg_page(_WIDTH, _HEIGHT, title, parts)


def difference_plot(
    means: Sequence[float], differences: Sequence[float], lines: Sequence[tuple[float, str]], unit: str, title: str
) -> str:
    """Bland and Altman's plot: difference of two measurements against their mean, with named horizontal lines.

    Args:
        means, differences: of each case.
        lines: height and name, such as the bias and both limits of agreement.
        unit: of all numbers.
        title: for who cannot see it.
    """
    right = _RIGHT - 96
    x_axis = axis_around(means, _LEFT + 12, right)
    y_axis = axis_around([*differences, *(height for height, _ in lines), 0.0], _BOTTOM, _TOP)
    parts = [
        grid_x(x_axis, _TOP, _BOTTOM, f"mean of prediction and reference, {unit}"),
        grid_y(y_axis, _LEFT + 12, right, f"prediction − reference, {unit}"),
    ]
    for mean, difference in zip(means, differences, strict=True):
        mark = Mark("case", 0, difference, difference, difference)
        parts.append(svg_dot(x_axis.at(mean), y_axis.at(difference), 4, mark, "", ' opacity="0.6"'))
    for height, name in lines:
        parts.append(svg_line(_LEFT + 12, y_axis.at(height), right, y_axis.at(height), 'class="mark"'))
        parts.append(svg_text(right + 6, y_axis.at(height) + 4, name, "start", "soft"))
    return svg_page(_WIDTH, _HEIGHT, title, parts)


def _drawn(curve: Curve, x_axis: Axis, y_axis: Axis) -> str:
    """The line between the ends of the axis, level beyond its own, and its points with intervals."""
    colour = SERIES_COLOURS[curve.colour % len(SERIES_COLOURS)]
    ends = [(x, float(np.interp(x, curve.x, curve.y))) for x in (x_axis.low, x_axis.high)]
    inside = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if x_axis.low < x < x_axis.high]
    places = [(x_axis.at(x), y_axis.at(y)) for x, y in (ends[0], *inside, ends[1])]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in _thinned(places))
    parts = [f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for x, mean, low, high in curve.marks:
        mark = Mark(curve.name, curve.colour, mean, low, high)
        style = f'stroke="{colour}" stroke-width="1.8" opacity="0.6"'
        parts.append(svg_line(x_axis.at(x), y_axis.at(low), x_axis.at(x), y_axis.at(high), style))
        said = f"{curve.name}, {x:g}: {mean:.3f} ({low:.3f} to {high:.3f})"
        parts.append(svg_dot(x_axis.at(x), y_axis.at(mean), 5, mark, said))
    return "".join(parts)


def _thinned(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points at least half a pixel apart: a curve of 50,000 thresholds is no longer than its picture."""
    kept: list[tuple[float, float]] = []
    for place in places:
        if not kept or math.dist(place, kept[-1]) >= 0.5:
            kept.append(place)
    return kept
