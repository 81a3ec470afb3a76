"""`calibrate` and the settings of an operating point: from tables of evaluations to what `segment` says and keeps."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from lungseg3d.analysis import NoduleMap
from lungseg3d.cli.program import app
from lungseg3d.core import BundleError, UsageError, Volume
from lungseg3d.inference.listing.calibration_file import CALIBRATION, calibration_text, read_calibration
from lungseg3d.io import read_labels, sha256_of, write_volume
from lungseg3d.metrics import ConfidenceMap
from lungseg3d.workflows.calibrate import calibrate
from lungseg3d.workflows.listing.settings import Settings
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases

HALF = ConfidenceMap((0.0, 1.0), (0.0, 0.5))


def write_evaluation(folder: Path, rows: list[tuple[str, str, float]], manifest: str = "made") -> Path:
    """What `evaluate` leaves: (case, outcome, confidence) of each nodule; the case is the patient."""
    folder.mkdir(parents=True)
    with (folder / "nodules.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case_id", "patient", "outcome", "confidence"])
        writer.writerows([case, case, outcome, "" if outcome == "missed" else sure] for case, outcome, sure in rows)
    (folder / "summary.json").write_text(json.dumps({"manifest": manifest}), encoding="utf-8")
    return folder


def findings(fold: int, n: int = 150) -> list[tuple[str, str, float]]:
    """Findings that are true half as often as they say; and one that was missed."""
    random = np.random.default_rng(fold)
    sure = random.uniform(0.5, 1, n)
    rows = [(f"case-{fold}-{i}", "found" if random.uniform() < s / 2 else "false", s) for i, s in enumerate(sure)]
    return [*rows, (f"case-{fold}-0", "missed", 0.0)]


@pytest.fixture
def bundle(bundles, tmp_path) -> Path:
    return Path(shutil.copytree(bundles.nodules, tmp_path / "bundle"))


def test_overconfident_folds_become_a_calibration_of_the_bundle(bundle, tmp_path):
    folds = [write_evaluation(tmp_path / f"fold-{i}", findings(i)) for i in range(3)]
    shown = CliRunner().invoke(app, ["calibrate", *map(str, folds), "--bundle", str(bundle)])
    assert shown.exit_code == 0, shown.output
    assert "450 findings" in shown.stdout
    content = json.loads((bundle / CALIBRATION).read_text(encoding="utf-8"))
    assert content["calibration_error"]["before"]["ece"] > 0.3
    after = content["calibration_error"]["held_out"]
    assert after["ece"] < 0.1
    assert after["low"] <= after["ece"] <= after["high"]
    assert content["fitted_on"]["patients"] == 450
    weights = sha256_of(bundle / "models" / "model.pt")
    fitted, issues = read_calibration(bundle, weights)
    assert issues == []
    assert fitted([0.6, 0.9]) == pytest.approx([0.3, 0.45], abs=0.08)


def test_one_evaluation_is_cut_into_folds_by_patient_and_twice_gives_the_same_bytes(bundle, tmp_path):
    folder = write_evaluation(tmp_path / "all", findings(0))
    calibrate([folder], bundle, "isotonic")
    first = (bundle / CALIBRATION).read_bytes()
    calibrate([folder], bundle, "isotonic")
    assert (bundle / CALIBRATION).read_bytes() == first


def test_what_cannot_be_calibrated_is_refused_and_leaves_the_bundle_alone(bundle, tmp_path):
    few = write_evaluation(tmp_path / "few", findings(0, 6))
    again = write_evaluation(tmp_path / "again", findings(0))
    for evaluations, found in (
        ([few], "of each are needed"),
        ([again, again], "is in again and in again"),
        ([tmp_path], "no evaluation of nodules"),
    ):
        if evaluations == [again, again]:
            evaluations = [again, Path(shutil.copytree(again, tmp_path / "copy" / "again"))]
        with pytest.raises(UsageError, match=rf"(?s)E_CALIBRATION.*{found}"):
            calibrate(evaluations, bundle)
    assert not (bundle / CALIBRATION).exists()


def test_a_calibration_of_other_weights_is_not_used_and_said_so(bundle):
    (bundle / CALIBRATION).write_text(calibration_text(HALF, weights_sha256="ab" * 32), encoding="utf-8")
    fitted, (issue,) = read_calibration(bundle, "cd" * 32)
    assert fitted is None
    assert issue.code == "W_OTHER_CALIBRATION"
    (bundle / CALIBRATION).write_text('{"confidence": [1, 0], "probability": [0, 1], "weights_sha256": ""}')
    with pytest.raises(BundleError, match="E_CALIBRATION"):
        read_calibration(bundle, "")


def test_nodules_below_the_cut_go_and_the_others_are_counted_anew():
    labels = Volume(np.array([[[0, 1, 2, 3, 3]]], np.uint16), np.eye(4))
    kept = NoduleMap(labels, (0.9, 0.5, 0.8)).of_confidence(0.8)
    assert kept.labels.array.tolist() == [[[0, 1, 0, 2, 2]]]
    assert kept.confidence == (0.9, 0.8)
    assert NoduleMap(labels, (0.9, 0.5, 0.8)).of_confidence(0.99).labels.array.max() == 0


@pytest.fixture(scope="module")
def options(bundles) -> SegmentOptions:
    return SegmentOptions(device="cpu", precision="fp32", lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)


def test_segment_cuts_calibrates_maps_doubt_and_explains(chest, options, bundle, tmp_path):
    write_volume(tmp_path / "chest.nii.gz", chest.ct)
    weights = sha256_of(bundle / "models" / "model.pt")
    (bundle / CALIBRATION).write_text(calibration_text(HALF, weights_sha256=weights), encoding="utf-8")
    asked = replace(options, nodule_bundle=bundle, uncertainty=True, explain=True, settings=Settings(0.5, "ab" * 32))
    (result,) = segment_cases([tmp_path / "chest.nii.gz"], tmp_path / "out", asked)
    (nodule,) = result.nodules
    assert nodule.certainty.calibrated_confidence == pytest.approx(nodule.certainty.confidence / 2)
    assert 0 <= nodule.certainty.uncertainty < 0.6
    assert nodule.certainty.view_agreement > 0.95
    assert [issue.code for issue in result.issues] == ["W_OTHER_OPERATING_POINT"]
    assert result.provenance["options"]["least_confidence"] == 0.5
    folder = tmp_path / "out" / result.case_id
    nodules = read_labels(folder / "nodules.nii.gz")
    maps = {name: nibabel.load(folder / f"{name}.nii.gz") for name in ("uncertainty", "explanation")}
    assert all(image.get_data_dtype() == np.uint8 for image in maps.values())
    # The network is in doubt at the nodule's border, and nowhere else; it looks at a voxel's own brightness alone.
    doubt = maps["uncertainty"].get_fdata()
    assert 0.2 < doubt.max() <= 1
    assert np.argwhere(doubt > 0.2).mean(axis=0) == pytest.approx(np.argwhere(nodules.array == 1).mean(axis=0), abs=1)
    heat, parts = maps["explanation"].get_fdata(), chest.labels.array
    away = ndimage.distance_transform_edt(nodules.array == 0, sampling=chest.ct.spacing_mm)
    assert np.median(heat[nodules.array == 1]) > 0.5
    assert np.median(heat[(parts == 1) & (away > 6) & (away < 20)]) < 0.1
    none = replace(asked, uncertainty=False, explain=False, settings=Settings(1.0), overwrite=True)
    (result,) = segment_cases([tmp_path / "chest.nii.gz"], tmp_path / "out", none)
    assert result.nodules == ()
    assert not (folder / "uncertainty.nii.gz").exists()
    labels = read_labels(folder / "labels.nii.gz").array
    assert set(np.unique(labels)) == {0, 1, 2}
    assert np.array_equal(labels > 0, chest.labels.array > 0) or (labels[chest.labels.array == 3] == 1).mean() > 0.5
