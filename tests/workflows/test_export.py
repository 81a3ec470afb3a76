"""`segment --format` and `export`: objects beside the results, the same ones either way; NIfTI needs its series."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import IntakeError, OutputError, UsageError
from lungseg3d.io import read_labels, write_dicom_series, write_volume
from lungseg3d.workflows.dicom_objects import formats_of
from lungseg3d.workflows.export import export
from lungseg3d.workflows.segment import SegmentOptions, segment_cases
from tests.seg_reading import read_masks, read_measurements

SEG, SR = "segmentation.dcm", "measurements.dcm"


@pytest.fixture(scope="module")
def run(chest, bundles, tmp_path_factory):
    """A DICOM series, a NIfTI of it asked for DICOM objects, and the NIfTI alone."""
    folder = tmp_path_factory.mktemp("objects")
    write_dicom_series(folder / "chest-dicom", chest.ct)
    write_volume(folder / "chest-nifti.nii.gz", chest.ct)
    options = SegmentOptions(device="cpu", precision="fp32", lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)
    with_objects = replace(options, formats=("nifti", "seg", "sr"))
    results = segment_cases([folder / "chest-dicom", folder / "chest-nifti.nii.gz"], folder / "out", with_objects)
    results += segment_cases([folder / "chest-nifti.nii.gz"], folder / "plain", options)
    return folder, results


@pytest.fixture
def results(run, tmp_path) -> Path:
    """A copy of the results without objects."""
    folder = tmp_path / "chest-dicom"
    shutil.copytree(run[0] / "out" / "chest-dicom", folder)
    (folder / SEG).unlink()
    (folder / SR).unlink()
    return folder


def test_segment_writes_objects_that_hold_its_masks_and_numbers(run):
    folder, (result, *_) = run
    out = folder / "out" / "chest-dicom"
    assert {SEG, SR, "labels.nii.gz"} <= set(result.files) == {path.name for path in out.iterdir()}
    labels, nodules = read_labels(out / "labels.nii.gz"), read_labels(out / "nodules.nii.gz")
    masks = read_masks(out / SEG, labels.affine, labels.shape)
    groups = read_measurements(out / SR)
    assert set(groups) == set(masks)
    values = {"Right lung": (labels, 1), "Left lung": (labels, 2)}
    for uid, mask in masks.items():
        volume, value = values.get(groups[uid]["id"]) or (nodules, int(groups[uid]["id"].split()[-1]))
        assert np.array_equal(mask, volume.array == value)
    for nodule in result.nodules:
        (group,) = (group for group in groups.values() if group["id"] == f"Nodule {nodule.id}")
        assert group["118565006", ""][0] == pytest.approx(nodule.volume_mm3, abs=0.01)


def test_a_nifti_has_no_series_to_refer_to_and_is_refused_before_the_work(run):
    folder, (_, refused, plain) = run
    assert (refused.status, refused.issues[0].code) == ("refused", "E_NO_DICOM_SOURCE")
    assert "export" in refused.issues[0].remedy
    assert not (folder / "out" / "chest-nifti" / "labels.nii.gz").exists()
    assert plain.status == "done"


def test_export_writes_the_bytes_that_segment_would_have_written(run, results):
    written = export(results, run[0] / "chest-dicom")
    assert [path.name for path in written] == [SEG, SR]
    for path in written:
        assert path.read_bytes() == (run[0] / "out" / "chest-dicom" / path.name).read_bytes()


def test_export_lists_its_files_in_the_record_and_changes_nothing_else(run, results):
    record = json.loads((results / "result.json").read_text(encoding="utf-8"))
    record["files"] = [name for name in record["files"] if name not in (SEG, SR)]
    record["of_a_later_version"] = 1
    (results / "result.json").write_text(json.dumps(record), encoding="utf-8")
    export(results, run[0] / "chest-dicom", "seg")
    after = json.loads((results / "result.json").read_text(encoding="utf-8"))
    assert after == {**record, "files": [*record["files"], SEG]}
    assert not (results / SR).exists()


def test_the_results_of_a_nifti_go_onto_the_series_it_was_made_of(run, tmp_path):
    folder = tmp_path / "result"
    shutil.copytree(run[0] / "plain" / "chest-nifti", folder)
    export(folder, run[0] / "chest-dicom")
    of_dicom = read_measurements(run[0] / "out" / "chest-dicom" / SR)
    assert {g["id"] for g in read_measurements(folder / SR).values()} == {g["id"] for g in of_dicom.values()}


def test_objects_that_are_there_stay_unless_told(run):
    with pytest.raises(OutputError, match="E_OUTPUT_EXISTS"):
        export(run[0] / "out" / "chest-dicom", run[0] / "chest-dicom")
    export(run[0] / "out" / "chest-dicom", run[0] / "chest-dicom", overwrite=True)


def test_export_says_what_is_missing(run, results, tmp_path):
    with pytest.raises(IntakeError, match=r"E_NO_DICOM_SOURCE: [\s\S]*--source"):
        export(results, None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(IntakeError, match=r"E_NOT_A_RESULT: empty: no readable result.json"):
        export(tmp_path / "empty", run[0] / "chest-dicom")
    with pytest.raises(IntakeError, match="E_NOT_A_RESULT: chest-nifti: the case was refused"):
        export(run[0] / "out" / "chest-nifti", run[0] / "chest-dicom")
    (results / "nodules.nii.gz").unlink()
    with pytest.raises(IntakeError, match=r"E_NOT_A_RESULT: .*nodules.nii.gz missing"):
        export(results, run[0] / "chest-dicom")


def test_formats_are_words_in_any_order_and_sr_brings_seg():
    assert formats_of("sr, NIFTI") == ("nifti", "seg", "sr")
    assert formats_of("seg") == ("seg",)
    for wrong in ("", "nifti,dicom"):
        with pytest.raises(UsageError, match=r"E_BAD_OPTION[\s\S]*nifti, seg, sr"):
            formats_of(wrong)


def test_the_command_line_exports_and_refuses_by_exit_code(run, results):
    runner = CliRunner()
    done = runner.invoke(app, ["export", str(results), "--source", str(run[0] / "chest-dicom"), "--format", "seg"])
    assert (done.exit_code, (results / SEG).is_file()) == (0, True)
    assert runner.invoke(app, ["export", str(results)]).exit_code == 3
    assert runner.invoke(app, ["export", str(results), "--format", "pdf"]).exit_code == 2
