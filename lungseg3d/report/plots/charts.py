"""Plots as inline SVG: means with intervals, points on two axes, groups side by side. No script, no picture file.

In: numbers and names. Out: SVG text, the same for the same input, for a light or a dark page. Knows no network and no
metric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lungseg3d.report.plots.parts import (
    Mark,
    axis_around,
    described,
    free_place,
    grid_x,
    grid_y,
    positive_axis_around,
    stroke,
    svg_dot,
    svg_line,
    svg_page,
    svg_text,
)


def forest_plot(
    rows: Sequence[Mark], label: str, title: str, *, line: float | None = None, within: tuple[float, float]
) -> str:
    """One row for each mark: name, interval, mean, note.

    Args:
        rows: from top to bottom.
        label: of the axis.
        title: for who cannot see it.
        line: where a dashed line is drawn, such as no difference.
        within: the furthest that the axis may go.
    """
    # 8.2: wide fonts, such as DejaVu Sans, in names with an m or two.
    names = max((len(row.name) for row in rows), default=0) * 8.2 + 18
    notes = max((len(row.note) for row in rows), default=0) * 6.6 + 12
    width, height = 560.0, 28.0 * len(rows) + 56
    values = [value for row in rows for value in (row.low, row.mean, row.high)] + ([line] if line is not None else [])
    axis = axis_around(values, names, width - notes, within=within)
    bottom = height - 44
    parts = [grid_x(axis, 6, bottom, label)]
    if line is not None:
        parts.append(svg_line(axis.at(line), 6, axis.at(line), bottom, 'class="mark"'))
    for i, row in enumerate(rows):
        y = 22 + 28 * i
        parts.append(svg_text(names - 12, y + 4, row.name, "end"))
        parts.append(svg_text(width, y + 4, row.note, "end", "soft"))
        if math.isfinite(row.mean):
            parts.append(svg_line(axis.at(row.low), y, axis.at(row.high), y, stroke(row, 2.5)))
            parts += [svg_line(axis.at(end), y - 5, axis.at(end), y + 5, stroke(row, 2)) for end in (row.low, row.high)]
            parts.append(svg_dot(axis.at(row.mean), y, 5.5, row, described(row)))
    return svg_page(width, height, title, parts)


def scatter_plot(
    points: Sequence[tuple[float, Mark]], x_label: str, y_label: str, title: str, *, within: tuple[float, float]
) -> str:
    """A point for each mark, named, with its interval along y; x as `positive_axis_around`.

    Args:
        points: x (positive) and the mark.
        x_label, y_label: of the axes.
        title: for who cannot see it.
        within: the furthest that the y axis may go.
    """
    width, height, left, bottom = 560.0, 340.0, 56.0, 340.0 - 48
    points = [(x, mark) for x, mark in points if math.isfinite(x) and x > 0 and math.isfinite(mark.mean)]
    x_axis = positive_axis_around([x for x, _ in points], left, width - 10)
    y_axis = axis_around([v for _, m in points for v in (m.low, m.high)], bottom, 12, within=within)
    parts = [grid_x(x_axis, 12, bottom, x_label), grid_y(y_axis, left, width - 10, y_label)]
    taken: list[tuple[float, float, float, float]] = []
    for x, mark in points:
        px = x_axis.at(x)
        ends = y_axis.at(mark.low), y_axis.at(mark.high)
        parts.append(svg_line(px, ends[0], px, ends[1], stroke(mark, 1.8) + ' opacity="0.55"'))
        parts.append(svg_dot(px, y_axis.at(mark.mean), 6.5, mark, described(mark)))
        taken.append((px - 7, y_axis.at(mark.mean) - 7, px + 7, y_axis.at(mark.mean) + 7))
        taken.append((px - 1, min(ends), px + 1, max(ends)))
    for x, mark in points:
        place = free_place(
            x_axis.at(x), y_axis.at(mark.mean), 7.0 * len(mark.name), taken, (left, 4, width, bottom + 8)
        )
        taken.append(place)
        parts.append(svg_text(place[0], place[3] - 4, mark.name, "start"))
    return svg_page(width, height, title, parts)


def group_plot(
    groups: Sequence[tuple[str, Sequence[tuple[Mark, Sequence[float]]]]],
    y_label: str,
    title: str,
    *,
    within: tuple[float, float],
) -> str:
    """Groups from left to right; in each, one mark beside the other over its single values, faint.

    Args:
        groups: name, and the marks with the values that each sums up.
        y_label: of the axis.
        title: for who cannot see it.
        within: the furthest that the axis may go.
    """
    width, height, left, bottom = 1120.0, 380.0, 56.0, 380.0 - 34
    values = [value for _, marks in groups for mark, single in marks for value in (mark.low, mark.high, *single)]
    axis = axis_around(values, bottom, 12, within=within)
    parts = [grid_y(axis, left, width - 10, y_label)]
    room = (width - 10 - left) / max(len(groups), 1)
    for i, (name, marks) in enumerate(groups):
        start = left + i * room
        parts.append(svg_text(start + room / 2, bottom + 24, name, "middle"))
        if i:
            parts.append(svg_line(start, 12, start, bottom, 'class="grid"'))
        step = room / (len(marks) + 1)
        for j, (mark, single) in enumerate(marks):
            x = start + step * (j + 1)
            spread = min(11.0, step / 4)
            for k, value in enumerate(single):
                if math.isfinite(value):  # spread by the golden ratio: even, and the same every time
                    away = spread * (2 * ((k * 0.618034) % 1) - 1)
                    parts.append(svg_dot(x + away, axis.at(value), 3, mark, "", ' opacity="0.4"'))
            if math.isfinite(mark.mean):
                parts.append(svg_line(x, axis.at(mark.low), x, axis.at(mark.high), stroke(mark, 3)))
                parts.append(svg_dot(x, axis.at(mark.mean), 6.5, mark, described(mark)))
    return svg_page(width, height, title, parts)
