"""`prepare` from outside: what is printed, how it ends, what is said without the data."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lungseg3d.cli import app
from lungseg3d.core import Volume
from lungseg3d.data import DATASETS, label_structures, read_manifest
from lungseg3d.io import write_labels, write_volume

SHAPE = (16, 14, 22)


def run(*arguments: object):
    return CliRunner().invoke(app, ["prepare", *map(str, arguments)], prog_name="lungseg3d")


@pytest.fixture
def dataset(tmp_path) -> Path:
    root = tmp_path / "data"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for n in range(2):
        hu = np.full(SHAPE, -1000, np.int16)
        hu[2:14, 2:12], hu[4:7, 4:10] = 40 + n, -850
        write_volume(root / "images" / f"c{n}.nii.gz", Volume(hu, np.diag([2.0, 2, 5, 1])))
        label = np.zeros(SHAPE, np.uint8)
        label[5, 5, 5] = 1
        write_labels(root / "labels" / f"c{n}.nii.gz", Volume(label, np.diag([2.0, 2, 5, 1])))
    return root


def test_a_prepared_folder_is_summed_up_with_its_licence(dataset, tmp_path):
    shown = run("folder", dataset, tmp_path / "out", "--folds", 2)
    assert shown.exit_code == 0
    assert "2 cases of 2 patients, 2 folds" in shown.stdout
    assert "Licence" in shown.stdout
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["name"] == "folder"


def test_what_the_values_mean_and_whose_they_are_stands_in_the_manifest(dataset, tmp_path):
    options = ("--label", "1=nodule", "--name", "ours", "--licence", "CC0")
    assert run("folder", dataset, tmp_path / "out", *options).exit_code == 0
    content = read_manifest(tmp_path / "out" / "manifest.json")
    assert (content["name"], content["licence"]) == ("ours", "CC0")
    assert {value: label.name for value, label in label_structures(content).items()} == {1: "nodule"}


@pytest.mark.parametrize("label", ["1", "nodule", "0=nodule", "1=spleen", "x=nodule"])
def test_a_value_without_a_known_name_is_wrong_usage(dataset, tmp_path, label):
    shown = run("folder", dataset, tmp_path / "out", "--label", label)
    assert shown.exit_code == 2
    assert "1=nodule" in shown.stderr


def test_a_refused_case_is_one_line_and_exit_code_8(dataset, tmp_path):
    (dataset / "images" / "c1.nii.gz").write_bytes(b"no image")
    shown = run("folder", dataset, tmp_path / "out")
    assert shown.exit_code == 8
    (line,) = [line for line in shown.stderr.splitlines() if line.startswith("E_")]
    assert line.startswith("E_NOT_AN_IMAGE: c1")
    assert "1 refused" in shown.stdout


def test_check_names_fault_case_and_way_out(dataset, tmp_path):
    run("folder", dataset, tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.json"
    clean = run("check", manifest)
    assert (clean.exit_code, "2 cases, no fault" in clean.stdout) == (0, True)
    (dataset / "labels" / "c0.nii.gz").unlink()
    shown = run("check", manifest)
    assert shown.exit_code == 8
    assert shown.stdout.startswith("E_MISSING_DATA: c0: there is no label at source/labels/c0.nii.gz. Set --data")


def test_a_leak_spoils_the_whole_manifest(dataset, tmp_path):
    run("folder", dataset, tmp_path / "out", "--folds", 2)
    manifest = tmp_path / "out" / "manifest.json"
    content = json.loads(manifest.read_text())
    for case in content["cases"]:
        case["patient"] = "p"
    manifest.write_text(json.dumps(content))
    assert run("check", manifest).exit_code == 3


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"folder"}))
def test_without_the_data_it_says_how_to_get_them(name, tmp_path):
    (tmp_path / "empty").mkdir()
    for source in ("nowhere", "empty"):
        shown = run(name, tmp_path / source, tmp_path / "out")
        assert shown.exit_code == 3
        assert "E_NO_CASES" in shown.stderr
        assert "ownload" in shown.stderr


@pytest.mark.parametrize("name", [name for name, dataset in DATASETS.items() if dataset.archive is None])
def test_what_is_not_at_one_address_is_not_downloaded_but_explained(name, tmp_path):
    if name == "folder":
        assert "--download" not in run("folder", "--help").stdout
        return
    shown = run(name, tmp_path / "x", tmp_path / "out", "--download")
    assert shown.exit_code == 2
    assert DATASETS[name].how_to_get[:40] in shown.stderr


def test_the_list_has_every_dataset_with_its_licence():
    shown = run("list")
    assert shown.exit_code == 0
    for dataset in DATASETS.values():
        assert dataset.licence in shown.stdout


def relabelled(dataset: Path, value: int) -> Path:
    for n in range(2):
        label = np.zeros(SHAPE, np.uint8)
        label[5, 5, 5] = value
        write_labels(dataset / "labels" / f"c{n}.nii.gz", Volume(label, np.diag([2.0, 2, 5, 1])))
    return dataset


def test_without_label_a_lone_value_1_is_a_nodule_and_that_is_said(dataset, tmp_path):
    shown = run("folder", dataset, tmp_path / "out")
    assert shown.exit_code == 0
    assert "taken for nodule" in shown.stderr
    assert read_manifest(tmp_path / "out" / "manifest.json")["structures"] == {"1": "nodule"}


@pytest.mark.parametrize("value", [2, 255])
def test_without_label_other_values_are_refused_at_once_where_nobody_can_be_asked(dataset, tmp_path, value):
    shown = run("folder", relabelled(dataset, value), tmp_path / "out")
    assert shown.exit_code == 2
    assert f"E_LABEL_NAMES: the labels hold {value}" in shown.stderr
    assert f"--label {value}=NAME" in shown.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_at_a_terminal_the_values_are_asked_for(dataset, tmp_path, monkeypatch):
    import lungseg3d.cli.verbs.prepare as module

    monkeypatch.setattr(module, "_is_terminal", lambda: True)
    arguments = ["prepare", "folder", str(relabelled(dataset, 2)), str(tmp_path / "out")]
    shown = CliRunner().invoke(app, arguments, prog_name="lungseg3d", input="nodule\n")
    assert shown.exit_code == 0, shown.output
    assert read_manifest(tmp_path / "out" / "manifest.json")["structures"] == {"2": "nodule"}


def test_a_value_beside_the_named_ones_refuses_its_case_until_it_is_left_out(dataset, tmp_path):
    label = np.zeros(SHAPE, np.uint8)
    label[5, 5, 5], label[7, 7, 7:9] = 1, 9
    write_labels(dataset / "labels" / "c1.nii.gz", Volume(label, np.diag([2.0, 2, 5, 1])))
    shown = run("folder", dataset, tmp_path / "out", "--label", "1=nodule")
    assert shown.exit_code == 8
    assert "E_LABEL_VALUES: c1: the label holds 9 (2 voxels); the manifest knows 1" in shown.stderr
    shown = run("folder", dataset, tmp_path / "other", "--label", "1=nodule", "--label", "9=background")
    assert shown.exit_code == 0
