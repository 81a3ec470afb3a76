"""Five bands, each by the worse end of an interval."""

from __future__ import annotations

import math

import pytest

from lungseg3d.metrics import BAND_BOUNDS, BAND_NAMES, band_of


def test_there_are_five_from_poor_to_excellent_with_four_bounds_each():
    assert BAND_NAMES == ("poor", "fair", "moderate", "good", "excellent")
    assert all(len(bounds) == 4 for bounds in BAND_BOUNDS.values())
    assert BAND_BOUNDS["iou"] == pytest.approx([d / (2 - d) for d in BAND_BOUNDS["dice"]], abs=1e-3)
    assert BAND_BOUNDS["hd95_mm"] == BAND_BOUNDS["hd100_mm"]


@pytest.mark.parametrize(
    ("metric", "low", "high", "reached", "possible"),
    [
        ("dice", 0.59, 1.0, "moderate", "excellent"),
        ("dice", 0.80, 0.9, "excellent", "excellent"),
        ("dice", 0.0, 0.1, "poor", "poor"),
        ("detection", 0.61, 0.79, "good", "good"),
        ("hd95_mm", 0.5, 1.5, "excellent", "excellent"),
        ("hd100_mm", 1.0, 4.0, "moderate", "excellent"),
        ("hd95_mm", 11.0, 20.0, "poor", "poor"),
    ],
)
def test_a_band_is_reached_only_when_the_worse_end_reaches_it(metric, low, high, reached, possible):
    assert (band_of(metric, low, high).reached, band_of(metric, low, high).possible) == (reached, possible)


def test_without_an_interval_no_band_is_reached():
    assert band_of("dice", math.nan, math.nan).reached is None
