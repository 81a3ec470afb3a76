"""Both bundles run by themselves through MONAI, and give what the program gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from lungseg3d.data import NoduleSpec, PhantomSpec, make_phantom
from lungseg3d.io import write_volume
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases
from tests.support.tables import read_table

LUNGS, NODULES = "lung_ct_segmentation", "lung_nodule_ct_segmentation"
DENSE = {1: (40.0, -20.0)}  # above -300 HU
# Below -580 HU, and more so below -922 HU: lung becomes the right one, the air about the body the left one.
AIRY = {1: (-40.0, 12.0), 2: (-400.0, 32.0)}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "CUDA_VISIBLE_DEVICES": ""}


def _workflow(root: Path, files: list[str], kind: str, **overrides: object) -> ConfigWorkflow:
    configs = [str(root / "configs" / f"{file}.json") for file in files]
    workflow = ConfigWorkflow(configs, workflow_type=kind, logging_file=False, bundle_root=str(root), **overrides)
    workflow.initialize()
    return workflow


def _tiny(spheres: Path, out: Path) -> dict[str, object]:
    """Overrides of the nodule bundle's `train.json`: an epoch of two small steps on spheres and one small phantom."""
    manifest = str(spheres / "manifest.json")
    return {
        "nodule_manifest": manifest,
        "host_manifest": manifest,
        "nodule_dir": str(spheres),
        "dataset_dir": str(spheres),
        "output_dir": str(out),
        "cache_dir": str(out / "cache"),
        "device": "$torch.device('cpu')",
        "host_share": 0.0,
        "phantom_seeds": [1],
        "train#phantoms#data#shape": [48, 40, 32],
        "train#phantoms#data#spacing_mm": [8.0, 8.0, 8.0],
        "train#phantoms#data#nodule_count": 2,
        "spacing_mm": 2.0,
        "epochs": 1,
        "val_interval": 1,
        "batches_per_epoch": 2,
        "batch_size": 2,
        "patch_size": 16,
    }


def test_evaluate_measures_the_held_out_fold_and_names_each_case(bundles, spheres, save_weights, tmp_path):
    save_weights(bundles / NODULES, tmp_path / "model.pt", DENSE)
    manifest = str(spheres / "manifest.json")
    _workflow(
        bundles / NODULES,
        ["train", "evaluate"],
        "train",
        nodule_manifest=manifest,
        nodule_dir=str(spheres),
        fold=1,
        checkpoint=str(tmp_path / "model.pt"),
        output_dir=str(tmp_path),
        device="$torch.device('cpu')",
    ).run()
    rows = read_table(tmp_path / "val_mean_dice_raw.csv")
    # The weights are a threshold and the spheres are far from it, so nothing is missed.
    assert [(row["filename"], float(row["mean"])) for row in rows] == [("sphere-1", 1.0), ("sphere-3", 1.0)]
    assert (tmp_path / "metrics.csv").read_text().startswith("val_mean_dice,1.0")


