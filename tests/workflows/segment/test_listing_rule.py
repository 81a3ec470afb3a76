"""What `segment` lists: the bundle's point, what was asked for in its place, and what cannot be asked for."""

import json
from dataclasses import replace

import pytest

from lungseg3d.core import BundleError, UsageError
from lungseg3d.inference import open_bundle, shipped_bundle
from lungseg3d.io import read_labels, write_volume
from lungseg3d.workflows.listing.settings import Settings
from lungseg3d.workflows.segment.cases import segment_cases
from lungseg3d.workflows.segment.listing_rule import ListingRule, check_listing_options
from lungseg3d.workflows.segment.options import SegmentOptions


@pytest.fixture(scope="module")
def shipped():
    return open_bundle(shipped_bundle("lung_nodule_ct_segmentation"), skip=1, roi="full")


@pytest.fixture(scope="module")
def bare(bundles):
    """A nodule bundle without calibration and points."""
    return open_bundle(bundles.nodules, skip=1, roi="full", lung_bundle_root=str(bundles.lungs))


def test_the_default_is_the_bundles_own_point(shipped):
    rule = ListingRule.of(shipped, SegmentOptions())
    assert (rule.record["name"], rule.issues) == ("default", ())
    assert rule.record["sensitivity"]["low"] < rule.record["sensitivity"]["value"]
    assert rule.least == rule.record["least_confidence"]
    assert rule.least["ground-glass"] < rule.least["solid"]
    named = ListingRule.of(shipped, SegmentOptions(operating_point="fp=2"))
    assert (named.record["name"], named.least["solid"] < rule.least["solid"]) == ("fp=2", True)


def test_a_least_confidence_takes_the_place_of_the_point(shipped):
    rule = ListingRule.of(shipped, SegmentOptions(min_confidence=0.4))
    assert (rule.record["name"], set(rule.least.values())) == ("min-confidence", {0.4})
    by_file = ListingRule.of(shipped, SegmentOptions(settings=Settings(least_calibrated_confidence=0.3)))
    assert (by_file.record["name"], set(by_file.least.values())) == ("settings", {0.3})
    raw = ListingRule.of(shipped, SegmentOptions(settings=Settings(least_confidence=0.9)))
    assert (raw.record["least_raw_confidence"], raw.least_raw, raw.least) == (0.9, 0.9, {})


def test_settings_changed_by_hand_void_calibration_and_points():
    changed = open_bundle(shipped_bundle("lung_nodule_ct_segmentation"), skip=1, roi="full", least_judgement=0.5)
    rule = ListingRule.of(changed, SegmentOptions())
    assert (rule.fitted, rule.least, rule.record["name"]) == (None, {}, "none")
    assert {issue.code for issue in rule.issues} == {"W_OTHER_CALIBRATION", "W_OTHER_OPERATING_POINT"}


def test_a_bundle_without_points_lists_everything_and_refuses_what_it_cannot_do(bare):
    rule = ListingRule.of(bare, SegmentOptions())
    assert ([issue.code for issue in rule.issues], rule.record["name"]) == (["W_NO_OPERATING_POINT"], "none")
    assert ListingRule.of(bare, SegmentOptions(min_confidence=0.0)).issues == ()
    for asked in (SegmentOptions(operating_point="sensitive"), SegmentOptions(min_confidence=0.5)):
        with pytest.raises(BundleError, match="E_NO_OPERATING_POINT"):
            ListingRule.of(bare, asked)


@pytest.mark.parametrize(
    "options",
    [
        SegmentOptions(operating_point="best"),
        SegmentOptions(min_confidence=1.2),
        SegmentOptions(operating_point="fp=2", min_confidence=0.2),
        SegmentOptions(min_confidence=0.2, settings=Settings(least_confidence=0.2)),
    ],
)
def test_cuts_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError, match="E_BAD_OPTION"):
        check_listing_options(options)


def test_what_is_below_the_cut_is_written_as_a_candidate_and_not_lost(chest, bundles, tmp_path):
    write_volume(tmp_path / "ct.nii.gz", chest.ct)
    options = SegmentOptions(
        device="cpu", precision="fp32", backend="torch", lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules
    )
    (whole,) = segment_cases(tmp_path / "ct.nii.gz", tmp_path / "whole", options)
    assert (len(whole.nodules), whole.candidates) == (1, ())
    strict = replace(options, settings=Settings(least_confidence=0.9999999))
    (cut,) = segment_cases(tmp_path / "ct.nii.gz", tmp_path / "cut", strict)
    assert (cut.nodules, [c.reason for c in cut.candidates]) == ((), ["below-point"])
    assert replace(cut.candidates[0], reason="") == whole.nodules[0]
    folder = tmp_path / "cut" / cut.case_id
    apart, listed = (read_labels(folder / f"{name}.nii.gz").array for name in ("candidates", "nodules"))
    assert (apart == read_labels(tmp_path / "whole" / whole.case_id / "nodules.nii.gz").array).all()
    assert not listed.any()
    assert not (read_labels(folder / "labels.nii.gz").array == 3).any()
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert (record["schema_version"], len(record["nodules"]), len(record["candidates"])) == (2, 0, 1)
