"""The operating points of a bundle: read, refused when damaged, not used for other weights or another rule."""

import json
import shutil

import pytest

from lungseg3d.core import BundleError, UsageError
from lungseg3d.inference import check_point_name, read_calibration, read_points, rule_sha256, rule_sha256_of
from lungseg3d.inference.listing.operating_points import POINTS
from lungseg3d.io import joined_sha256, sha256_of, shipped_bundle

SHIPPED = shipped_bundle("lung_nodule_ct_segmentation")
CONTENT = json.loads((SHIPPED / POINTS).read_text(encoding="utf-8"))
WEIGHTS, RULE = CONTENT["weights_sha256"], CONTENT["rule_sha256"]


@pytest.fixture
def bundle(tmp_path):
    """`bundle(**changes)` -> a folder with the shipped points, some keys of the file changed."""

    def make(**changes):
        (tmp_path / "configs").mkdir(exist_ok=True)
        (tmp_path / POINTS).write_text(json.dumps({**CONTENT, **changes}), encoding="utf-8")
        return tmp_path

    return make


def test_the_shipped_points_hold_for_the_shipped_weights_and_configuration():
    weights = joined_sha256(*(sha256_of(SHIPPED / "models" / name) for name in ("model.pt", "judge.pt")))
    points, issues = read_points(SHIPPED, weights, rule_sha256_of(SHIPPED))
    assert (issues, set(points.points)) == ([], {"default", "sensitive"})
    assert read_calibration(SHIPPED, weights, rule_sha256_of(SHIPPED))[0] is not None
    default, sensitive = points.find("default"), points.find("sensitive")
    assert default.false_findings_a_scan["low"] < 1 < default.false_findings_a_scan["high"]
    assert sensitive.false_findings_a_scan["value"] <= 4
    assert default.sensitivity["value"] < sensitive.sensitivity["value"]
    assert {"solid", "part-solid", "ground-glass", "large-ground-glass"} == set(default.least_confidence)


def test_a_rate_names_the_point_that_was_picked_for_it(bundle):
    points, _ = read_points(bundle(), WEIGHTS, RULE)
    assert points.find("fp=1").least_confidence == points.find("default").least_confidence
    assert points.find("fp=1.1").least_confidence == points.find("default").least_confidence
    assert points.find("fp=2").sensitivity["value"] > points.find("fp=1").sensitivity["value"]
    assert points.find("fp=99").least_confidence == points.find("sensitive").least_confidence
    with pytest.raises(UsageError, match=r"E_BAD_OPTION: fp=0\.1: the curve .* begins at 0\.125"):
        points.find("fp=0.1")


@pytest.mark.parametrize("name", ["", "best", "fp", "fp=", "fp=-1", "fp=0", "fp=nan", "fp=1e3", "Default"])
def test_another_name_is_refused(name):
    with pytest.raises(UsageError, match="E_BAD_OPTION"):
        check_point_name(name)


@pytest.mark.parametrize(("weights", "rule", "word"), [("ab" * 32, RULE, "weights"), (WEIGHTS, "cd" * 32, "settings")])
def test_points_of_other_weights_or_settings_do_not_hold_and_it_is_said(bundle, weights, rule, word):
    points, (issue,) = read_points(bundle(), weights, rule)
    assert (points, issue.code) == (None, "W_OTHER_OPERATING_POINT")
    assert f"other {word}" in issue.message
    assert "everything that was found is listed" in issue.message


def test_a_bundle_without_points_says_so(tmp_path):
    points, (issue,) = read_points(tmp_path, WEIGHTS, RULE)
    assert (points, issue.code) == (None, "W_NO_OPERATING_POINT")


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 9},
        {"points": {}},
        {"points": {"default": {"least_confidence": {"solid": 1.5}}}},
        {"curve": {}},
        {"curve": {**CONTENT["curve"], "sensitivity": [0.5]}},
        {"population": None},
    ],
)
def test_a_damaged_file_is_refused(bundle, changes):
    with pytest.raises(BundleError, match="E_OPERATING_POINTS"):
        read_points(bundle(**changes), WEIGHTS, RULE)


def test_the_sum_of_a_rule_changes_with_a_threshold_and_not_with_a_description_or_a_batch_size(tmp_path):
    config = json.loads((SHIPPED / "configs" / "inference.json").read_text(encoding="utf-8"))
    same = json.loads(json.dumps(config))
    same["inferer"] |= {"batch_size": 7, "_desc_": "another text"}
    assert rule_sha256(same) == rule_sha256(config) == RULE
    for key, value in (("peak", 0.9), ("least_judgement", 0.7), ("spacing_mm", 1.5)):
        assert rule_sha256({**config, key: value}) != RULE
    shutil.copytree(SHIPPED / "configs", tmp_path / "configs")
    assert rule_sha256_of(tmp_path) == RULE
    assert rule_sha256_of(tmp_path / "configs") == ""
