"""Registration, pairing and changes of volume against answers known beforehand."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lungseg3d
from lungseg3d.analysis import (
    FOLLOW_UP_CODES,
    Acquisition,
    Chest,
    TimePoint,
    classed,
    compare_nodules,
    compare_noise,
    compare_scans,
    doubling_time_days,
    match_nodules,
    register_lungs,
    volume_change,
    word_for,
)
from lungseg3d.core import Change, Estimate, GeometryError, Grid, Volume
from lungseg3d.data.phantom_breathing import Motion
from tests.follow_up_cases import chest_with, nodule_at, record_of, shifted_by

MOTION = Motion.of(seed=7, diaphragm_mm=-12.0)
WIDE = Grid((101, 101, 101), np.diag([3.0, 3.0, 3.0, 1.0]))


@pytest.fixture(scope="module")
def two_breaths():
    prior, current = chest_with([]), chest_with([], MOTION.to_prior)
    return prior, current


@pytest.mark.parametrize(("with_ct", "within_mm"), [(True, 3.0), (False, 7.0)])
def test_places_in_the_lungs_are_found_again_after_a_breath(two_breaths, with_ct, within_mm):
    chests = [Chest(labels, hu if with_ct else None) for hu, labels, _ in two_breaths]
    registration = register_lungs(*chests)
    places = np.array([(60, 0, 60), (75, 30, 0), (50, -30, -50), (-60, 0, 0), (-75, -20, 50), (-50, 40, -40)], float)
    expected = MOTION.to_current(places)
    assert np.linalg.norm(expected - places, axis=1).max() > 10
    assert np.linalg.norm(registration.to_current(places) - expected, axis=1).max() < within_mm
    assert registration.to_prior(registration.to_current(places)) == pytest.approx(places, abs=0.05)
    assert registration.dice > 0.96 > registration.dice_before


@pytest.mark.parametrize("value", [0, 3])
def test_a_label_map_without_lungs_cannot_be_registered(two_breaths, value):
    labels = two_breaths[0][1]
    without = labels.with_array(np.where(labels.array == 1, value, 0).astype(np.uint8))
    with pytest.raises(GeometryError, match="E_NO_LUNG"):
        register_lungs(Chest(labels), Chest(without))


def test_a_ct_must_lie_on_the_grid_of_its_labels(two_breaths):
    hu, labels, _ = two_breaths[0]
    with pytest.raises(GeometryError, match="E_GRID_MISMATCH"):
        Chest(labels, Volume(hu.array[:-1], hu.affine))


def test_every_code_that_a_follow_up_adds_is_in_the_table_and_the_reverse():
    folder = Path(lungseg3d.__file__).parent
    sources = folder / "workflows" / "follow_up.py", folder / "analysis" / "scan_differences.py"
    said = [re.findall(r'"(W_[A-Z_]+)"(?!:)', source.read_text(encoding="utf-8")) for source in sources]
    assert {code for codes in said for code in codes} == set(FOLLOW_UP_CODES)


def test_nodules_are_paired_by_where_registration_puts_them_not_by_where_they_lie():
    prior = [nodule_at(1, (50, 0, 0)), nodule_at(2, (50, 0, 20))]
    current = [nodule_at(1, (50, 0, 20)), nodule_at(2, (50, 0, 40))]
    matching = match_nodules(prior, current, shifted_by(0, 0, 20))
    assert [(match.prior.id, match.current.id) for match in matching.matches] == [(1, 1), (2, 2)]
    assert [match.distance_mm for match in matching.matches] == [0, 0]


def test_as_many_as_possible_find_a_partner_though_one_could_take_a_nearer_one():
    prior = [nodule_at(1, (50, 0, 0)), nodule_at(2, (50, 0, 9))]
    current = [nodule_at(1, (50, 0, 8)), nodule_at(2, (50, 0, 15))]
    matching = match_nodules(prior, current, shifted_by(0, 0, 0))
    assert [(match.prior.id, match.current.id) for match in matching.matches] == [(1, 1), (2, 2)]


def test_beyond_the_gate_or_in_the_other_lung_there_is_no_partner():
    prior = [nodule_at(1, (50, 0, 0)), nodule_at(2, (4, 40, 0), side="right")]
    current = [nodule_at(1, (50, 0, 12)), nodule_at(2, (-2, 40, 0), side="left")]
    matching = match_nodules(prior, current, shifted_by(0, 0, 0))
    assert matching.matches == ()
    assert [nodule.id for nodule in matching.only_prior] == [nodule.id for nodule in matching.only_current] == [1, 2]
    by_masks = match_nodules(prior, current, shifted_by(0, 0, 0, "masks"))
    assert [(match.prior.id, match.current.id) for match in by_masks.matches] == [(1, 1)]


def test_of_two_neighbours_at_equal_distance_the_one_of_like_size_is_taken():
    prior = [nodule_at(1, (50, 0, 0), 400.0)]
    current = [nodule_at(1, (50, 0, 4), 4000.0), nodule_at(2, (50, 0, -4), 420.0)]
    (match,) = match_nodules(prior, current, shifted_by(0, 0, 0)).matches
    assert match.current.id == 2


def test_no_nodules_on_one_side_are_no_matches():
    nodules = [nodule_at(1, (50, 0, 0))]
    assert match_nodules([], nodules, shifted_by(0, 0, 0)).only_current == tuple(nodules)
    assert match_nodules(nodules, [], shifted_by(0, 0, 0)).only_prior == tuple(nodules)


def test_the_interval_of_a_change_joins_both_volumes():
    # Each volume to 30 %: 1.96 sd = ln 1.3; together ln(1.3) sqrt(2).
    volumes = [nodule_at(1, (0, 0, 0), v, volume_low_mm3=v / 1.3, volume_high_mm3=v * 1.3) for v in (500.0, 1000.0)]
    change = volume_change(*volumes)
    factor = np.exp(np.log(1.3) * np.sqrt(2))
    assert change == Estimate(pytest.approx(1.0), pytest.approx(2 / factor - 1), pytest.approx(2 * factor - 1))


def test_the_interval_is_never_narrower_than_what_two_scans_differ_by():
    sure = [nodule_at(1, (0, 0, 0), v, volume_low_mm3=v / 1.01, volume_high_mm3=v * 1.01) for v in (500.0, 500.0)]
    assert volume_change(*sure) == Estimate(0.0, pytest.approx(-0.2), pytest.approx(0.25))


def test_a_volume_without_an_interval_is_refused():
    with pytest.raises(ValueError, match="nodule 1 has no interval"):
        volume_change(nodule_at(1, (0, 0, 0), volume_low_mm3=None), nodule_at(2, (0, 0, 0)))


def test_a_nodule_that_doubles_in_100_days_doubles_in_100_days():
    assert doubling_time_days(Estimate(1.0, 0.5, 1.5), 100) == Estimate(
        pytest.approx(100), pytest.approx(100 * np.log(2) / np.log(2.5)), pytest.approx(100 * np.log(2) / np.log(1.5))
    )


def test_a_doubling_time_is_open_where_the_nodule_may_not_have_grown():
    assert doubling_time_days(Estimate(0.3, -0.1, 0.41421356), 100) == Estimate(
        pytest.approx(100 * np.log(2) / np.log(1.3)), pytest.approx(200), None
    )


def test_below_25_percent_there_is_no_doubling_time_but_what_it_is_at_least():
    assert doubling_time_days(Estimate(1e-16, -0.2, 0.41421356), 100) == Estimate(None, pytest.approx(200), None)


def test_without_growth_or_without_days_there_is_no_doubling_time():
    assert doubling_time_days(Estimate(-0.1, -0.3, 0.1), 100).value is None
    assert doubling_time_days(Estimate(-0.5, -0.6, -0.4), 100) == Estimate(None)
    assert doubling_time_days(Estimate(1.0, 0.5, 1.5), None) == Estimate(None)
    assert doubling_time_days(Estimate(1.0, 0.5, 1.5), 0) == Estimate(None)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (Estimate(0.3, 0.04, 0.6), Change.GROWN),
        (Estimate(-0.3, -0.45, -0.1), Change.SHRUNK),
        (Estimate(0.2, -0.04, 0.5), Change.STABLE),
        (Estimate(-0.19, -0.35, 0.0), Change.STABLE),
        (Estimate(0.4, -0.1, 1.1), Change.NOT_MEASURABLE),
        (Estimate(0.05, -0.48, 1.1), Change.NOT_MEASURABLE),
    ],
)
def test_the_word_for_a_change(change, word):
    assert word_for(change)[0] is word


def test_alone_is_new_or_gone_only_where_the_other_ct_shows_the_place_empty():
    far = {"centroid_voxel": (50.0, 50.0, 50.0)}
    lost, outside = nodule_at(1, (150, 150, 150), **far), nodule_at(2, (150, 150, 299), **far)
    part, whole = nodule_at(3, (200, 150, 150), 300.0, **far), nodule_at(1, (206, 150, 150), 3000.0, **far)
    twin = nodule_at(4, (212, 150, 150), 2900.0, **far)
    changes = compare_nodules(
        TimePoint((lost, outside, part, twin), WIDE), TimePoint((whole,), WIDE), shifted_by(0, 0, 0), None
    )
    said = {(change.prior.id, change.change): change.reason for change in changes}
    assert said[1, Change.GONE] == ""
    assert "does not show" in said[2, Change.NOT_MEASURABLE]
    assert "nodule 1 of the current CT" in said[3, Change.NOT_MEASURABLE]
    assert (4, Change.STABLE) in said
    assert [change.id for change in changes] == [1, 2, 3, 4]


def test_a_new_nodule_of_5_mm_is_category_3_where_a_first_screening_says_2():
    small = replace(nodule_at(1, (150, 150, 150), 65.0, centroid_voxel=(50.0, 50.0, 50.0)), long_axis_mm=5.0)
    small = classed(replace(small, perpendicular_mm=5.0, kind="solid"))
    assert (small.lung_rads_by_diameter, small.lung_rads_by_volume) == ("2", "2")
    (change,) = compare_nodules(TimePoint((), WIDE), TimePoint((small,), WIDE), shifted_by(0, 0, 0), None)
    assert (change.current.lung_rads_by_diameter, change.current.lung_rads_by_volume) == ("3", "3")


def test_a_nodule_that_the_border_cuts_is_not_measured():
    whole = nodule_at(1, (150, 150, 150), centroid_voxel=(50.0, 50.0, 50.0))
    cut = replace(whole, centroid_voxel=(50.0, 50.0, 1.0))
    (change,) = compare_nodules(TimePoint((whole,), WIDE), TimePoint((cut,), WIDE), shifted_by(0, 0, 0), 90)
    assert change.change is Change.NOT_MEASURABLE
    assert change.reason == "cut by the border of the current CT"


def test_scans_that_differ_are_flagged_and_equal_ones_are_not(two_breaths):
    same = record_of("a", *two_breaths[0])
    assert compare_scans(same, same) == []
    other = replace(
        same,
        source={**same.source, "kernel": "B70f", "kvp": 100.0, "slice_thickness_mm": 8.0},
        provenance={"bundles": {"nodules": {"weights_sha256": "1"}}},
    )
    codes = {issue.code for issue in compare_scans(same, other)}
    assert codes == {"W_OTHER_SLICES", "W_OTHER_KERNEL", "W_OTHER_VOLTAGE", "W_OTHER_PROGRAM"}
    unknown = replace(same, source={})
    assert [issue.code for issue in compare_scans(same, unknown)] == ["W_UNKNOWN_SCAN"]


def test_another_dose_is_flagged_from_one_and_a_half_times_the_noise():
    def with_noise(noise_hu):
        return Acquisition(0.7, 1.0, noise_hu)

    assert [issue.code for issue in compare_noise(with_noise(20.0), with_noise(30.0))] == ["W_OTHER_NOISE"]
    assert compare_noise(with_noise(20.0), with_noise(25.0)) == []
    assert compare_noise(with_noise(None), with_noise(25.0)) == []
