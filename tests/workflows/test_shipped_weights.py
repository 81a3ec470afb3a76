"""The shipped bundles on real CTs and on the demo's phantom: minutes, so `pytest -m slow`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lungseg3d.core import Grid, Volume
from lungseg3d.core.labels import LEFT_LUNG, RIGHT_LUNG
from lungseg3d.inference import shipped_bundle
from lungseg3d.io import read_labels, read_volume, write_volume
from lungseg3d.metrics import dice
from lungseg3d.tensors import sample_on
from lungseg3d.workflows.convert import convert
from lungseg3d.workflows.demo import demo
from lungseg3d.workflows.segment.cases import segment_cases

pytestmark = pytest.mark.slow


def labels_of(source: Path, out: Path) -> Volume:
    """Label map of one CT, in RAS order."""
    (result,) = segment_cases([source], out)
    assert result.status == "done", result.issues
    return read_labels(out / result.case_id / "labels.nii.gz").as_ras()


def test_the_demo_finds_four_of_five_planted_nodules_of_5_mm_and_more(tmp_path):
    result = demo(tmp_path, seed=1)
    assert result.result.status == "done"
    assert result.planted >= 3
    assert result.found + result.among_candidates >= 0.8 * result.planted
    assert result.found >= 0.5 * result.planted


@pytest.mark.real
def test_a_dicom_series_and_the_nifti_converted_from_it_give_the_same_labels(real_data, tmp_path):
    series = real_data / "ct" / "lungdx-A0001" / "dicom" / "lung-kernel"
    convert(series, tmp_path / "converted.nii.gz")
    assert (
        labels_of(series, tmp_path / "a").array == labels_of(tmp_path / "converted.nii.gz", tmp_path / "b").array
    ).all()


@pytest.mark.real
def test_a_flipped_and_permuted_copy_gives_the_same_mask_in_world_space(real_data, tmp_path):
    ct = read_volume(real_data / "cip-64" / "ct-64.nrrd")
    turn = np.zeros((4, 4))
    turn[[2, 0, 1], [0, 1, 2]] = 1, -1, 1
    turn[0, 3], turn[3, 3] = ct.shape[0] - 1, 1
    turned = Volume(np.ascontiguousarray(ct.array.transpose(2, 0, 1)[:, ::-1]), ct.affine @ turn)
    write_volume(tmp_path / "straight.nii.gz", ct)
    write_volume(tmp_path / "turned.nii.gz", turned)
    straight = labels_of(tmp_path / "straight.nii.gz", tmp_path / "out")
    assert (labels_of(tmp_path / "turned.nii.gz", tmp_path / "out").array == straight.array).all()


@pytest.mark.real
def test_an_oblique_copy_gives_the_same_lungs_in_world_space(real_data, tmp_path):
    ct = read_volume(real_data / "ct" / "4dlung-113" / "dicom")
    angle = np.radians(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    middle = ct.grid.to_world((np.array(ct.shape) - 1) / 2)
    turn[:3, 3] = middle - turn[:3, :3] @ middle
    oblique = Grid(ct.shape, turn @ ct.affine)
    copy = sample_on(ct, oblique)
    write_volume(tmp_path / "oblique.nii.gz", copy.with_array(np.rint(copy.array).astype(np.int16)))
    (result,) = segment_cases([tmp_path / "oblique.nii.gz"], tmp_path / "out")
    assert result.status == "done"
    found = read_labels(tmp_path / "out" / "oblique" / "labels.nii.gz")
    assert found.grid.matches(oblique)
    straight = labels_of(real_data / "ct" / "4dlung-113" / "dicom", tmp_path / "straight")
    expected = sample_on(straight, oblique, order=0, fill=0).array
    for side in (RIGHT_LUNG.value, LEFT_LUNG.value):
        assert dice(found.array == side, expected == side) >= 0.97


@pytest.mark.real
def test_the_lungs_of_an_expert_agree_outside_the_tumour(real_data, tmp_path):
    case = real_data / "ct" / "lung1-001"
    found = labels_of(case / "ct.nii.gz", tmp_path).array
    expert = read_labels(case / "lungs.nii.gz").as_ras().array
    tumour = read_labels(case / "tumour.nii.gz").as_ras().array > 0
    outside = ~ndimage.binary_dilation(tumour, iterations=2)
    for ours, theirs in ((RIGHT_LUNG.value, 2), (LEFT_LUNG.value, 1)):
        assert dice((found == ours) & outside, (expert == theirs) & outside) >= 0.95


@pytest.mark.real
def test_the_bundle_run_and_the_program_give_the_same_label_maps(real_data, tmp_path):
    ct = real_data / "cip-64" / "ct-64.nrrd"
    (result,) = segment_cases([ct], tmp_path / "program")
    root = shipped_bundle("lung_nodule_ct_segmentation")
    words = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(root)]
    words += ["--config_file", str(root / "configs" / "inference.json"), "--dataset_dir", str(ct)]
    subprocess.run([*words, "--output_dir", str(tmp_path / "bundle")], check=True, capture_output=True)
    for name in ("labels", "nodules"):
        ours, theirs = (
            read_labels(tmp_path / road / result.case_id / f"{name}.nii.gz") for road in ("program", "bundle")
        )
        assert (ours.array == theirs.array).all()
        assert np.allclose(ours.affine, theirs.affine)
    record = json.loads((tmp_path / "program" / result.case_id / "result.json").read_text(encoding="utf-8"))
    assert len(record["provenance"]["bundles"]["nodules"]["weights_sha256"]) == 64
