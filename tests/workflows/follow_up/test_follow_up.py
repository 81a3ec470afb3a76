"""`follow-up`: two CTs with known nodules give the known changes, in files that agree; what cannot be said is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lungseg3d.core import Change, GeometryError, IntakeError, OutputError, UsageError
from lungseg3d.data.phantom.breathing import Motion
from lungseg3d.io import SeriesSpec, write_dicom_series, write_volume
from lungseg3d.workflows.follow_up.run import FILES, FollowUpOptions, follow_up
from lungseg3d.workflows.segment.options import SegmentOptions
from tests.support.follow_up_cases import chest_with, write_result
from tests.support.schema_cases import as_schema_2
from tests.support.tables import read_table

MOTION = Motion.of(seed=4, diaphragm_mm=8.0)
# Place in the prior CT, and the diameters in the prior and the current one; 0 = not there.
PLANTED = {
    Change.STABLE: ((70, 20, 30), 20.0, 20.0),
    Change.GROWN: ((60, -20, -30), 18.0, 26.0),
    Change.SHRUNK: ((-60, 10, 40), 26.0, 18.0),
    Change.NEW: ((-65, -30, -20), 0.0, 20.0),
    Change.GONE: ((-55, 30, 0), 20.0, 0.0),
}


def moved(place):
    return tuple(MOTION.to_current(np.array(place, float)).tolist())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The results of both CTs, their CTs beside them."""
    root = tmp_path_factory.mktemp("pair")
    prior = chest_with([(place, first) for place, first, _ in PLANTED.values() if first])
    current = chest_with([(moved(place), second) for place, _, second in PLANTED.values() if second], MOTION.to_prior)
    return write_result(root / "prior", *prior), write_result(root / "current", *current, kernel="B70f")


