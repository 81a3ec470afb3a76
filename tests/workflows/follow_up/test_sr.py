"""`follow-up --sr`: both time points, tracking UIDs of both SEGs, changes and doubling times with units."""

from __future__ import annotations

import shutil
import subprocess

import pydicom
import pytest

from lungseg3d.core import Change, IntakeError
from lungseg3d.io import SeriesSpec, write_dicom_series
from lungseg3d.workflows.export import export
from lungseg3d.workflows.follow_up.run import SR_FILE, FollowUpOptions, follow_up
from tests.support.follow_up_cases import chest_with, write_result
from tests.support.schema_cases import as_schema_2
from tests.support.seg_reading import read_measurements

PLACES = {"grown": (70, 20, 30), "stable": (60, -20, -30), "gone": (-55, 30, 0), "new": (-65, -30, -20)}
BALLS = {
    "prior": [(PLACES["grown"], 18.0), (PLACES["stable"], 20.0), (PLACES["gone"], 20.0)],
    "current": [(PLACES["grown"], 26.0), (PLACES["stable"], 20.0), (PLACES["new"], 20.0)],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Results of two DICOM series, with their SEG."""
    root = tmp_path_factory.mktemp("series")
    made = {}
    for time, balls in BALLS.items():
        ct, labels, nodules = chest_with(balls)
        write_dicom_series(root / f"{time}-ct", ct, spec=SeriesSpec(seed=time))
        made[time] = write_result(root / time, ct, labels, nodules)
        export(made[time], root / f"{time}-ct", "seg")
    return made["prior"], made["current"]


@pytest.fixture(scope="module")
def done(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("follow-up")
    return out / SR_FILE, follow_up(*folders, out, FollowUpOptions(180, sr=True))


def test_every_nodule_has_a_group_at_each_time_under_the_uid_of_its_segment(done, folders):
    path, result = done
    groups = read_measurements(path)
    segments = {}
    for time, folder in zip(("prior", "current"), folders, strict=True):
        seg = pydicom.dcmread(folder / "segmentation.dcm")
        segments |= {str(s.TrackingUID): (time, str(seg.SOPInstanceUID), s) for s in seg.SegmentSequence}
    assert len(groups) == 6
    assert sum(len([n for n in (c.prior, c.current) if n]) for c in result.changes) == 6
    for uid, group in groups.items():
        time, seg_uid, segment = segments[uid]
        assert (group["seg"], group["segment"]) == (seg_uid, int(segment.SegmentNumber))
        assert group["id"] == str(segment.TrackingID)
        assert group["time"] == (time, 1.0 if time == "prior" else 2.0)


def test_the_change_stands_with_the_current_nodule_in_percent_and_days(done):
    path, result = done
    groups = read_measurements(path)
    for change in result.changes:
        nodule = change.current or change.prior
        time = "current" if change.current else "prior"
        own = [g for g in groups.values() if g["id"] == f"Nodule {nodule.id}" and g["time"][0] == time]
        assert own[0]["words"]["change"] == change.change.value
        assert own[0]["118565006", ""] == (pytest.approx(nodule.volume_mm3, abs=0.01), "UCUM:mm3")
        if change.prior and change.current:
            estimate = change.volume_change
            assert own[0]["volume-change", ""] == (pytest.approx(100 * estimate.value, abs=0.06), "UCUM:%")
            assert own[0]["volume-change", "371886008"] == pytest.approx(
                100 * (estimate.high - estimate.value), abs=0.06
            )
            assert own[0]["days-since-prior", ""] == (180.0, "UCUM:d")
    (grown,) = (c for c in result.changes if c.change is Change.GROWN)
    told = [g["doubling-time", ""] for g in groups.values() if ("doubling-time", "") in g]
    assert told == [(round(grown.doubling_time_days.value), "UCUM:d")]


def test_it_belongs_to_the_current_study_says_what_it_is_for_and_is_the_same_twice(done, folders, tmp_path):
    path, _ = done
    sr, seg = pydicom.dcmread(path), pydicom.dcmread(folders[1] / "segmentation.dcm")
    assert (sr.StudyInstanceUID, sr.PatientID) == (seg.StudyInstanceUID, seg.PatientID)
    assert "Research use only" in sr.SeriesDescription
    assert any("Research use only" in str(item.get("TextValue", "")) for item in sr.ContentSequence)
    follow_up(*folders, tmp_path, FollowUpOptions(180, sr=True))
    assert (tmp_path / SR_FILE).read_bytes() == path.read_bytes()


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (Debian's dicom3tools) is not installed")
def test_dciodvfy_finds_no_error(done):
    said = subprocess.run(["dciodvfy", "-new", done[0]], capture_output=True, text=True, check=False)
    assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []


def test_without_a_seg_it_is_refused_with_the_way_out_and_without_sr_it_is_not(folders, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(folders[0], bare, ignore=shutil.ignore_patterns("*.dcm"))
    with pytest.raises(IntakeError, match=r"no segmentation\.dcm") as caught:
        follow_up(bare, folders[1], tmp_path / "out", FollowUpOptions(sr=True))
    assert "lungseg3d export" in caught.value.remedy
    follow_up(bare, folders[1], tmp_path / "out")
    assert not (tmp_path / "out" / SR_FILE).exists()


def test_objects_hold_listed_nodules_alone_and_a_candidate_is_named_by_its_partner(folders, tmp_path):
    """Grown in the candidates of the prior CT, stable in those of the current one."""
    made = {}
    for folder, candidates in zip(folders, ({1: "below-point"}, {2: "below-point"}), strict=True):
        made[folder.name] = copy = tmp_path / folder.name
        shutil.copytree(folder, copy)
        as_schema_2(copy, candidates)
        export(copy, folder.parent / f"{folder.name}-ct", "seg", overwrite=True)
        ids = {str(s.TrackingID) for s in pydicom.dcmread(copy / "segmentation.dcm").SegmentSequence}
        assert {name for name in ids if name.startswith("Nodule")} == {"Nodule 1", "Nodule 2"}
    result = follow_up(made["prior"], made["current"], tmp_path / "out", FollowUpOptions(180, sr=True))
    groups = read_measurements(tmp_path / "out" / SR_FILE)
    told = sorted((group["words"].get("change"), group["time"][0]) for group in groups.values())
    assert told == [("gone", "prior"), ("grown", "current"), ("new", "current"), ("stable", "prior")]
    for change in (c for c in result.changes if c.prior and c.current):
        (own,) = [group for group in groups.values() if group["words"]["change"] == change.change.value]
        assert own["volume-change", ""] == (pytest.approx(100 * change.volume_change.value, abs=0.06), "UCUM:%")
        assert "candidate 3 of the " in change.reason
