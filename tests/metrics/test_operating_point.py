"""The cut for a wanted rate of false positives, on marks that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lungseg3d.metrics import ScanMatches, pick_operating_point


def scan(found: list[float], false: list[float]) -> ScanMatches:
    return ScanMatches(np.array(found), np.array(false), len(found) + len(false))


# By falling score: hit .9, false .8, hit .7, false .6, false .5, hit .4; one nodule that nothing hits.
SCANS = [scan([0.9, 0.4], [0.8]), scan([0.7, np.nan], [0.6, 0.5])]


@pytest.mark.parametrize(
    ("rate", "cut", "false", "found"), [(0.5, 0.65, 0.5, 0.5), (1.0, 0.55, 1.0, 0.5), (8.0, 0.0, 1.5, 0.75)]
)
def test_the_cut_lies_below_the_last_mark_that_the_rate_allows(rate, cut, false, found):
    point = pick_operating_point(SCANS, rate)
    assert point.least_confidence == pytest.approx(cut)
    assert point.false_positives_a_scan.mean == pytest.approx(false)
    assert point.sensitivity.mean == pytest.approx(found)
    assert np.isnan(point.sensitivity.low)  # of two scans nothing is known
    assert (point.scans, point.nodules, point.asked) == (2, 4, rate)


def test_a_rate_below_what_the_surest_mark_costs_is_refused_with_that_cost():
    with pytest.raises(ValueError, match=r"confidence 0\.95\) are 0\.5 false ones a scan"):
        pick_operating_point([*SCANS[:1], scan([], [0.95])], 0.1)
    with pytest.raises(ValueError, match="more than 0"):
        pick_operating_point(SCANS, 0)


def test_scans_without_marks_or_nodules_count_as_scans():
    assert pick_operating_point([*SCANS, scan([], [])], 0.5).least_confidence == pytest.approx(0.65)


def test_six_patients_have_an_interval_and_their_scans_are_taken_together():
    point = pick_operating_point(SCANS * 6, 1.0, [f"p{i // 2}" for i in range(12)])
    assert (point.sensitivity.mean, point.scans) == (0.5, 12)
    assert point.sensitivity.low < 0.5 < point.sensitivity.high  # six alike are six, not twelve and not certain
    assert np.isnan(pick_operating_point(SCANS * 6, 1.0, ["p"] * 12).sensitivity.low)
