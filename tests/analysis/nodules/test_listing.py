"""Findings listed or kept as candidates: order, numbers, thresholds by kind, objections; nothing is lost."""

import numpy as np
import pytest

from lungseg3d.analysis import BELOW_POINT, LARGE_GLASS, NoduleMap, list_findings, listing_kind
from lungseg3d.core import CANDIDATE_REASONS, Volume

SIDES = {1: 3, 2: 4, 3: 5, 4: 3}


@pytest.fixture
def scene():
    """Four cubes of rising x, sides as in `SIDES`; the third is ground glass."""
    labels, hu = np.zeros((40, 10, 10), np.uint16), np.full((40, 10, 10), -800, np.int16)
    for value, side in SIDES.items():
        place = (slice(10 * (value - 1), 10 * (value - 1) + side), slice(0, side), slice(0, side))
        labels[place], hu[place] = value, -600 if value == 3 else 30
    return Volume(hu, np.eye(4)), labels


def found(labels, *confidence):
    return NoduleMap(Volume(labels.copy(order="K"), np.eye(4)), confidence)


def test_findings_are_numbered_by_confidence_and_among_equals_by_size(scene):
    ct, labels = scene
    listing = list_findings(ct, found(labels, 0.5, 0.9, 0.5, 0.7))
    assert listing.order == (2, 4, 3, 1)
    assert listing.nodules.confidence == (0.9, 0.7, 0.5, 0.5)
    assert [int((listing.nodules.labels.array == n).sum()) for n in (1, 2, 3, 4)] == [64, 27, 125, 27]
    assert listing.reasons == ()
    assert not listing.candidates.labels.array.any()


def test_each_kind_has_a_threshold_of_its_own_and_what_lies_below_keeps_its_mask(scene):
    ct, labels = scene
    least = {"solid": 0.6, "part-solid": 0.6, "ground-glass": 0.4}
    listing = list_findings(ct, found(labels, 0.59, 0.9, 0.4, 0.6), least=least)
    assert listing.order == (2, 4, 3, 1)  # 2, 4 and the ground glass are listed, 1 is not
    assert listing.nodules.confidence == (0.9, 0.6, 0.4)
    assert listing.reason_of == {4: BELOW_POINT}
    merged = listing.finding_map().array
    assert np.array_equal(merged > 0, labels > 0)
    assert np.array_equal(listing.candidates.labels.array == 4, labels == 1)
    assert not (listing.nodules.labels.array[labels == 1]).any()
    for number, former in enumerate(listing.order, start=1):
        assert np.array_equal(merged == number, labels == former)


def test_an_objection_makes_a_candidate_however_sure_it_is(scene):
    ct, labels = scene
    objections = ("", "outside-lungs", "", "")
    listing = list_findings(ct, found(labels, 0.5, 0.9, 0.6, 0.7), least={"solid": 0.6}, objections=objections)
    assert listing.order == (4, 3, 2, 1)
    assert listing.reasons == ("outside-lungs", BELOW_POINT)
    assert set(listing.reasons) <= set(CANDIDATE_REASONS)


@pytest.mark.parametrize(("sure", "reasons"), [(0.49, ("hilar-vessel",)), (0.5, ())])
def test_a_vessel_beside_it_speaks_against_a_finding_only_where_the_networks_doubt(scene, sure, reasons):
    ct, labels = scene
    listing = list_findings(ct, found(labels, 0.9, 0.9, 0.9, sure), objections=("", "", "", "hilar-vessel"))
    assert listing.reasons == reasons


def test_the_calibrated_confidence_decides_and_the_raw_one_is_kept(scene):
    ct, labels = scene
    listing = list_findings(ct, found(labels, 0.1, 0.2, 0.3, 0.4), sure=[0.9, 0.8, 0.7, 0.2], least={"solid": 0.5})
    assert listing.order == (1, 2, 3, 4)
    assert listing.confidence == (0.1, 0.2, 0.3, 0.4)
    assert listing.reason_of == {4: BELOW_POINT}


def test_large_ground_glass_is_a_kind_of_its_own_for_thresholds():
    sphere_of_10_mm3 = np.pi / 6 * 1000
    assert listing_kind("ground-glass", sphere_of_10_mm3 * 1.001) == LARGE_GLASS
    assert listing_kind("ground-glass", sphere_of_10_mm3 * 0.999) == "ground-glass"
    assert listing_kind("solid", 1e5) == "solid"


def test_nothing_found_gives_an_empty_list(scene):
    ct, labels = scene
    listing = list_findings(ct, found(np.zeros_like(labels)))
    assert (listing.order, listing.nodules.confidence, listing.candidates.confidence) == ((), (), ())
