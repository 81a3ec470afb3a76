"""What a checkpoint belongs to: every setting that changes what is learned, and nothing that does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lungseg3d.engines.training.identity import configuration_identity, differences
from lungseg3d.workflows.train.checks import training_configuration
from tests.support.small_data import BUNDLES, LUNGS, NAMES, NODULES, small_crops


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return small_crops(tmp_path_factory.mktemp("data"))


def identity(name: str = NODULES, **overrides: str) -> dict:
    """Of a bundle's training; keys with __ for ::."""
    root = BUNDLES / name
    keys = {key.replace("__", "::"): value for key, value in overrides.items()}
    parser = training_configuration([root / "configs" / "train.json"], root, keys)
    return {"configuration": configuration_identity(parser.get())}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spacing_mm", "2.5"),
        ("hu_range", "[-1350,150]"),
        ("loss::include_background", "True"),
        ("learning_rate", "0.01"),
        ("network_def::channels", "[4,8]"),
        ("optimizer::weight_decay", "0.5"),
        ("train::sampler::groups::0::share", "0.123"),
        ("train::sampler::groups::0::jitter", "0.01"),
        ("train::phantoms::data::nodule_count", "3"),
        ("train::trainer::plan::accumulation", "7"),
        ("lr_scheduler::warmup_steps", "3"),
        ("validate::inferer::roi_size", "[32,32,32]"),
        ("train::sampler::augmentation", "[]"),
        ("precision", "fp32"),
        ("seed", "5"),
    ],
)
def test_a_setting_that_changes_what_is_learned_is_named(name, key, value):
    said = differences(identity(name), identity(name, **{key.replace("::", "__"): value}))
    assert said.startswith(key)
    assert " there, " in said


@pytest.mark.parametrize("name", NAMES)
def test_places_and_length_may_change(name):
    changed = identity(
        name,
        dataset_dir="/elsewhere",
        output_dir="runs/b",
        cache_dir="/tmp/c",
        memory_map="/tmp/m",
        device="$torch.device('cpu')",
        epochs="77",
        val_interval="2",
        resume="False",
        parent_run="x",
        run_name__prefix="other",
        train__handlers__3__pictures="1",
    )
    assert differences(identity(name), changed) == ""


def test_a_manifest_is_its_cases_wherever_it_lies(data, tmp_path):
    (tmp_path / "moved.json").write_text((data / "crops.json").read_text())
    here = identity(nodule_manifest=str(data / "crops.json"))
    assert differences(here, identity(nodule_manifest=str(tmp_path / "moved.json"))) == ""
    content = json.loads((data / "crops.json").read_text())
    content["cases"][1]["fold"] = 4
    (tmp_path / "moved.json").write_text(json.dumps(content))
    assert differences(here, identity(nodule_manifest=str(tmp_path / "moved.json"))).startswith("nodule_manifest: ")


@pytest.mark.parametrize(("key", "is_same"), [("marks", True), ("readers", True), ("others", False)])
def test_files_that_only_shape_labels_make_no_other_training(data, tmp_path, key, is_same):
    content = json.loads((data / "crops.json").read_text())
    for case in content["cases"]:
        case["files"][key] = f"{key}.nii.gz"
    (tmp_path / "more.json").write_text(json.dumps(content))
    before, now = (identity(nodule_manifest=str(path)) for path in (data / "crops.json", tmp_path / "more.json"))
    assert (differences(before, now) == "") is is_same


def test_weights_to_start_from_are_their_content(tmp_path):
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        (tmp_path / name).mkdir()
        torch.save({"w": torch.tensor([value])}, tmp_path / name / "w.pt")
    a, b, c = (identity(LUNGS, pretrained=str(tmp_path / name / "w.pt")) for name in "abc")
    assert differences(a, b) == ""
    assert differences(a, c).startswith("pretrained: ")


def test_a_checkpoint_of_an_older_version_is_compared_by_what_it_says():
    old = {"network": "A", "settings": {"seed": 0}}
    new = {"network": "A", "settings": {"seed": 0}, "configuration": {"spacing_mm": 1.0}, "contents": {"g": ["c 1"]}}
    assert differences(old, new) == ""
    assert differences({**old, "settings": {"seed": 1}}, new) == "settings::seed: 1 there, 0 here"


def test_other_voxels_under_the_same_names_are_told_with_a_case():
    there, here = ({"contents": {"nodules": [f"c{n} {sums[n]}" for n in range(3)]}} for sums in ("abc", "abd"))
    assert differences(there, here) == "contents::nodules: other voxels or labels in 1 cases, such as c2"
