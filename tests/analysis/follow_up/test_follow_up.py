"""Registration, pairing and changes of volume against answers known beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lungseg3d.analysis import (
    Acquisition,
    Chest,
    DensityAt,
    FieldOfView,
    RegistrationFit,
    TimePoint,
    are_one_ct,
    classed,
    compare_nodules,
    compare_noise,
    compare_scans,
    doubling_time_days,
    match_over_time,
    register_lungs,
    volume_change,
    word_for,
)
from lungseg3d.core import Box, Change, Estimate, GeometryError, Grid, Volume
from lungseg3d.data.phantom.breathing import Motion
from tests.support.follow_up_cases import chest_with, nodule_at, record_of, shifted_by
from tests.support.nodule_records import changed

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
    assert registration.fit.is_good
    assert registration.fit.common_shares == pytest.approx((1, 1), abs=0.03)


def cut_to(volume: Volume, x=slice(None), z=slice(None)) -> Volume:
    nx, _, nz = volume.shape
    (x0, x1, _), (z0, z1, _) = x.indices(nx), z.indices(nz)
    return volume.crop(Box((x0, 0, z0), (x1, volume.shape[1], z1)))


# Voxels of 4 mm; the lungs reach from 5 to 55 of 60 along z, and the middle of the body is at 37 of 75 along x.
PARTS = {
    "upper half": {"z": slice(30, None)},
    "upper two thirds": {"z": slice(22, None)},
    "without the apices": {"z": slice(None, 40)},
    "right lung": {"x": slice(39, None)},
}


def assert_found_again(registration, true_current, places):
    missed_mm = np.linalg.norm(registration.to_current(places) - true_current(places), axis=1)
    assert missed_mm.max() < 5.0
    assert registration.fit.is_good


@pytest.mark.parametrize(
    ("part", "is_prior_cut"),
    [
        ("upper half", True),
        *(pytest.param(part, True, marks=pytest.mark.slow) for part in PARTS if part != "upper half"),
        *(pytest.param(part, False, marks=pytest.mark.slow) for part in PARTS),
    ],
)
def test_a_part_of_the_lungs_is_found_in_the_whole_after_a_breath_and_on_another_table(two_breaths, part, is_prior_cut):
    """The field of view is not the organ: middles laid on one another would be off by 4 to 6 cm."""
    prior, current = ([hu, labels] for hu, labels, _ in two_breaths)
    table = np.eye(4)
    table[:3, 3] = (30, -45, 210)
    current = [Volume(volume.array, table @ volume.affine) for volume in current]
    chosen = prior if is_prior_cut else current
    chosen[:] = [cut_to(volume, **PARTS[part]) for volume in chosen]
    registration = register_lungs(*(Chest(labels, hu) for hu, labels in (prior, current)))
    places = np.array([(60, 0, 30), (75, 30, 15), (50, -30, 25)], float)
    assert_found_again(registration, lambda points: MOTION.to_current(points) + table[:3, 3], places)
    shares = registration.fit.common_shares
    whole, cut = shares[::-1] if is_prior_cut else shares
    assert whole < 0.9 < cut
    assert registration.to_prior(registration.to_current(places)) == pytest.approx(places, abs=0.05)


@pytest.mark.slow
def test_parts_that_overlap_and_thicker_slices_are_registered_by_what_both_show(two_breaths):
    prior = [cut_to(volume, z=slice(20, None)) for volume in two_breaths[0][:2]]
    current = [cut_to(volume, z=slice(None, 44)) for volume in two_breaths[1][:2]]
    thick = [Volume(v.array[:, :, ::2], v.affine @ np.diag([1, 1, 2, 1])) for v in current]
    registration = register_lungs(Chest(*prior[::-1]), Chest(*thick[::-1]))
    assert_found_again(registration, MOTION.to_current, np.array([(60, 0, 30), (-75, -20, 0), (50, -30, 10)], float))


def test_halves_that_share_nothing_do_not_fit(two_breaths):
    upper, lower = slice(31, None), slice(None, 29)
    chests = [
        Chest(cut_to(labels, z=part), cut_to(hu, z=part))
        for (hu, labels, _), part in zip(two_breaths, (upper, lower), strict=True)
    ]
    assert not register_lungs(*chests).fit.is_good


def test_lungs_of_another_person_do_not_fit_though_their_outlines_do(two_breaths):
    """The same outlines, vessels elsewhere."""
    hu, labels, _ = two_breaths[0]
    other = hu.with_array(np.where(labels.array > 0, hu.array[:, ::-1, ::-1], hu.array))
    fit = register_lungs(Chest(labels, hu), Chest(labels, other)).fit
    assert fit.dice > 0.95
    assert "vessels" in fit.misfit


def test_padding_that_cuts_a_lung_off_is_no_field_of_view_and_air_around_the_patient_is():
    hu, labels, _ = chest_with([])
    padded = hu.array.copy()
    padded[:, :, :30] = -1024  # a region of interest, all else set to air
    inside = labels.with_array(np.where(padded == -1024, 0, labels.array).astype(np.uint8))
    view = FieldOfView.of(inside, hu.with_array(padded))
    edge_mm = float(hu.grid.to_world([0, 0, 29.5])[2])
    depth_mm = view.depth_mm(np.array([(60.0, 0.0, edge_mm + 12), (60.0, 0.0, edge_mm - 12)]))
    assert depth_mm == pytest.approx([12, -2], abs=4.1)
    assert depth_mm[1] < 0
    around = hu.array.copy()
    around[:, :4], around[:, -4:] = -1024, -1024
    assert FieldOfView.of(labels, hu.with_array(around)).from_padding_mm is None


def test_one_ct_is_known_by_its_voxels_in_any_order_place_and_rounding(two_breaths):
    first, other = two_breaths[0][0], two_breaths[1][0]
    turned = Volume(first.array[::-1, :, ::-1].copy(), first.affine @ np.diag([-1, 1, -1, 1]))
    assert are_one_ct(first, first.with_array(first.array + np.int16(1)))
    assert are_one_ct(first, turned)
    assert not are_one_ct(first, other)
    assert not are_one_ct(first, first.crop(Box((0, 0, 0), (75, 60, 59))))


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


def test_nodules_are_paired_by_where_registration_puts_them_not_by_where_they_lie():
    prior = [nodule_at(1, (50, 0, 0)), nodule_at(2, (50, 0, 20))]
    current = [nodule_at(1, (50, 0, 20)), nodule_at(2, (50, 0, 40))]
    matching = match_over_time(prior, current, shifted_by(0, 0, 20))
    assert [(match.prior.id, match.current.id) for match in matching.matches] == [(1, 1), (2, 2)]
    assert [match.distance_mm for match in matching.matches] == [0, 0]


def test_listed_nodules_are_paired_first_and_then_with_candidates_that_lie_at_their_place():
    """A nodule of 500 mm3 has a radius of 4.9 mm: candidates count within 7.9 mm, listed ones within 10.9 mm."""
    prior, current = [nodule_at(1, (50, 0, 0)), nodule_at(2, (50, 0, 60))], [nodule_at(1, (50, 0, 5))]
    near, behind = (nodule_at(i, place, reason="below-point") for i, place in ((2, (50, 0, 0)), (3, (50, 0, 67))))
    matching = match_over_time(prior, current, shifted_by(0, 0, 0), ([], [near, behind]))
    assert [(match.prior.id, match.current.id) for match in matching.matches] == [(1, 1), (2, 3)]
    assert (matching.only_prior, matching.only_current) == ((), ())
    far = nodule_at(3, (50, 0, 69), reason="below-point")
    assert match_over_time(prior, current, shifted_by(0, 0, 0), ([], [near, far])).only_prior == (prior[1],)


def test_a_large_candidate_beside_a_new_nodule_does_not_take_its_place_and_two_candidates_are_no_pair():
    hilum = nodule_at(1, (150, 150, 150), 14_000, reason="hilar-vessel")  # a ball of 30 mm
    registration = shifted_by(0, 0, 0)
    time = TimePoint([], WIDE, candidates=[hilum])
    for away_mm, word in ((20, Change.NEW), (10, Change.NOT_MEASURABLE), (7, Change.SHRUNK)):
        nodule = nodule_at(1, (150, 150, 150 + away_mm))
        (change,) = compare_nodules(time, TimePoint([nodule], WIDE, candidates=[replace(hilum, id=2)]), registration, 9)
        assert change.change is word
        assert ("candidate 1 of the prior CT" in change.reason) == (word is not Change.NEW)
    assert compare_nodules(time, TimePoint([], WIDE, candidates=[hilum]), registration, 100) == ()


def test_as_many_as_possible_find_a_partner_though_one_could_take_a_nearer_one():
    prior = [nodule_at(1, (50, 0, 0)), nodule_at(2, (50, 0, 9))]
    current = [nodule_at(1, (50, 0, 8)), nodule_at(2, (50, 0, 15))]
    matching = match_over_time(prior, current, shifted_by(0, 0, 0))
    assert [(match.prior.id, match.current.id) for match in matching.matches] == [(1, 1), (2, 2)]


def test_beyond_the_gate_or_in_the_other_lung_there_is_no_partner():
    prior = [nodule_at(1, (50, 0, 0)), nodule_at(2, (4, 40, 0), side="right")]
    current = [nodule_at(1, (50, 0, 12)), nodule_at(2, (-2, 40, 0), side="left")]
    matching = match_over_time(prior, current, shifted_by(0, 0, 0))
    assert matching.matches == ()
    assert [nodule.id for nodule in matching.only_prior] == [nodule.id for nodule in matching.only_current] == [1, 2]
    by_masks = match_over_time(prior, current, shifted_by(0, 0, 0, "masks"))
    assert [(match.prior.id, match.current.id) for match in by_masks.matches] == [(1, 1)]


def test_of_two_neighbours_at_equal_distance_the_one_of_like_size_is_taken():
    prior = [nodule_at(1, (50, 0, 0), 400.0)]
    current = [nodule_at(1, (50, 0, 4), 4000.0), nodule_at(2, (50, 0, -4), 420.0)]
    (match,) = match_over_time(prior, current, shifted_by(0, 0, 0)).matches
    assert match.current.id == 2


def test_no_nodules_on_one_side_are_no_matches():
    nodules = [nodule_at(1, (50, 0, 0))]
    assert match_over_time([], nodules, shifted_by(0, 0, 0)).only_current == tuple(nodules)
    assert match_over_time(nodules, [], shifted_by(0, 0, 0)).only_prior == tuple(nodules)


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
    lost, outside = nodule_at(1, (150, 150, 150), **far), nodule_at(2, (150, 150, 305), **far)
    part, whole = nodule_at(3, (200, 150, 150), 300.0, **far), nodule_at(1, (206, 150, 150), 3000.0, **far)
    twin = nodule_at(4, (212, 150, 150), 2900.0, **far)
    changes = compare_nodules(
        TimePoint((lost, outside, part, twin), WIDE), TimePoint((whole,), WIDE), shifted_by(0, 0, 0), None
    )
    said = {(change.prior.id, change.change): change.reason for change in changes}
    assert said[1, Change.GONE] == ""
    assert "does not show its place" in said[2, Change.NOT_COVERED]
    assert "nodule 1 of the current CT" in said[3, Change.NOT_MEASURABLE]
    assert (4, Change.STABLE) in said
    assert [change.id for change in changes] == [1, 2, 3, 4]


@pytest.mark.parametrize("is_prior", [True, False])
@pytest.mark.parametrize(
    ("z_mm", "change", "words"),
    [
        (150, None, ""),
        (284, None, ""),
        (293, Change.NOT_COVERED, "cut off by the field of view of the"),
        (305, Change.NOT_COVERED, "not covered: the"),
    ],
)
def test_beyond_and_at_the_edge_of_the_other_ct_nothing_is_new_or_gone(z_mm, change, words, is_prior):
    """The other CT ends at 301.5 mm; the nodule has a radius of 4.9 mm, and registration an error of 4 mm."""
    lone, tall = nodule_at(1, (150, 150, z_mm)), Grid((101, 101, 201), WIDE.affine)
    times = [TimePoint((lone,), tall), TimePoint((), WIDE)]
    (found,) = compare_nodules(*(times if is_prior else times[::-1]), shifted_by(0, 0, 0), 90)
    assert found.change is (change or (Change.GONE if is_prior else Change.NEW))
    assert found.reason.startswith(words)
    assert (f"the {'current' if is_prior else 'prior'} CT" in found.reason) == bool(words)


def test_where_the_registration_does_not_fit_nothing_is_paired_and_nothing_is_called_anything():
    nodules = (nodule_at(1, (150, 150, 150)),), (nodule_at(1, (150, 150, 150), 5000.0), nodule_at(2, (60, 60, 60)))
    unlike = RegistrationFit(0.98, (1.0, 1.0), 4000.0, 0.3)
    changes = compare_nodules(*(TimePoint(n, WIDE) for n in nodules), shifted_by(0, 0, 0, fit=unlike), 90)
    assert [change.change for change in changes] == [Change.NOT_DETERMINED] * 3
    assert [(c.prior is None, c.current is None) for c in changes].count((False, False)) == 0
    assert all(None in (c.place_prior_ras_mm, c.place_current_ras_mm) for c in changes)
    assert {(c.volume_change, c.doubling_time_days) for c in changes} == {(Estimate(None), Estimate(None))}


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (RegistrationFit(0.97, (1, 1), 4000, 0.85), ""),
        (RegistrationFit(0.97, (1, 1), 4000, None), ""),
        (RegistrationFit(0.85, (1, 1), 4000, 0.85), ""),  # the vessels match: a mask left out what is diseased
        (RegistrationFit(0.85, (1, 1), 4000, None), "overlap by 0.85"),
        (RegistrationFit(0.70, (1, 1), 4000, 0.85), "overlap by 0.70"),
        (RegistrationFit(0.97, (1, 1), 4000, 0.45), "vessels in the lungs do not match"),
        (RegistrationFit(0.97, (0.01, 0.01), 20, 0.85), "20 ml of lung in common"),
    ],
)
def test_a_misfit_is_said_in_words(fit, words):
    assert words in fit.misfit
    assert fit.is_good == (not words)


def test_a_new_nodule_of_5_mm_is_category_3_where_a_first_screening_says_2():
    small = changed(nodule_at(1, (150, 150, 150), 65.0, centroid_voxel=(50.0, 50.0, 50.0)), long_axis_mm=5.0)
    small = classed(changed(small, perpendicular_mm=5.0, kind="solid"))
    assert (small.size_classes.lung_rads_by_diameter, small.size_classes.lung_rads_by_volume) == ("2", "2")
    (change,) = compare_nodules(TimePoint((), WIDE), TimePoint((small,), WIDE), shifted_by(0, 0, 0), None)
    assert (change.current.size_classes.lung_rads_by_diameter, change.current.size_classes.lung_rads_by_volume) == (
        "3",
        "3",
    )


def test_a_nodule_of_which_the_border_leaves_a_part_far_from_its_middle_is_no_pair_and_neither_new_nor_gone():
    whole = nodule_at(1, (150, 150, 150), 5000.0)
    cut = nodule_at(1, (150, 150, 1), 900.0)
    changes = compare_nodules(TimePoint((whole,), WIDE), TimePoint((cut,), WIDE), shifted_by(0, 0, -145), 90)
    assert [change.change for change in changes] == [Change.NOT_COVERED] * 2
    assert {change.reason.split(", ")[0] for change in changes} == {"cut off by the field of view of the current CT"}


def ct_with_ball(middle: tuple[int, int, int] | None, hu: float = 30.0) -> DensityAt:
    """Lung of -850 HU, 60 x 60 x 60 voxels of 1 mm, with one nodule of 8 mm (id 1) or none, and its map."""
    image, nodules = np.full((60, 60, 60), -850, np.int16), np.zeros((60, 60, 60), np.uint16)
    if middle is not None:
        inside = ((np.indices(image.shape) - np.reshape(middle, (3, 1, 1, 1))) ** 2).sum(axis=0) <= 16
        image[inside], nodules[inside] = hu, 1
    return DensityAt(Volume(image, np.eye(4)), Volume(nodules, np.eye(4)))


@pytest.mark.parametrize(
    ("there", "hu", "is_seen"),
    [
        ((30, 30, 33), 30, True),  # the same, as the registration has it
        ((31, 30, 33), 30, True),  # registered to within 1 mm
        (None, 30, False),  # lung alone
        ((30, 30, 33), -650, False),  # ground glass where a solid one was
        ((20, 30, 33), 30, False),  # beside it
    ],
)
def test_a_nodule_is_seen_where_the_other_ct_has_its_contrast(there, hu, is_seen):
    here, other = ct_with_ball((30, 30, 30)), ct_with_ball(there, hu)
    assert here.is_seen_in(1, other.ct, lambda places: places + np.array([0, 0, 3])) is is_seen
    assert here.is_seen_in(1, other.ct, lambda places: places + np.array([0, 0, 40])) is False  # not covered there
    assert here.is_seen_in(2, other.ct, lambda places: places) is False  # no such nodule


@pytest.mark.parametrize("is_prior", [True, False])
@pytest.mark.parametrize(("there", "is_there"), [((30, 30, 30), True), (None, False)])
def test_found_in_one_ct_and_seen_in_both_is_neither_new_nor_gone(is_prior, there, is_there):
    here, other = ct_with_ball((30, 30, 30)), ct_with_ball(there)
    times = [TimePoint((nodule_at(1, (30, 30, 30)),), here.ct.grid, None, here)]
    times.append(TimePoint((), other.ct.grid, None, other))
    (found,) = compare_nodules(*(times if is_prior else times[::-1]), shifted_by(0, 0, 0), 90)
    alone = Change.GONE if is_prior else Change.NEW
    assert found.change is (Change.NOT_DETERMINED if is_there else alone)
    assert ("is as dense there" in found.reason) is is_there


@pytest.mark.parametrize("is_prior", [True, False])
def test_where_only_named_places_were_outlined_the_other_nodules_are_neither_new_nor_gone(is_prior):
    found, named = nodule_at(1, (150, 150, 150)), nodule_at(1, (90, 90, 90))
    times = [TimePoint((found, nodule_at(2, (90, 90, 90))), WIDE), TimePoint((named,), WIDE, was_searched=False)]
    changes = compare_nodules(*(times if is_prior else times[::-1]), shifted_by(0, 0, 0), 90)
    assert [change.change for change in changes] == [Change.NOT_DETERMINED, Change.STABLE]
    assert f"in the {'current' if is_prior else 'prior'} CT only named places were outlined" in changes[0].reason


def test_a_nodule_that_the_border_cuts_is_not_measured():
    whole = nodule_at(1, (150, 150, 150))
    cut = nodule_at(1, (150, 150, 1), 300.0)
    (change,) = compare_nodules(TimePoint((whole,), WIDE), TimePoint((cut,), WIDE), shifted_by(0, 0, -149), 90)
    assert change.change is Change.NOT_MEASURABLE
    assert change.reason == "cut off by the field of view of the current CT"
    assert change.volume_change == change.doubling_time_days == Estimate(None)


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