def test_evaluate_measures_right_and_left_lung_in_the_order_of_the_labels(bundles, spheres, save_weights, tmp_path):
    # In the files 2 is the right lung; the table of values makes it our 1. A sphere of tissue alone is right lung here.
    content = json.loads((spheres / "manifest.json").read_text())
    for case in content["cases"]:
        label = nibabel.load(spheres / case["files"]["label"])
        values = np.where(np.asarray(label.dataobj) > 0, 2, 1).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(values, label.affine), tmp_path / case["files"]["label"])
        shutil.copy(spheres / case["files"]["image"], tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    save_weights(bundles / LUNGS, tmp_path / "model.pt", {1: (40.0, -20.0), 2: (-40.0, 20.0)})
    _workflow(
        bundles / LUNGS,
        ["train", "evaluate"],
        "train",
        val_manifest=str(tmp_path / "manifest.json"),
        dataset_dir=str(tmp_path),
        checkpoint=str(tmp_path / "model.pt"),
        output_dir=str(tmp_path / "eval"),
        device="$torch.device('cpu')",
        spacing_mm=1.0,
    ).run()
    rows = read_table(tmp_path / "eval" / "val_mean_dice_raw.csv")
    assert [row["filename"] for row in rows] == ["sphere-0", "sphere-1", "sphere-2", "sphere-3"]
    assert {(float(row["class0"]), float(row["class1"])) for row in rows} == {(1.0, 1.0)}


def test_the_training_configuration_has_what_monai_asks_of_a_workflow(bundles, spheres, tmp_path):
    workflow = _workflow(bundles / NODULES, ["train"], "train", **_tiny(spheres, tmp_path))
    assert workflow.check_properties() == []


@pytest.fixture(scope="module")
def coarse_bundles(bundles, save_weights, tmp_path_factory):
    """Both bundles with threshold weights and a working grid of 4 mm: the same wires, less to compute."""
    root = tmp_path_factory.mktemp("bundles")
    for name, lines in ((LUNGS, AIRY), (NODULES, DENSE)):
        shutil.copytree(bundles / name, root / name, ignore=shutil.ignore_patterns("models", "runs", "eval"))
        save_weights(root / name, root / name / "models" / "model.pt", lines)
        config = root / name / "configs" / "inference.json"
        content = json.loads(config.read_text())
        config.write_text(json.dumps({**content, "spacing_mm": 4.0}))
    return root


@pytest.fixture(scope="module")
def phantom_file(tmp_path_factory):
    nodule = NoduleSpec(diameter_mm=24.0)
    phantom = make_phantom(PhantomSpec(seed=3, shape=(96, 96, 64), spacing_mm=(4.0, 4.0, 4.0), nodules=(nodule,)))
    path = tmp_path_factory.mktemp("ct") / "phantom.nii.gz"
    write_volume(path, phantom.ct)
    return path


@pytest.mark.parametrize("name", [LUNGS, NODULES])
def test_the_inference_configuration_has_what_monai_asks_of_a_workflow(name, coarse_bundles, phantom_file):
    workflow = _workflow(coarse_bundles / name, ["inference"], "infer", dataset_dir=str(phantom_file))
    assert workflow.check_properties() == []


def test_the_lung_bundle_alone_writes_a_map_of_both_lungs(coarse_bundles, phantom_file, tmp_path):
    overrides = {"dataset_dir": str(phantom_file), "output_dir": str(tmp_path), "device": "$torch.device('cpu')"}
    _workflow(coarse_bundles / LUNGS, ["inference"], "infer", **overrides).run()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.nii.gz")] == ["phantom/lungs.nii.gz"]
    lungs = nibabel.load(tmp_path / "phantom" / "lungs.nii.gz")
    assert np.array_equal(lungs.affine, nibabel.load(phantom_file).affine)
    assert set(np.unique(np.asarray(lungs.dataobj))) == {0, 1, 2}


def test_a_bundle_run_writes_the_label_maps_that_the_program_writes(coarse_bundles, phantom_file, tmp_path):
    root = coarse_bundles / NODULES
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(root)]
    command += ["--config_file", str(root / "configs" / "inference.json")]
    command += ["--dataset_dir", str(phantom_file), "--output_dir", str(tmp_path / "bundle")]
    subprocess.run(command, check=True, env=ENVIRONMENT, capture_output=True, text=True)
    options = SegmentOptions(device="cpu", lung_bundle=coarse_bundles / LUNGS, nodule_bundle=root)
    (result,) = segment_cases([phantom_file], tmp_path / "program", options)
    assert result.status == "done"
    for file in ("labels.nii.gz", "nodules.nii.gz"):
        ours, theirs = (nibabel.load(tmp_path / who / "phantom" / file) for who in ("program", "bundle"))
        assert ours.get_data_dtype() == theirs.get_data_dtype()
        assert np.array_equal(ours.affine, theirs.affine)
        assert np.array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
    labels = np.asarray(nibabel.load(tmp_path / "bundle" / "phantom" / "labels.nii.gz").dataobj)
    assert set(np.unique(labels)) == {0, 1, 2, 3}


@pytest.mark.slow
def test_two_processes_train_one_network_on_different_batches(bundles, spheres, tmp_path):
    overrides = _tiny(spheres, tmp_path)
    del overrides["device"]
    # The last step of each rank writes down what it holds.
    rank = "torch.distributed.get_rank()"
    overrides["finalize"] = [
        f"$torch.save(@network.module.state_dict(), @output_dir + '/rank' + str({rank}) + '.pt')",
        f"$torch.save(@train#sampler.batch()['image'], @output_dir + '/batch' + str({rank}) + '.pt')",
        {"_target_": "ignite.distributed.finalize"},
    ]
    (tmp_path / "configs").mkdir()
    overlay = tmp_path / "configs" / "tiny.json"
    overlay.write_text(json.dumps(overrides))
    configs = [bundles / NODULES / "configs" / f"{file}.json" for file in ("train", "multi_gpu_train")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "--bundle_root", str(bundles / NODULES)]
    command += ["--config_file", str([*map(str, configs), str(overlay)])]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    saved, one, two = (torch.load(tmp_path / f"{f}.pt", weights_only=True) for f in ("model", "rank0", "rank1"))
    assert list(saved) == list(one)  # no "module." before the names
    trained = [key for key in one if key.endswith((".weight", ".bias"))]
    assert all(torch.equal(one[key], two[key]) and torch.equal(one[key], saved[key]) for key in trained)
    batches = [torch.load(tmp_path / f"batch{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert not torch.equal(*batches)
    assert len(list(tmp_path.glob("mlruns.db"))) == 1
