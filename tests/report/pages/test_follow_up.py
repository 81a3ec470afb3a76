"""The page of a follow-up shows every nodule at both times, says what cannot be said, and is one file for all."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from lungseg3d.core import Change, Estimate, FollowUp, NoduleChange, QualityIssue
from lungseg3d.report import Time, changes_csv, follow_up_json, numbers_of, render_follow_up
from tests.support.follow_up_cases import chest_with, nodule_at, record_of
from tests.support.nodule_records import changed

BALLS = ((60, 0, 20), 20.0), ((-60, 0, 0), 16.0)


@pytest.fixture(scope="module")
def volumes():
    return chest_with(list(BALLS))


@pytest.fixture(scope="module")
def compared(volumes):
    prior, current = record_of("before", *volumes), record_of("now", *volumes)
    first, second = current.nodules
    changes = (
        NoduleChange(1, Change.GROWN, "", prior.nodules[0], first, first.centroid.ras_mm, first.centroid.ras_mm, 0.4,
                     Estimate(0.5, 0.2, 0.9), Estimate(205.0, 130.0, 456.0)),
        NoduleChange(2, Change.NEW, "", None, second, second.centroid.ras_mm, second.centroid.ras_mm),
    )  # fmt: skip
    issue = QualityIssue("W_OTHER_KERNEL", "kernel <B30f> before, B60f now.", "Look twice.")
    return FollowUp(prior, current, changes, 120, "DICOM", {"lung_dice": 0.97}, (issue,))


@pytest.fixture(scope="module")
def page(volumes, compared):
    numbers = numbers_of(compared)
    times = tuple(Time.of(t, *volumes, numbers[i]) for i, t in enumerate(("Prior", "Current")))
    return render_follow_up(compared, times)


def test_the_summary_counts_each_kind_of_change(page):
    assert "1 new, 1 grown." in re.sub(r"\s+", " ", page)
    assert "120 days between the CTs (from their DICOM dates)" in page


def test_change_and_doubling_time_stand_with_their_intervals(page):
    assert "+50 %" in page
    assert "+20 to +90 %" in page
    assert "130 to 456" in page


def test_each_nodule_has_three_planes_of_both_cts(page):
    assert page.count("plane, 50 mm wide.") + page.count("plane, 45 mm wide.") == 12
    assert page.count("Current: ") >= 2
    assert "Prior: not found" in page


def test_a_reason_that_all_share_is_said_once_and_a_ct_that_is_not_compared_takes_no_half_of_the_page(
    volumes, compared
):
    why = "the lungs of the two CTs do not fit together"
    apart = tuple(
        NoduleChange(number, Change.NOT_DETERMINED, why, None, nodule, None, nodule.centroid.ras_mm)
        for number, nodule in enumerate(compared.current.nodules, start=1)
    )
    follow_up = replace(compared, changes=apart)
    numbers = numbers_of(follow_up)
    times = tuple(Time.of(t, *volumes, numbers[i]) for i, t in enumerate(("Prior", "Current")))
    html = render_follow_up(follow_up, times)
    assert html.count(f"Of all 2: {why}.") == 1
    assert f'<div class="note">{why}' not in html
    assert html.count('<div class="times alone">') == html.count('<div class="shown">') == 2
    assert "Uncalibrated confidence<br>" in html


def test_issues_are_escaped_and_nothing_is_fetched_from_outside(page):
    assert "kernel &lt;B30f&gt; before" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "Research use only" in page
    assert len(page.encode()) < 5_000_000


def test_low_confidence_is_marked_by_the_limits_of_each_cts_own_report(volumes, compared):
    low = changed(compared.changes[0].current, confidence=0.92, calibrated_confidence=0.2)
    changes = (replace(compared.changes[0], current=low),)
    asked = replace(compared.current, provenance={"options": {"low_calibrated_confidence": 0.1}})
    times = tuple(Time.of(title, *volumes, {1: 1}) for title in ("Prior", "Current"))
    marked, unmarked = (
        render_follow_up(replace(compared, changes=changes, current=current), times).count("▲&nbsp;low")
        for current in (compared.current, asked)
    )
    assert (marked, unmarked) == (3, 1)  # table, panel, and what it means


def test_a_nodule_takes_the_number_of_the_follow_up(volumes):
    time = Time.of("Prior", *volumes, {1: 7})
    assert set(np.unique(time.scene.nodules)) == {0, 7}


def test_without_a_ct_the_masks_are_drawn(volumes):
    time = Time.of("Prior", None, volumes[1], volumes[2], {1: 1})
    assert not time.has_ct
    assert len(np.unique(time.scene.hu)) == 2


def test_no_nodules_give_a_page_and_a_table_of_one_line(volumes, compared):
    empty = FollowUp(compared.prior, compared.current, ())
    times = tuple(Time.of(title, *volumes, {}) for title in ("Prior", "Current"))
    assert "No nodules in either CT." in render_follow_up(empty, times)
    assert changes_csv(empty).count("\n") == 1


def test_the_table_has_a_row_for_each_nodule_and_empty_cells_for_what_is_not_there(compared):
    grown, new = csv.DictReader(io.StringIO(changes_csv(compared)))
    assert (grown["change"], grown["volume_change_percent"], grown["doubling_time_days_high"]) == (
        "grown",
        "50.0",
        "456",
    )
    assert (new["change"], new["prior_volume_mm3"], new["volume_change_percent"]) == ("new", "", "")
    assert float(new["current_volume_mm3"]) == pytest.approx(compared.current.nodules[1].volume_mm3, abs=0.01)


def test_the_record_is_json_without_nan(compared):
    strange = nodule_at(1, (0, 0, 0), mean_hu=float("nan"))
    odd = NoduleChange(1, Change.GONE, "", strange, None, (0, 0, 0), (0, 0, 0))
    record = json.loads(follow_up_json(FollowUp(compared.prior, compared.current, (odd,))))
    assert (record["schema_version"], record["changes"][0]["prior"]["mean_hu"]) == (1, None)
    assert record["changes"][0]["change"] == "gone"
