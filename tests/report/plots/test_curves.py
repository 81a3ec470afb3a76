"""Curves and clouds as SVG: what lies where, told from the numbers in the text."""

import re

from lungseg3d.report.plots.curves import Curve, difference_plot, froc_plot, reliability_plot


def points_of(svg: str) -> list[tuple[float, float]]:
    (points,) = re.findall(r'<polyline points="([^"]+)"', svg)
    return [tuple(map(float, point.split(","))) for point in points.split()]


def test_a_froc_curve_that_ends_early_goes_on_level_to_the_end_of_the_axis():
    points = points_of(froc_plot([Curve("a", 0, [0.0, 0.02], [0.0, 0.7])], "FROC"))
    assert len({y for _, y in points}) == 1
    assert points[-1][0] - points[0][0] > 400


def test_a_long_curve_is_drawn_with_no_more_points_than_pixels():
    x = [i / 1000 for i in range(8000)]
    points = points_of(froc_plot([Curve("a", 0, x, [min(1, 0.3 + value / 20) for value in x])], "FROC"))
    assert 50 < len(points) < 2000
    assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_an_empty_bin_has_no_dot_and_each_dot_says_what_it_is():
    nan = float("nan")
    svg = reliability_plot([nan, 0.4, 0.9], [nan, 0.5, 1.0], [0, 2, 5], "Reliability")
    assert svg.count("<circle") == 2
    assert "5 findings of confidence 0.90: 1.00 are nodules" in svg


def test_a_difference_plot_has_a_dot_a_case_and_names_its_lines():
    lines = [(1.0, "bias"), (-3.0, "low"), (5.0, "high")]
    svg = difference_plot([10, 20, 30], [0, 1, 2], lines, "ml", "Bland-Altman")
    assert svg.count("<circle") == 3
    heights = [float(y) for y in re.findall(r'y1="([\d.]+)"[^>]*class="mark"', svg)]
    assert heights[2] < heights[0] < heights[1]
    assert "prediction − reference, ml" in svg