@pytest.fixture(scope="module")
def done(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("follow-up")
    cts = [folder.parent / f"{folder.name}-ct.nii.gz" for folder in folders]
    calls = []
    result = follow_up(*folders, out, FollowUpOptions(180, *cts), lambda *call: calls.append(call))
    return out, result, calls


def test_each_planted_change_is_found_at_its_place(done):
    _, result, _ = done
    assert sorted(change.change for change in result.changes) == sorted(PLANTED)
    for change in result.changes:
        place = PLANTED[change.change][0]
        assert change.place_prior_ras_mm == pytest.approx(place, abs=5.0)
        assert change.place_current_ras_mm == pytest.approx(moved(place), abs=5.0)
    assert result.registration["driven_by"] == "CT"
    assert result.registration["lung_dice"] > 0.95


def test_the_true_change_lies_within_its_interval(done):
    for change in done[1].changes:
        _, first, second = PLANTED[change.change]
        if first and second:
            true = (second / first) ** 3 - 1
            assert change.volume_change.low < true < change.volume_change.high


# Number of the ball in each CT -> why it is not listed there.
BEHIND = {"prior": {1: "below-point", 2: "below-point"}, "current": {1: "below-point", 3: "hilar-vessel"}}


@pytest.fixture(scope="module")
def listed(folders, tmp_path_factory):
    """The same pair: stable among the candidates of both CTs, grown among the prior ones, shrunk among the current."""
    root = tmp_path_factory.mktemp("listed")
    made = []
    for folder in folders:
        copy = Path(shutil.copytree(folder, root / folder.name))
        as_schema_2(copy, BEHIND[folder.name])
        record = json.loads((copy / "result.json").read_text(encoding="utf-8"))
        for row in record["candidates"]:
            row |= {"confidence": 0.7, "calibrated_confidence": 0.12}
        (copy / "result.json").write_text(json.dumps(record), encoding="utf-8")
        made.append(copy)
    return made


def test_a_nodule_is_new_or_gone_only_where_the_other_ct_has_no_candidate(folders, listed, done, tmp_path):
    cts = [folder.parent / f"{folder.name}-ct.nii.gz" for folder in folders]
    result = follow_up(*listed, tmp_path, FollowUpOptions(180, *cts))
    found = {change.change: change for change in result.changes}
    assert len(result.changes) == 4
    assert set(found) == {Change.GROWN, Change.SHRUNK, Change.NEW, Change.GONE}
    grown, shrunk = found[Change.GROWN], found[Change.SHRUNK]
    assert (grown.prior.reason, grown.current.reason) == ("below-point", "")
    assert (shrunk.prior.reason, shrunk.current.reason) == ("", "hilar-vessel")
    text = f"candidate {grown.prior.id} of the prior CT of confidence 0.12, not listed there: less sure than the"
    assert grown.reason.startswith(text)
    # What is measured is the same as where both are listed.
    whole = {change.change: change for change in done[1].changes}
    assert grown.volume_change.value == pytest.approx(whole[Change.GROWN].volume_change.value, rel=0.02)
    assert shrunk.volume_change.value == pytest.approx(whole[Change.SHRUNK].volume_change.value, rel=0.02)
    page = " ".join((tmp_path / "follow_up.html").read_text(encoding="utf-8").split())
    assert f"{grown.prior.id} (candidate), {grown.current.id}" in page
    assert "Behind the lists are 2 candidates of the prior CT and 2 candidates of the current CT" in page
    rows = {row["change"]: row for row in read_table(tmp_path / "follow_up.csv")}
    assert [rows["grown"][f"{when}_candidate_reason"] for when in ("prior", "current")] == ["below-point", ""]
    assert rows["grown"]["prior_calibrated_confidence"] == "0.120"
    record = json.loads((tmp_path / "follow_up.json").read_text(encoding="utf-8"))
    assert len(record["prior"]["candidates"]) == 2


def test_results_of_both_schemas_are_compared_and_two_operating_points_are_said(folders, listed, tmp_path):
    result = follow_up(folders[0], listed[1], tmp_path)
    assert sorted(change.change for change in result.changes) == sorted(PLANTED)
    (issue,) = [issue for issue in result.issues if issue.code == "W_OTHER_LISTS"]
    assert "prior none (everything is listed), current default" in issue.message
    assert "W_OTHER_LISTS" not in [issue.code for issue in follow_up(*listed, tmp_path / "both").issues]


def test_an_operating_point_of_results_is_refused_as_their_lists_are_made(listed, tmp_path):
    with pytest.raises(UsageError, match=r"E_BAD_OPTION: --operating-point sensitive: both inputs are results"):
        follow_up(*listed, tmp_path, FollowUpOptions(segment=SegmentOptions(operating_point="sensitive")))


def test_another_kernel_is_flagged(done):
    assert "W_OTHER_KERNEL" in [issue.code for issue in done[1].issues]


def test_the_three_files_tell_the_same(done):
    out, result, calls = done
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    record = json.loads((out / "follow_up.json").read_text(encoding="utf-8"))
    assert record["schema_version"] == 1
    assert [row["change"] for row in record["changes"]] == [change.change.value for change in result.changes]
    rows = read_table(out / "follow_up.csv")
    assert [row["change"] for row in rows] == [row["change"] for row in record["changes"]]
    grown = next(row for row in rows if row["change"] == "grown")
    assert float(grown["volume_change_percent"]) == pytest.approx(100 * ((26 / 18) ** 3 - 1), rel=0.15)
    assert float(grown["doubling_time_days"]) > 0
    page = (out / "follow_up.html").read_text(encoding="utf-8")
    assert page.count('<article class="card"') == 5
    assert "1 grown" in page
    assert [fraction for name, _, fraction in calls] == sorted(fraction for name, _, fraction in calls)


def test_a_ct_against_itself_is_stable_and_twice_is_the_same(folders, tmp_path):
    for name in ("once", "twice"):
        result = follow_up(folders[0], folders[0], tmp_path / name)
        assert {change.change for change in result.changes} == {Change.STABLE}
        assert len(result.changes) == 4
        assert max(abs(change.volume_change.value) for change in result.changes) == 0
        assert max(change.distance_mm for change in result.changes) < 0.5
    for file in FILES:
        assert (tmp_path / "once" / file).read_bytes() == (tmp_path / "twice" / file).read_bytes()


def test_without_cts_the_masks_lead_and_the_page_says_so(folders, tmp_path):
    result = follow_up(*folders, tmp_path)
    assert result.registration["driven_by"] == "masks"
    assert {"W_MASKS_ALONE", "W_NO_DAYS"} <= {issue.code for issue in result.issues}
    assert sorted(change.change for change in result.changes) == sorted(PLANTED)
    assert "drawn from the masks" in (tmp_path / "follow_up.html").read_text(encoding="utf-8")


def test_a_follow_up_is_not_overwritten_unasked(folders, done):
    with pytest.raises(OutputError, match="E_OUTPUT_EXISTS"):
        follow_up(*folders, done[0])


def test_the_ct_of_another_person_is_refused(folders, tmp_path):
    hu, *_ = chest_with([], shape=(60, 60, 60))
    write_volume(tmp_path / "other.nii.gz", hu)
    with pytest.raises(GeometryError, match="E_GRID_MISMATCH"):
        follow_up(*folders, tmp_path / "out", FollowUpOptions(None, tmp_path / "other.nii.gz"))


def test_a_folder_that_holds_no_finished_case_is_refused(folders, tmp_path):
    (tmp_path / "stopped").mkdir()
    record = {"case_id": "stopped", "status": "refused", "issues": [{"code": "E_NOT_CT", "message": "it is MR."}]}
    (tmp_path / "stopped" / "result.json").write_text(json.dumps(record))
    with pytest.raises(IntakeError, match=r"E_NOT_A_RESULT.*E_NOT_CT"):
        follow_up(tmp_path / "stopped", folders[1], tmp_path / "out")


def test_a_case_without_lungs_cannot_be_compared_and_says_so(folders, tmp_path):
    (tmp_path / "leg").mkdir()
    issue = {"code": "W_NO_LUNG", "message": "0 ml of lung is labelled."}
    (tmp_path / "leg" / "result.json").write_text(
        json.dumps({"case_id": "leg", "status": "no_lungs", "issues": [issue]})
    )
    with pytest.raises(IntakeError, match=r"E_NOT_A_RESULT: leg: no lungs were found \(W_NO_LUNG"):
        follow_up(tmp_path / "leg", folders[1], tmp_path / "out")


def test_a_ct_without_lungs_is_refused_once_it_is_segmented(chest, bundles, tmp_path):
    for name, least_hu in (("leg", 0), ("arm", 10)):
        hu = np.maximum(chest.ct.array, least_hu)
        hu[0] = -1000
        write_volume(tmp_path / f"{name}.nii.gz", chest.ct.with_array(hu))
    segment = SegmentOptions(device="cpu", precision="fp32", lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)
    with pytest.raises(IntakeError, match=r"E_NOT_A_RESULT: leg.nii.gz: 0 ml of lung"):
        follow_up(tmp_path / "leg.nii.gz", tmp_path / "arm.nii.gz", tmp_path / "out", FollowUpOptions(segment=segment))


def test_two_series_are_segmented_dated_and_compared(chest, bundles, tmp_path):
    for name, date in (("first", "20010102"), ("second", "20010401")):
        write_dicom_series(tmp_path / name, chest.ct, spec=SeriesSpec(seed=name, study_date=date))
    segment = SegmentOptions(device="cpu", precision="fp32", lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)
    result = follow_up(tmp_path / "first", tmp_path / "second", tmp_path / "out", FollowUpOptions(segment=segment))
    assert (result.days, result.days_from) == (89, "DICOM")
    assert [change.change for change in result.changes] == [Change.STABLE]
    assert sorted(path.name for path in (tmp_path / "out" / "segmented").iterdir()) == ["first", "second"]
    for file in FILES:
        assert "2001" not in (tmp_path / "out" / file).read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="E_BAD_OPTION"):
        follow_up(tmp_path / "first", tmp_path / "second", tmp_path / "more", FollowUpOptions(1.0, tmp_path / "first"))
