"""Plots: round ticks, numbers where they belong, text that cannot become markup."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from lungseg3d.report.plots.charts import forest_plot, group_plot, scatter_plot
from lungseg3d.report.plots.parts import Axis, Mark, axis_around, positive_axis_around

SHARE = (0.0, 1.0)
A, B = Mark("a", 0, 0.5, 0.4, 0.6, "0.5"), Mark("b", 1, 0.8, 0.7, 0.9, "0.8")


def dots(svg: str) -> list[tuple[float, float]]:
    """Centres of the circles; raises where the text is not well-formed."""
    return [(float(c.get("cx")), float(c.get("cy"))) for c in ElementTree.fromstring(svg).iter("circle")]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.61, 0.74, [0.62, 0.7, 0.74]),
        (-30, 70, [-20, 0, 20, 40, 60]),
        (0, 4, [0, 1, 2, 3, 4]),
    ],
)
def test_ticks_are_round_numbers_inside_the_axis(low, high, ticks):
    found = Axis(low, high, 0, 100).ticks
    assert all(low <= tick <= high for tick in found)
    assert set(ticks) <= {round(tick, 9) for tick in found}
    assert 3 <= len(found) <= 8


def test_a_logarithmic_axis_has_equal_ways_between_equal_ratios():
    axis = Axis(1, 100, 0, 200, is_log=True)
    assert axis.at(10) == pytest.approx(100)
    assert {1, 10, 100} <= {round(tick, 9) for tick in axis.ticks}


def test_numbers_far_apart_have_a_logarithmic_axis_and_others_one_from_zero():
    assert positive_axis_around([1, 50], 0, 100).is_log
    near = positive_axis_around([1, 2], 0, 100)
    assert (near.is_log, near.low) == (False, 0.0)


def test_an_axis_holds_all_values_and_ends_where_it_must():
    axis = axis_around([0.2, math.nan, 0.99], 0, 100, within=SHARE)
    assert axis.low < 0.2
    assert axis.high == 1.0
    assert axis_around([], 0, 1).high > axis_around([], 0, 1).low
    assert axis_around([0.5], 0, 1).high > 0.5


def test_a_forest_plot_has_the_larger_mean_further_right_and_rows_in_order():
    (xa, ya), (xb, yb) = dots(forest_plot([A, B], "Dice", "title", line=0.5, within=SHARE))
    assert xb > xa
    assert yb > ya


def test_a_row_without_a_mean_has_its_name_and_no_point():
    svg = forest_plot([A, Mark("none", 1, math.nan, math.nan, math.nan, "–")], "Dice", "title", within=SHARE)
    assert len(dots(svg)) == 1
    assert ">none</text>" in svg
    assert "nan" not in svg


def test_a_scatter_plot_leaves_out_what_cannot_be_placed_and_puts_larger_values_higher():
    points = [(1.0, A), (2.0, B), (math.nan, A), (1.0, Mark("x", 2, math.nan, math.nan, math.nan))]
    (xa, ya), (xb, yb) = dots(scatter_plot(points, "s", "Dice", "title", within=SHARE))
    assert xb > xa
    assert yb < ya


def test_names_of_points_at_one_place_do_not_lie_on_each_other():
    marks = [Mark(f"network_{i}", i, 0.5, 0.45, 0.55) for i in range(4)]
    svg = scatter_plot([(1.0 + i / 100, mark) for i, mark in enumerate(marks)], "s", "Dice", "title", within=SHARE)
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="start">network', svg)
    assert len(set(places)) == 4
    boxes = [(float(x), float(y)) for x, y in places]
    assert all(abs(a[1] - b[1]) >= 14 or abs(a[0] - b[0]) > 60 for i, a in enumerate(boxes) for b in boxes[:i])


def test_groups_show_every_case_and_every_mean():
    svg = group_plot([("small", [(A, [0.4, 0.6, math.nan])]), ("large", [(B, [0.8])])], "Dice", "title", within=SHARE)
    assert len(dots(svg)) == 2 + 3


def test_a_name_cannot_become_markup():
    evil = Mark("<script>&", 0, 0.5, 0.4, 0.6, '"><b>')
    for svg in (
        forest_plot([evil], "<i>", '"<', within=SHARE),
        scatter_plot([(1.0, evil)], "<", "&", "'", within=SHARE),
    ):
        dots(svg)
        assert "<script>" not in svg
